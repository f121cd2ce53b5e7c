// What an observer learns from answers about prompt caches and first bytes, by sums that share nothing with the core:
// lists that are looked through as a whole. The witness keeps them, and so does the naive scheduler.
import AdmissionCore
import PolicyLab

/// What answers have told of prompts that are cached.
struct PromptBook {
  struct Prefix {
    var began: Instant
    /// The last instant at which it is kept.
    var end: Instant
    var life: Span
    var estimated: Int64
    var cached: Int64
    var key: KeyID?

    /// When a call that continues it begins to hurry (rule 2c): a minute before it ends, or a fifth of its life.
    var hurriesFrom: Instant { end + Span(nanoseconds: -min(60_000_000_000, life.nanoseconds / 5)) }
    /// The longest wait for its key (rule 3e): while another would read it, at 5,000 tokens a second, and 10 s at most.
    var longestWait: Span { min(.seconds(10), Span(nanoseconds: cached * 200_000)) }
  }
  /// Prefixes of fewer tokens are worth no wait.
  static let least: Int64 = 4096

  private struct Place: Hashable {
    var provider: ProviderID
    var conversation: [String]
  }
  private struct Model: Hashable {
    var provider: ProviderID
    var name: String
  }
  private var prefixes: [Place: [Prefix]] = [:]
  private var tellWrites: Set<Model> = []
  private var haveRead: Set<Model> = []

  private static func place(_ ticket: Ticket, _ provider: ProviderID) -> Place {
    Place(
      provider: provider, conversation: [ticket.tenant.name, ticket.session.name, ticket.agent.name, ticket.model])
  }

  /// An answer has told its call's usage, perhaps again.
  mutating func told(_ usage: Usage, of ticket: Ticket, at provider: ProviderPolicy, key: KeyID?, began: Instant) {
    let model = Model(provider: provider.id, name: ticket.model)
    if usage.cacheWriteTokens > 0 { tellWrites.insert(model) }
    if usage.cacheReadTokens > 0 { haveRead.insert(model) }
    guard usage.inputTokens > 0, tellWrites.contains(model) || haveRead.contains(model) else { return }
    var cached = usage.cacheReadTokens.value > 0 ? usage.inputTokens.value : 0
    if tellWrites.contains(model) { cached = (usage.cacheReadTokens + usage.cacheWriteTokens).value }
    let life = ticket.cacheLife ?? provider.cacheLife
    let prefix = Prefix(
      began: began, end: began + life, life: life, estimated: ticket.estimatedInput.value,
      cached: min(cached, usage.inputTokens.value), key: key)
    let place = Self.place(ticket, provider.id)
    var known = prefixes[place] ?? []
    known.removeAll { $0.began == began && $0.estimated == prefix.estimated }
    // Four calls of a conversation are remembered.
    if known.count == 4, let oldest = known.indices.min(by: { known[$0].began < known[$1].began }) {
      known.remove(at: oldest)
    }
    known.append(prefix)
    prefixes[place] = known
  }

  /// The prefix that a call continues; nil where nothing of it is cached any more. Prompts grow at their end, so it is
  /// the largest that is no larger than the call's.
  func prefix(of ticket: Ticket, at provider: ProviderID, _ now: Instant) -> Prefix? {
    let living = (prefixes[Self.place(ticket, provider)] ?? []).filter {
      $0.end >= now && $0.estimated <= ticket.estimatedInput.value
    }
    let last = living.max { ($0.estimated, $0.began) < ($1.estimated, $1.began) }
    return last.flatMap { $0.cached > 0 ? $0 : nil }
  }

  /// The same where it is long enough to be worth a wait.
  func worthwhile(_ ticket: Ticket, at provider: ProviderID, _ now: Instant) -> Prefix? {
    guard !prefixes.isEmpty, !ticket.isFree, let known = prefix(of: ticket, at: provider, now),
      known.cached >= Self.least
    else { return nil }
    return known
  }
}

/// How long calls have waited for their first byte.
struct FirstByteBook {
  private struct Kind: Hashable {
    var provider: ProviderID
    var model: String
    var isStream: Bool
  }
  private var samples: [Kind: [(lasted: Span, at: Instant)]] = [:]

  private func recent(_ kind: Kind, _ now: Instant) -> [Span] {
    (samples[kind] ?? []).suffix(32).filter { now - $0.at < .seconds(3600) }.map(\.lasted).sorted()
  }

  /// The time within which nine of ten of the last 32 calls had it; nil where fewer than ten are known.
  func nineOfTen(_ ticket: Ticket, at provider: ProviderID, _ now: Instant) -> Span? {
    if samples.isEmpty { return nil }
    let all = recent(Kind(provider: provider, model: ticket.model, isStream: ticket.isStream), now)
    return all.count < 10 ? nil : all[all.count - 1 - all.count / 10]
  }

  /// A call has ended.
  mutating func ended(
    _ ticket: Ticket, _ settlement: Settlement, at provider: ProviderID, began: Instant, _ now: Instant
  ) {
    let kind = Kind(provider: provider, model: ticket.model, isStream: ticket.isStream)
    if let firstByte = settlement.firstByte {
      samples[kind, default: []].append((firstByte, now))
    } else if settlement.verdict == .clientLeft, settlement.wasSent, !settlement.answerBegan,
      let expected = nineOfTen(ticket, at: provider, now), now - began > expected
    {
      // It would have taken longer than this.
      samples[kind, default: []].append((now - began, now))
    }
  }

  /// The last instant at which a call can begin so that its client still gets its first byte; nil where the client waits
  /// for ever.
  /// - Parameters:
  ///   - route: the quickest of which something is known counts.
  ///   - percent: how much of the time is taken for sure.
  func lastStart(_ ticket: Ticket, _ route: [ProviderID], submitted: Instant, percent: Int64 = 100, _ now: Instant)
    -> Instant?
  {
    guard let patience = ticket.patience, !ticket.isFree else { return nil }
    let least = route.compactMap { nineOfTen(ticket, at: $0, now) }.min() ?? .zero
    let firstByte = Span(nanoseconds: least.nanoseconds * percent / 100)
    // Our answer has a way to go as well.
    let way = min(.seconds(1), Span(nanoseconds: patience.nanoseconds / 20))
    return submitted + patience + Span(nanoseconds: -max(firstByte, way).nanoseconds)
  }
}
