// What the operator can ask about a request's waits: why, how long still, and who went before it.
import AdmissionCore
import Pricing

extension Operator {
  /// How a waiting request stands; nil where it does not wait.
  public func waitReading(of request: RequestID) -> WaitReading? {
    services.dispatcher.ask { core, now in core.waitReading(of: request, at: now) }
  }

  /// The same without its place and the rest of its wait, which costs less.
  public func blockerReading(of request: RequestID) -> BlockerReading? {
    services.dispatcher.ask { core, now in core.reading(of: request, at: now) }
  }

  public func blocker(of request: RequestID) -> Blocker? { blockerReading(of: request)?.blocker }

  /// How long a waiting request will still wait; nil where it does not wait, or nobody can tell.
  public func predictedRest(of request: RequestID) -> Span? {
    services.dispatcher.ask { core, now in core.predictedRest(of: request, at: now) }
  }

  /// The calls that were granted while the request waited, where it could have gone itself.
  public func wentAhead(of record: RequestRecord) -> WentAheadList {
    var names = Set(record.attempts.map { ProviderID($0.provider) })
    for case let provider? in record.waits.map(\.reading.provider) { names.insert(provider) }
    func instant(_ nanoseconds: UInt64) -> Instant { Instant(nanoseconds: Int64(clamping: nanoseconds)) }
    let stays = record.stays(at: now).map { instant($0.lowerBound)...instant($0.upperBound) }
    let (tenant, session) = (TenantID(record.tenant), SessionID(record.session))
    return services.dispatcher.ask { core, _ in
      core.wentAhead(
        of: record.id, tenant: tenant, session: session, priority: record.priority, waits: stays, at: names)
    }
  }

  /// Why it waits now is noted in its record, where nobody has told it yet.
  public func noteWait(of record: RequestRecord) {
    guard record.state == .queued, let reading = blockerReading(of: record.id) else { return }
    record.waiting(reading, at: now)
  }

  /// The price of a model at a moment; nil where there is none.
  /// - Parameter wall: nanoseconds since 1970.
  public func price(of model: String, at wall: Int64) -> PriceLine? {
    let prices = services.rules.now.prices
    return prices.price(of: model, at: wall).map { PriceLine($0, version: prices.version) }
  }
}

/// A line of the price list, as people read it: USD per 1M tokens; nil for what it does not name.
public struct PriceLine: Sendable {
  /// The glob of models for which it holds.
  public let models: String
  /// The version of the list.
  public let version: String
  public let input: Money?
  public let output: Money?
  public let cacheRead: Money?
  public let cacheWrite: Money?

  init(_ price: ModelPrice, version: String) {
    func money(_ rate: PriceRate?) -> Money? {
      guard let rate else { return nil }
      let (nanodollars, isTooMuch) = rate.multipliedReportingOverflow(by: 1000)
      return Money(nanodollars: isTooMuch ? .max : nanodollars)
    }
    models = price.models.pattern
    self.version = version
    input = money(price.rates.input)
    output = money(price.rates.output)
    cacheRead = money(price.rates.cacheRead)
    cacheWrite = money(price.rates.cacheWrite)
  }
}
