// Everything that the core has learned from others, as one list: what, its value, from what, since when.

/// One value that was learned.
public struct LearnedValue: Sendable, Equatable {
  public enum What: Sendable, Equatable {
    /// How many calls run at once.
    case concurrency
    case perMinute(Dimension)
    /// How many calls may be sent at once.
    case atOnce
    /// When the provider's day ends; the value is an instant, in nanoseconds of the core's clock.
    case dayEnd(RateLimit)
    /// The provider's day has no end; the value is what it gives back in an hour.
    case perHour(RateLimit)
    /// Tokens that the provider counts for 1024 that are estimated.
    case inputRatio
    /// By how much in 1024 the estimate of what is new in a cached conversation falls short.
    case cachedShortfall
    /// How many tokens a new conversation finds cached.
    case sharedPrefix
    /// How many tokens a call of the class is expected to produce.
    case output(Priority)
    /// How long a call is expected to last, in nanoseconds.
    case duration
    /// The time within which nine of ten calls have their first byte, in nanoseconds: of streams, or of whole answers.
    case firstByte(isStream: Bool)
  }
  public enum Source: Sendable, Equatable {
    /// The provider's own numbers.
    case headers
    /// The same, told to an earlier process and read from the ledger.
    case storedHeaders
    /// Refusals of a provider that told no numbers.
    case refusals
    /// What calls used.
    /// - Parameter stored: how many of them ended before this process, and were read from the ledger.
    case usage(calls: Int64, stored: Int64)
  }
  public var provider: ProviderID
  /// The model or glob that it holds for; nil means all models.
  public var model: String?
  /// The key that it holds for; nil means all keys.
  public var key: KeyID?
  public var what: What
  public var value: Int64
  public var source: Source
  public var since: Instant

  public init(
    provider: ProviderID, model: String? = nil, key: KeyID? = nil, what: What, value: Int64, source: Source,
    since: Instant
  ) {
    self.provider = provider
    self.model = model
    self.key = key
    self.what = what
    self.value = value
    self.source = source
    self.since = since
  }
}

/// What was learned, provider by provider as in the snapshot: first limits, then what is expected of the calls
/// of a model, the model with the most calls first.
public struct LearnedValues: Sendable, Equatable {
  public var values: [LearnedValue] = []
  /// How many values are not listed.
  public var leftOut = 0

  /// The most limits that are listed of one provider, and the most models whose expectations are.
  public static let mostLimits = 100
  public static let mostModels = 20
  /// What models are called that have no numbers of their own, since there are too many.
  public static let otherModels = "other"
}
