// Prompts that continue one another, and a provider's cache of them, in virtual time. As with the real vendors, a prefix
// lives from the beginning of the call that wrote or read it, can be read once that call's answer has begun, and belongs
// to one account: to a key, where each key has a quota of its own.
import AdmissionCore

/// How the prompts of a client's calls follow one another.
public struct PromptScript: Sendable {
  /// By how many tokens each prompt is longer than the one before.
  public var grows: ClosedRange<Int64>
  /// The percentage of calls whose prompt begins differently from the one before, and is no longer than that.
  public var changedPercent: Int
  /// How long the calls ask for their prefix to be kept; nil: they do not say.
  public var life: Span?

  public init(grows: ClosedRange<Int64>, changedPercent: Int = 0, life: Span? = nil) {
    self.grows = grows
    self.changedPercent = changedPercent
    self.life = life
  }
}

/// How a provider caches prompts.
public struct PromptCacheTruth: Sendable {
  /// How long it keeps a prefix where the call does not say.
  public var life: Span
  /// True where it tells what it writes, and not only what it reads.
  public var tellsWrites: Bool

  public init(life: Span, tellsWrites: Bool = true) {
    self.life = life
    self.tellsWrites = tellsWrites
  }
}

/// The prompt of one call.
struct SimulatedPrompt {
  /// Whose conversation it is.
  var client: Int
  /// Changes where the prompt begins differently.
  var beginning = 0
  /// As its client estimates it.
  var size: Int64 = 0
  var life: Span?

  /// The prompt of the conversation's next call.
  func next(_ script: PromptScript, _ generator: inout SeededGenerator) -> SimulatedPrompt {
    var next = self
    let isChanged = generator.chance(script.changedPercent)
    let (grown, kept) = (generator.int64(script.grows), generator.int64(30...100))
    next.size = isChanged ? max(1, size * kept / 100) : size + grown
    if isChanged { next.beginning += 1 }
    return next
  }
}

/// What one provider has cached.
struct SimulatedPrefixes {
  private struct Prefix {
    var client: Int
    var beginning: Int
    var key: KeyID?
    var size: Int64
    var from: Instant
    var end: Instant
  }
  private var prefixes: [Prefix] = []

  /// How much of an input it has cached now.
  func cached(_ prompt: SimulatedPrompt, input: Int64, key: KeyID?, at now: Instant) -> Int64 {
    var most: Int64 = 0
    for prefix in prefixes
    where prefix.client == prompt.client && prefix.beginning == prompt.beginning && prefix.key == key
      && prefix.from <= now && now <= prefix.end
    {
      most = max(most, prefix.size)
    }
    return min(most, input)
  }

  /// A call has come whose answer begins at `from`.
  mutating func keep(
    _ prompt: SimulatedPrompt, input: Int64, key: KeyID?, from: Instant, life: Span, at now: Instant
  ) {
    prefixes.removeAll { $0.end < now }
    prefixes.append(
      Prefix(
        client: prompt.client, beginning: prompt.beginning, key: key, size: input, from: from, end: now + life))
  }
}
