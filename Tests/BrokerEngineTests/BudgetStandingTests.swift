// How far budgets are used up, in sentences; providers whose calls wait for a first byte; providers without a key.
import AdmissionCore
import Testing

@testable import BrokerEngine

@Suite struct BudgetStandingTests {
  private func reading(
    _ spent: Int64, of limit: Int64 = 1_000_000_000, needed: Int64 = 0, unit: BudgetUnit = .usd,
    _ onExceed: BudgetPolicy.OnExceed = .reject, warnAt: Int = 80, held: Int64 = 0
  ) -> BudgetReading {
    BudgetReading(
      id: "acme/day", account: .tenant("acme"), window: BudgetWindow(.day), unit: unit,
      limit: Money(nanodollars: limit), spent: Money(nanodollars: spent), held: Money(nanodollars: held),
      onExceed: onExceed, warnAtPercent: warnAt, refusedNeed: Money(nanodollars: needed))
  }

  @Test func nothingIsSaidWhereCallsGoOn() {
    for spent in [0, 1, 799_999_999] as [Int64] { #expect(reading(spent).standing == nil) }
    // What running calls hold is not spent.
    #expect(reading(0, held: 1_000_000_000).state == .ok)
  }

  @Test func sentences() {
    #expect(reading(800_000_000).standing == "budget acme/day has reached 80 %: $0.80 of $1.00 is spent")
    #expect(
      reading(930_000_000, needed: 80_000_000).standing
        == "budget acme/day refuses calls: $0.07 of $1.00 is left, the last one refused needed $0.08")
    #expect(
      reading(93, of: 100, needed: 8, unit: .tokens).standing
        == "budget acme/day refuses calls: 7 tokens of 100 tokens are left, the last one refused needed 8 tokens")
    #expect(
      reading(1_000_000_000).standing == "budget acme/day is used up: $1.00 of $1.00 is spent, calls are refused")
    #expect(
      reading(101, of: 100, unit: .requests, .low).standing
        == "budget acme/day is used up: 101 of 100 requests are used, calls go down to low")
    #expect(reading(7, of: 7, .warn).standing?.hasSuffix("calls go on") == true)
  }

  /// At what was needed by the last refused call, and one beside it.
  @Test func refusesOnlyWhereLessIsLeftThanWasNeeded() {
    #expect(reading(90, of: 100, needed: 10).state == .warned)
    #expect(reading(90, of: 100, needed: 11).state == .refusing)
    #expect(reading(90, of: 100, needed: 11, .low).state == .warned)
    #expect(reading(100, of: 100, needed: 11).state == .usedUp)
    #expect(reading(10, of: 100, needed: 91).state == .refusing)
    #expect(reading(0, of: 100, needed: .max).state == .refusing)
  }

  @Test func slowStartsAreOneForEachProvider() {
    func call(_ number: UInt64, _ provider: ProviderID, _ waited: Int64, usual: Int64? = nil) -> SilentCall {
      SilentCall(
        request: RequestID(high: 0, low: number), provider: provider, waited: .seconds(waited),
        usual: usual.map { .seconds($0) })
    }
    let calls = [call(1, "a", 20, usual: 2), call(2, "b", 61), call(3, "a", 41, usual: 3), call(4, "a", 99)]
    let all = SlowStart.all(calls) { $0.low != 4 }
    #expect(
      all == [
        SlowStart(provider: "a", calls: 2, longest: .seconds(41), usual: .seconds(3)),
        SlowStart(provider: "b", calls: 1, longest: .seconds(61), usual: nil),
      ])
    #expect(
      all.map { Headline.text(of: $0) } == [
        "2 calls at a have waited up to 41 s for a first byte, where nine of ten have it within 3 s",
        "1 call at b has waited 61 s for a first byte",
      ])
    #expect(SlowStart.all(calls) { _ in false }.isEmpty)
  }

  @Test func aProviderIsAsGoodAsItsKeys() {
    func key(_ state: KeyCondition, until: Int64? = nil) -> AdmissionSnapshot.Key {
      AdmissionSnapshot.Key(
        id: "k", state: state, until: until.map { Instant(nanoseconds: $0) }, inFlight: 0)
    }
    func provider(_ keys: [AdmissionSnapshot.Key]) -> AdmissionSnapshot.Provider {
      AdmissionSnapshot.Provider(
        id: "p", inFlight: 0, inFlightByBand: [0, 0, 0], buckets: [], models: [],
        breaker: AdmissionSnapshot.Breaker(state: .closed), keys: keys, queuedByBand: [0, 0, 0],
        reservedPermits: [0, 0, 0])
    }
    #expect(provider([]).standing.state == .usable)
    #expect(provider([key(.disabled), key(.usable)]).standing.state == .usable)
    let out = provider([key(.disabled, until: 9), key(.disabled)]).standing
    #expect(out.state == .disabled && out.until == Instant(nanoseconds: 9) && out.reason == "no_usable_key")
    let rests = provider([key(.disabled, until: 1), key(.cooling, until: 7), key(.cooling, until: 5)]).standing
    #expect(rests.state == .cooling && rests.until == Instant(nanoseconds: 5))
  }
}
