// What a simulated provider enforces and how fast it answers. Values only; `nil` means that nothing is enforced.

/// The settings of one simulated provider.
public struct SimulatorConfiguration: Sendable {
  /// Who shares the limits, or the prompt cache.
  public enum Quota: String, Sendable, CaseIterable {
    /// One organisation: all keys draw on the same.
    case shared
    /// Each key has its own.
    case perKey = "per-key"
  }

  /// What answers say about the limits.
  public enum Telling: String, Sendable, CaseIterable {
    /// The vendor's limit fields on every answer, Retry-After on refusals.
    case all
    /// Retry-After on refusals, and no other field.
    case retryAfter = "retry-after"
    /// Nothing: a refusal is a bare 429.
    case nothing
  }

  /// Calls in flight at one time, from the complete request to the last byte of the answer.
  public var concurrency: Int?
  public var requestsPerMinute: Int?
  /// Anthropic: input that was not read from the prompt cache. OpenAI: all input.
  public var inputTokensPerMinute: Int?
  /// Output as it is produced, by both dialects.
  public var outputTokensPerMinute: Int?
  /// OpenAI: the larger of the output cap and characters / 4, charged at admission and never given back.
  /// Anthropic: input that was not read from the prompt cache at admission, and output as it is produced.
  public var tokensPerMinute: Int?
  /// The capacity of the buckets, as the time in which they refill; vendors allow a minute's worth at once. Above 0.
  public var burst: Duration = .seconds(60)
  public var quota: Quota = .shared
  public var telling: Telling = .all
  /// How long the permit of a finished call stays counted, as with vendors that count late. 0 or more.
  public var permitLag: Duration = .zero

  /// Who reads what another has left in the prompt cache.
  public var promptCache: Quota = .perKey
  /// How long a prompt prefix is kept after the start of the call that wrote or read it last; one that is marked for an
  /// hour, twelve times as long.
  public var cacheLife: Duration = .seconds(300)
  /// Shorter prefixes are not cached, in tokens.
  public var cacheMinimum = 1024

  /// From the complete request to the first byte of the answer.
  public var firstToken: Duration = .milliseconds(50)
  /// The pace of the output after the first token; 0 means at once.
  public var tokensPerSecond: Double = 0
  /// The range of answer lengths, evenly distributed by seed and request; the client's cap limits the length.
  public var outputTokens: ClosedRange<Int> = 20...60
  /// True tokens per estimated token (UTF-8 bytes of text / 4), so that an estimator has something to learn. Above 0.
  public var tokenRatio: Double = 1
  /// The accepted API keys; where it is empty, calls with any key or without a key are accepted.
  public var keys: [String] = []
  public var seed: UInt64 = 1

  public init() {}
}
