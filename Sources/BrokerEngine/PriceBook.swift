// What calls cost: picks a price list's rates for a model, tier, size, day and hour, and works the cost out.
//
// Promises: exact to the nano-dollar (`CallCost`); a provider's own `usage.cost` wins; a model without a price costs "unknown", never
// zero; the look-up of a model costs one dictionary access, whatever the length of the list.
import AdmissionCore
import PolicyFile
import ProviderWire

/// One policy's prices. A class, because it remembers what it looked up.
public final class PriceBook {
  public let list: PriceList
  /// What the provider says it used is priced; this is the price's own day and hour.
  private var day: Int64 = .min
  private var known: [String: ModelPrice?] = [:]
  /// Clients choose model names: what is remembered is bounded.
  private static let mostKnown = 1024

  public init(_ list: PriceList) { self.list = list }

  public var version: String { list.version }

  /// The price of a model at a moment; nil where the list has none.
  /// - Parameter wall: nanoseconds since 1970.
  public func price(of model: String, at wall: Int64) -> ModelPrice? {
    let today = wall / 86_400_000_000_000
    if today != day {
      day = today
      known.removeAll(keepingCapacity: true)
    }
    if let price = known[model] { return price }
    if known.count >= Self.mostKnown { known.removeAll(keepingCapacity: true) }
    let price = CalendarDay(daysSince1970: today).flatMap { list.price(forModel: model, on: $0) }
    known[model] = .some(price)
    return price
  }

  /// What a hold is reckoned with: the rates for the tier that the client asks for and the size of its input.
  public func callPrice(
    model: String, tier: String?, estimatedInput: TokenCount, at wall: Int64
  ) -> CallPrice? {
    guard let price = price(of: model, at: wall) else { return nil }
    let rates = callRates(
      price, tier: Self.tier(tier), inputTokens: estimatedInput, extras: UsageExtras(), at: wall)
    let input = rates.input ?? 0
    guard rates.input != nil || rates.output != nil else { return nil }
    func scaled(_ rate: Int64) -> Int64 {
      let (product, overflow) = rate.multipliedReportingOverflow(by: rates.factor)
      return overflow ? rate : (product + 999_999) / 1_000_000
    }
    return CallPrice(inputMicroPerToken: scaled(input), outputMicroPerToken: scaled(rates.output ?? input))
  }

  /// What a call cost, and where the number comes from.
  /// - Parameters:
  ///   - model: as the client named it; `answeredBy`, the name in the answer, counts where that has no price.
  ///   - reported: the provider's own price of the call.
  ///   - tier: as the answer names it.
  public func cost(
    of usage: Usage, extras: UsageExtras, model: String, answeredBy: String?, reported: Money?, tier: String?,
    at wall: Int64
  ) -> (cost: Money?, source: CostSource) {
    if let reported { return (reported, .provider) }
    let isNothing = usage.inputTokens == 0 && usage.outputTokens == 0 && extras.audioMilliseconds == 0
    guard let price = price(of: model, at: wall) ?? answeredBy.flatMap({ self.price(of: $0, at: wall) }) else {
      return isNothing ? (.zero, .free) : (nil, .unknown)
    }
    let rates = callRates(
      price, tier: Self.tier(tier), inputTokens: usage.inputTokens, extras: extras, at: wall)
    guard let cost = CallCost.cost(of: usage, extras: extras, at: rates) else { return (nil, .unknown) }
    return (cost, .prices)
  }

  private func callRates(
    _ price: ModelPrice, tier: PriceTier, inputTokens: TokenCount, extras: UsageExtras, at wall: Int64
  ) -> CallRates {
    var list = price.rates(tier: tier, inputTokens: inputTokens)
    var factor: Int64 = 1_000_000
    let minute = Int(wall / 60_000_000_000 % 1440)
    if let offPeak = price.offPeak, offPeak.applies(atMinute: minute) {
      // The cheaper hours are the standard tier's; named rates complete themselves from those of the day.
      if tier == .standard { list = offPeak.rates.completed(from: list) }
      factor = offPeak.factor
    }
    for name in [extras.region, extras.speed] {
      guard let name, !price.factors.isEmpty, let times = price.factors[name.lowercased()] else { continue }
      factor = Int64((Int128(factor) * Int128(times) + 500_000) / 1_000_000)
    }
    var rates = CallRates(input: list.input, output: list.output)
    rates.reasoning = list.reasoning
    rates.cacheRead = list.cacheRead
    rates.cacheWrite = list.cacheWrite
    rates.cacheWriteHour = list.cacheWrite1h
    rates.audioInput = list.audioInput
    rates.audioOutput = list.audioOutput
    rates.imageInput = list.imageInput
    rates.imageOutput = list.imageOutput
    rates.perRequest = price.perRequest
    rates.perAudioSecond = price.perAudioSecond
    rates.factor = factor
    return rates
  }

  /// The vendors' words for a tier; what is none of the dearer or cheaper ones costs the standard rates.
  static func tier(_ name: String?) -> PriceTier {
    switch name {
    case "flex": .flex
    case "priority", "fast": .priority
    case "batch": .batch
    default: .standard
    }
  }
}

extension CalendarDay {
  /// Days after 1970-01-01, by the civil-from-days arithmetic of the proleptic Gregorian calendar; nil before year 1.
  init?(daysSince1970: Int64) {
    let shifted = daysSince1970 + 719_468
    guard shifted >= 0 else { return nil }
    let era = shifted / 146_097
    let dayOfEra = shifted % 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let monthFromMarch = (5 * dayOfYear + 2) / 153
    let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
    self.init(
      year: Int(yearOfEra + era * 400 + (month <= 2 ? 1 : 0)), month: Int(month),
      day: Int(dayOfYear - (153 * monthFromMarch + 2) / 5 + 1))
  }
}
