// Computes what a call costs from the provider's counts and the rates that apply: in whole numbers, exact to the
// nano-dollar. `PriceBook` picks the rates for a model, tier, size and day.
import AdmissionCore

/// Rates of one call. Unit: millionths of a US dollar per 1M tokens, which is thousandths of a nano-dollar per token;
/// `nil` is "no price".
public struct CallRates: Sendable, Equatable {
  public var input: Int64?
  public var output: Int64?
  /// What `output` costs where nil.
  public var reasoning: Int64?
  /// What `input` costs where nil.
  public var cacheRead: Int64?
  /// What `input` costs where nil.
  public var cacheWrite: Int64?
  /// What `cacheWrite` costs where nil.
  public var cacheWriteHour: Int64?
  /// What `input` and `output` cost where nil.
  public var audioInput: Int64?
  public var audioOutput: Int64?
  public var imageInput: Int64?
  public var imageOutput: Int64?
  public var perRequest = Money.zero
  public var perAudioSecond = Money.zero
  /// A factor on the cost of all tokens, in millionths: for region, speed, off-peak hours.
  public var factor: Int64 = 1_000_000

  public init(input: Int64? = nil, output: Int64? = nil) {
    self.input = input
    self.output = output
  }

  /// True where the price is per call or per second, not per token.
  public var isByCall: Bool {
    input == nil && output == nil && (perRequest > .zero || perAudioSecond > .zero)
  }
}

public enum CallCost {
  /// A million US dollars per 1M tokens: higher rates are cut to it.
  private static let highestRate: Int64 = 1_000_000_000_000

  /// The cost of a call, rounded half up once, at the end. Never negative, at most `Int64.max` nano-dollars.
  ///
  /// - Returns: nil where tokens were counted that have no price.
  public static func cost(of usage: Usage, extras: UsageExtras = UsageExtras(), at rates: CallRates) -> Money? {
    let written = min(usage.cacheWriteTokens, usage.inputTokens)
    let writtenHour = min(extras.cacheWriteHourTokens, written)
    let read = min(usage.cacheReadTokens, usage.inputTokens - written)
    let fresh = usage.inputTokens - written - read
    let audioIn = min(extras.audioInputTokens, fresh)
    let imageIn = min(extras.imageInputTokens, fresh - audioIn)
    let reasoning = min(usage.reasoningTokens, usage.outputTokens)
    let plain = usage.outputTokens - reasoning
    let audioOut = min(extras.audioOutputTokens, plain)
    let imageOut = min(extras.imageOutputTokens, plain - audioOut)
    let cacheWrite = rates.cacheWrite ?? rates.input
    let parts: [(TokenCount, Int64?)] = [
      (fresh - audioIn - imageIn, rates.input), (audioIn, rates.audioInput ?? rates.input),
      (imageIn, rates.imageInput ?? rates.input), (read, rates.cacheRead ?? rates.input),
      (written - writtenHour, cacheWrite), (writtenHour, rates.cacheWriteHour ?? cacheWrite),
      (plain - audioOut - imageOut, rates.output), (audioOut, rates.audioOutput ?? rates.output),
      (imageOut, rates.imageOutput ?? rates.output), (reasoning, rates.reasoning ?? rates.output),
    ]
    let factor = Int128(min(max(rates.factor, 0), 1_000_000_000))
    // Thousandths of a nano-dollar, times a million for the factor.
    var sum: Int128 = 0
    for (tokens, rate) in parts where tokens > 0 {
      guard let rate else {
        if rates.isByCall { continue }
        return nil
      }
      sum += Int128(tokens.value) * Int128(min(max(rate, 0), highestRate)) * factor
    }
    // A reranker's price per request applies to each of its `search_units`.
    let requests = Int128(min(max(extras.searchUnits, 1), 1 << 20))
    sum += Int128(max(rates.perRequest.nanodollars, 0)) * requests * 1_000_000_000
    // Nano-dollars a second times milliseconds are thousandths of a nano-dollar already.
    let second = Int128(min(max(rates.perAudioSecond.nanodollars, 0), 1 << 50))
    sum += second * Int128(min(max(extras.audioMilliseconds, 0), 1 << 40)) * 1_000_000
    return Money(nanodollars: Int64(clamping: (sum + 500_000_000) / 1_000_000_000))
  }
}
