// What of a call is priced beside the tokens that the core counts.
import AdmissionCore

/// What a price may depend on beside the token counts of `Usage`.
public struct UsageExtras: Sendable, Equatable {
  /// Of the cache writes, those that are kept for an hour.
  public var cacheWriteHourTokens: TokenCount = 0
  public var webSearches: Int64 = 0
  /// Parts of the input and of the output.
  public var audioInputTokens: TokenCount = 0
  public var audioOutputTokens: TokenCount = 0
  public var imageInputTokens: TokenCount = 0
  public var imageOutputTokens: TokenCount = 0
  /// Length of audio, where the provider charges by time.
  public var audioMilliseconds: Int64 = 0
  /// Searches that a reranker charges for; 0 where it said nothing.
  public var searchUnits: Int64 = 0
  /// Anthropic's `speed` and `inference_geo`.
  public var speed: String?
  public var region: String?

  public init() {}
}
