// Prices as the prices file gives them: exact whole numbers, by model glob. `PriceBook` computes what a call costs.
import AdmissionCore
import TextForms

/// Millionths of a US dollar per 1M tokens: `2.5` in the file is 2,500,000. Never negative.
public typealias PriceRate = Int64

/// A prices file, checked.
public struct PriceList: Sendable, Equatable {
  /// The file's version, which is stored with every cost.
  public var version: String
  /// In the file's order: the first entry that matches and is valid counts.
  public var entries: [ModelPrice]

  public init(version: String, entries: [ModelPrice]) {
    self.version = version
    self.entries = entries
  }

  /// The price of a model on a day (UTC); nil where the file has none.
  public func price(forModel model: String, on day: CalendarDay) -> ModelPrice? {
    entries.first { entry in
      if let from = entry.validFrom, day < from { return false }
      if let until = entry.validUntil, until < day { return false }
      return entry.models.matches(model)
    }
  }
}

extension PriceList {
  /// When a price changes next, by a day on which one begins or ends, or by an off-peak hour; nil where none does.
  /// - Parameter wall: nanoseconds since 1970.
  public func nextChange(after wall: Int64) -> Int64? {
    let (minute, day): (Int64, Int64) = (60_000_000_000, 86_400_000_000_000)
    let today = wall / day - (wall % day < 0 ? 1 : 0)
    let told = -(Int64.max / day - 1)...(Int64.max / day - 1)
    guard told.contains(today) else { return nil }
    var next: Int64?
    func note(_ moment: Int64) { if moment > wall, moment < next ?? .max { next = moment } }
    for entry in entries {
      // A day beyond the range of 64 bits of nanoseconds never comes.
      for begins in [entry.validFrom?.daysSince1970, entry.validUntil.map { $0.daysSince1970 + 1 }] {
        if let begins, told.contains(begins) { note(begins * day) }
      }
      for window in entry.offPeak?.windows ?? [] {
        for edge in [window.from, window.until] {
          note(today * day + Int64(edge) * minute)
          note((today + 1) * day + Int64(edge) * minute)
        }
      }
    }
    return next
  }
}

/// USD per 1M tokens for each kind of token; nil means "not named".
public struct PriceRates: Sendable, Equatable {
  public var input: PriceRate?
  public var output: PriceRate?
  /// Reasoning tokens, where their price is not that of output.
  public var reasoning: PriceRate?
  public var cacheRead: PriceRate?
  /// Kept for five minutes, or for as long as the provider does by itself.
  public var cacheWrite: PriceRate?
  public var cacheWrite1h: PriceRate?
  public var audioInput: PriceRate?
  public var audioOutput: PriceRate?
  public var imageInput: PriceRate?
  public var imageOutput: PriceRate?

  public init(
    input: PriceRate? = nil, output: PriceRate? = nil, reasoning: PriceRate? = nil, cacheRead: PriceRate? = nil,
    cacheWrite: PriceRate? = nil, cacheWrite1h: PriceRate? = nil, audioInput: PriceRate? = nil,
    audioOutput: PriceRate? = nil, imageInput: PriceRate? = nil, imageOutput: PriceRate? = nil
  ) {
    self.input = input
    self.output = output
    self.reasoning = reasoning
    self.cacheRead = cacheRead
    self.cacheWrite = cacheWrite
    self.cacheWrite1h = cacheWrite1h
    self.audioInput = audioInput
    self.audioOutput = audioOutput
    self.imageInput = imageInput
    self.imageOutput = imageOutput
  }

  /// These rates, completed from `base`: a rate that is not named follows the one that it belongs to. Where `input`
  /// doubles, the cache's rates double; where `output` grows by half, so does reasoning. Rounded half up to a whole
  /// `PriceRate`.
  public func completed(from base: PriceRates) -> PriceRates {
    var all = self
    all.input = input ?? base.input
    all.output = output ?? base.output
    all.reasoning = reasoning ?? scaled(base.reasoning, by: output, over: base.output)
    all.cacheRead = cacheRead ?? scaled(base.cacheRead, by: input, over: base.input)
    all.cacheWrite = cacheWrite ?? scaled(base.cacheWrite, by: input, over: base.input)
    all.cacheWrite1h = cacheWrite1h ?? scaled(base.cacheWrite1h, by: input, over: base.input)
    all.audioInput = audioInput ?? scaled(base.audioInput, by: input, over: base.input)
    all.audioOutput = audioOutput ?? scaled(base.audioOutput, by: output, over: base.output)
    all.imageInput = imageInput ?? scaled(base.imageInput, by: input, over: base.input)
    all.imageOutput = imageOutput ?? scaled(base.imageOutput, by: output, over: base.output)
    return all
  }
}

/// The tier by which a provider says it has served a call.
public enum PriceTier: String, Sendable, CaseIterable { case standard, batch, flex, priority }

/// What one model costs.
public struct ModelPrice: Sendable, Equatable {
  public var models: Glob
  public var rates: PriceRates
  /// As the file names them; see `rates(tier:inputTokens:)` for what is not named.
  public var batch: PriceRates?
  public var flex: PriceRates?
  public var priority: PriceRates?
  public var above: LongContextPrice?
  /// For each request, whatever its tokens.
  public var perRequest: Money = .zero
  /// For each second of audio, where that is what is charged.
  public var perAudioSecond: Money = .zero
  /// First and last day, UTC; nil is open.
  public var validFrom: CalendarDay?
  public var validUntil: CalendarDay?
  public var offPeak: OffPeakPrice?
  /// What a region or speed multiplies all rates by, in millionths: `{us: 1.1}` is 1,100,000. Names are lower case.
  public var factors: [String: Int64] = [:]

  public init(models: Glob, rates: PriceRates) {
    self.models = models
    self.rates = rates
  }

  /// The rates of a call, complete but for sorts of tokens that the file prices nowhere.
  /// - Parameters:
  ///   - tier: of the answer, not of the request. Flex costs what batch does where the file does not say; a tier that
  ///     it does not price costs the standard rates.
  ///   - inputTokens: all input, cached parts included; above the threshold *all* tokens cost the higher rates.
  public func rates(tier: PriceTier, inputTokens: TokenCount) -> PriceRates {
    let named: PriceRates? =
      switch tier {
      case .standard: nil
      case .batch: batch
      case .flex: flex ?? batch
      case .priority: priority
      }
    let base = named.map { $0.completed(from: rates) } ?? rates
    guard let above, inputTokens > above.tokens else { return base }
    let long = above.rates.completed(from: rates)
    guard named != nil else { return long }
    // The file gives the threshold for the standard tier; the others grow by the same measure.
    let grown = PriceRates(
      input: scaled(base.input, by: long.input, over: rates.input),
      output: scaled(base.output, by: long.output, over: rates.output))
    return grown.completed(from: base)
  }
}

/// `rate` in the measure of `numerator` to `denominator`, none of them below 0; rounded half up, at most `PriceRate.max`;
/// unchanged where there is no such measure.
func scaled(_ rate: PriceRate?, by numerator: PriceRate?, over denominator: PriceRate?) -> PriceRate? {
  guard let rate, let numerator, let denominator, rate >= 0, numerator >= 0, denominator > 0 else { return rate }
  // The product has up to 126 bits, the result mostly few.
  let product = rate.magnitude.multipliedFullWidth(by: numerator.magnitude)
  guard product.high < denominator.magnitude else { return .max }
  let (quotient, remainder) = denominator.magnitude.dividingFullWidth(product)
  let roundsUp = remainder >= denominator.magnitude - remainder
  guard let whole = PriceRate(exactly: quotient) else { return .max }
  return roundsUp && whole < .max ? whole + 1 : whole
}

/// More input tokens than this, and every token of the call costs these rates.
public struct LongContextPrice: Sendable, Equatable {
  public var tokens: TokenCount
  public var rates: PriceRates
  public init(tokens: TokenCount, rates: PriceRates) {
    self.tokens = tokens
    self.rates = rates
  }
}

/// Cheaper hours of the day.
public struct OffPeakPrice: Sendable, Equatable {
  /// UTC, from the first minute up to but without the last; may pass midnight.
  public struct Window: Sendable, Equatable {
    /// Minutes since midnight, 0...1439.
    public var from: Int
    public var until: Int
    public init(from: Int, until: Int) {
      self.from = from
      self.until = until
    }
    public func contains(minute: Int) -> Bool {
      from < until ? minute >= from && minute < until : minute >= from || minute < until
    }
  }
  public var windows: [Window]
  /// Multiplies all rates, in millionths; 1,000,000 where the rates below say it all.
  public var factor: Int64
  /// Rates that hold instead of the standard ones.
  public var rates: PriceRates
  public init(windows: [Window], factor: Int64 = 1_000_000, rates: PriceRates = PriceRates()) {
    self.windows = windows
    self.factor = factor
    self.rates = rates
  }
  /// True at that minute of a UTC day, 0...1439.
  public func applies(atMinute minute: Int) -> Bool { windows.contains { $0.contains(minute: minute) } }
}
