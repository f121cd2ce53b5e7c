// What calls cost: picks a price list's rates for a model, tier, size, day and hour, and computes the cost.
//
// Promises: exact to the nano-dollar (`CallCost`); a provider's own `usage.cost` is preferred; the cost of a model
// without a price is "unknown", never zero; the look-up of a model is one dictionary access, whatever the length of the
// list.
import AdmissionCore
import TextForms

/// One policy's prices. A class, because it remembers what it looked up.
public final class PriceBook {
  public let list: PriceList
  /// The day since 1970 (UTC) for which look-ups are remembered.
  private var day: Int64 = .min
  private var known: [String: Known?] = [:]
  private var latest: (model: String, known: Known?)?
  /// Clients choose the names of models, so the number of remembered look-ups is bounded.
  private static let mostKnown = 1024

  /// What the list has for a model. A class, since a price has a kilobyte of rates and each call uses it twice.
  private final class Known {
    let price: ModelPrice
    init(_ price: ModelPrice) { self.price = price }
  }

  /// True where no price of the list depends on the day or hour; this is the usual case, and asked for each call.
  public let isStill: Bool

  public init(_ list: PriceList) {
    self.list = list
    isStill = list.entries.allSatisfy { $0.validFrom == nil && $0.validUntil == nil && $0.offPeak == nil }
  }

  public var version: String { list.version }

  /// When a price of the list changes next; nil where none does.
  public func nextChange(after wall: Int64) -> Int64? { isStill ? nil : list.nextChange(after: wall) }

  /// The price of a model at a moment; nil where the list has none.
  /// - Parameter wall: nanoseconds since 1970.
  public func price(of model: String, at wall: Int64) -> ModelPrice? { lookUp(model, at: wall)?.price }

  /// nil where the list has none, which is remembered too.
  private func lookUp(_ model: String, at wall: Int64) -> Known? {
    let today = wall / 86_400_000_000_000
    if today != day {
      day = today
      known.removeAll(keepingCapacity: true)
      latest = nil
    }
    // A call looks the same name up three times, and comparing is cheaper than hashing.
    if let latest, latest.model == model { return latest.known }
    let found: Known?
    if let earlier = known[model] {
      found = earlier
    } else {
      if known.count >= Self.mostKnown { known.removeAll(keepingCapacity: true) }
      found = CalendarDay(daysSince1970: today).flatMap { list.price(forModel: model, on: $0) }.map { Known($0) }
      known.updateValue(found, forKey: model)
    }
    latest = (model, found)
    return found
  }

  /// The price for holds: the rates for the tier that the client asks for and the size of its input.
  public func callPrice(
    model: String, tier: String?, estimatedInput: TokenCount, at wall: Int64
  ) -> CallPrice? {
    guard
      let rates = lookUp(model, at: wall)?.price.callRates(
        tier: Self.tier(tier), inputTokens: estimatedInput, extras: UsageExtras(), at: wall),
      rates.input != nil || rates.output != nil || rates.isByCall
    else { return nil }
    let input = rates.input ?? 0
    func scaled(_ rate: Int64) -> Int64 {
      let (product, overflow) = rate.multipliedReportingOverflow(by: rates.factor)
      return overflow || product > .max - 999_999 ? .max : (product + 999_999) / 1_000_000
    }
    return CallPrice(
      inputMicroPerToken: scaled(input), outputMicroPerToken: scaled(rates.output ?? 0),
      // The length of the audio is unknown: the least possible amount is held.
      perRequest: rates.perRequest > .zero ? rates.perRequest : rates.perAudioSecond)
  }

  /// What a call cost, and where the number comes from.
  /// - Parameters:
  ///   - model: as the client named it; where it has no price, `answeredBy`, the name in the answer, is used.
  ///   - reported: the provider's own price of the call.
  ///   - tier: as the answer names it.
  ///   - isWholeBatch: true where the usage is that of all calls of a batch.
  public func cost(
    of usage: Usage, extras: UsageExtras, model: String, answeredBy: String?, reported: Money?, tier: String?,
    isWholeBatch: Bool = false, at wall: Int64
  ) -> (cost: Money?, source: CostSource) {
    if let reported { return (min(max(.zero, reported), .mostPerCall), .provider) }
    let isNothing = usage.inputTokens == 0 && usage.outputTokens == 0 && extras.audioMilliseconds == 0
    var known = lookUp(model, at: wall)
    if known == nil, let answeredBy { known = lookUp(answeredBy, at: wall) }
    guard
      let rates = known?.price.callRates(
        tier: Self.tier(tier), inputTokens: usage.inputTokens, extras: extras, at: wall)
    else { return isNothing ? (.zero, .free) : (nil, .unknown) }
    guard let cost = CallCost.cost(of: usage, extras: extras, at: rates) else { return (nil, .unknown) }
    return (min(cost, isWholeBatch ? .mostPerAttempt : .mostPerCall), .prices)
  }

  /// What tokens cost more than reading them from a prompt cache would have; nil where the model has no price.
  /// - Parameters:
  ///   - lost: tokens of the usage's input that a cache would have given. Those that the provider wrote to its cache come
  ///     first, since a cache that is read is not written again.
  ///   - model, answeredBy, tier: as for `cost`.
  public func costOfLosing(
    _ lost: TokenCount, of usage: Usage, extras: UsageExtras, model: String, answeredBy: String?, tier: String?,
    at wall: Int64
  ) -> Money? {
    var (warm, warmExtras) = (usage, extras)
    let moved = min(lost, usage.inputTokens - usage.cacheReadTokens)
    warm.cacheReadTokens = usage.cacheReadTokens + moved
    warm.cacheWriteTokens = usage.cacheWriteTokens - moved
    warmExtras.cacheWriteHourTokens = min(extras.cacheWriteHourTokens, warm.cacheWriteTokens)
    func cost(_ usage: Usage, _ extras: UsageExtras) -> Money? {
      self.cost(of: usage, extras: extras, model: model, answeredBy: answeredBy, reported: nil, tier: tier, at: wall)
        .cost
    }
    guard let paid = cost(usage, extras), let least = cost(warm, warmExtras) else { return nil }
    return Money(nanodollars: max(0, paid.nanodollars - least.nanodollars))
  }

  /// The tier by the vendors' names; unknown names have the standard rates.
  static func tier(_ name: String?) -> PriceTier {
    switch name {
    case "flex": .flex
    case "priority", "fast": .priority
    case "batch": .batch
    default: .standard
    }
  }
}

extension ModelPrice {
  /// The rates of one call, by its tier, size and hour, and by what its answer says.
  fileprivate func callRates(
    tier: PriceTier, inputTokens: TokenCount, extras: UsageExtras, at wall: Int64
  ) -> CallRates {
    var list = rates(tier: tier, inputTokens: inputTokens)
    var factor: Int64 = 1_000_000
    let minute = Int(max(0, wall) / 60_000_000_000 % 1440)
    if let offPeak, offPeak.applies(atMinute: minute) {
      // Off-peak hours apply to the standard tier; rates that they do not name follow the day's rates.
      if tier == .standard { list = offPeak.rates.completed(from: list) }
      factor = offPeak.factor
    }
    if !factors.isEmpty {
      for name in [extras.region, extras.speed] {
        guard let name, let times = factors[name.lowercased()] else { continue }
        factor = Int64((Int128(factor) * Int128(times) + 500_000) / 1_000_000)
      }
    }
    // Output without a price is not free: it costs the same as input, in holds as well.
    var rates = CallRates(input: list.input, output: list.output ?? list.input)
    rates.reasoning = list.reasoning
    rates.cacheRead = list.cacheRead
    rates.cacheWrite = list.cacheWrite
    rates.cacheWriteHour = list.cacheWrite1h
    rates.audioInput = list.audioInput
    rates.audioOutput = list.audioOutput
    rates.imageInput = list.imageInput
    rates.imageOutput = list.imageOutput
    rates.perRequest = perRequest
    rates.perAudioSecond = perAudioSecond
    rates.factor = factor
    return rates
  }
}
