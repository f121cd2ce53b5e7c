// Reports: exact sums by every dimension, totals that are the sum of the rows, and the limits of time at, under and over.
import AdmissionCore
import Foundation
import LedgerVocabulary
import Testing

@testable import LedgerStore

@Suite struct UsageReportTests {
  private let place = Place()

  /// A store with some calls of two tenants, over two hours.
  private func filled() throws -> LedgerStore {
    let watcher = Watcher()
    let store = try Scene.store(place.path(), watcher)
    var entries = Scene.call(1, at: 0) + Scene.call(2, at: 1, tenant: "beta", cost: 3)
    entries += Scene.call(3, at: 3_600, cost: 1)
    // Retried once: the first attempt cost nothing, the second went to another provider.
    entries += [
      Scene.held(4, attempt: 1, at: 10), Scene.settled(4, attempt: 1, at: 10, cost: 0, usage: Usage()),
      Scene.held(4, attempt: 2, at: 10, provider: "openrouter", key: nil),
      Scene.settled(4, attempt: 2, at: 10, cost: 7),
      Scene.concluded(4, at: 10, provider: "openrouter", key: nil, attempts: 2),
    ]
    // Never granted.
    entries += [Scene.concluded(5, at: 20, provider: nil, key: nil, outcome: .rejectedQueueFull, attempts: 0)]
    // No price, and numbers from bytes.
    entries += [
      Scene.held(6, at: 30, held: nil),
      Scene.settled(6, at: 30, cost: nil, usage: Usage(inputTokens: 5, outputTokens: 1, isEstimated: true)),
      Scene.concluded(6, at: 30),
    ]
    #expect(watcher.reached(store.append(contentsOf: entries)))
    return store
  }

  private func report(_ store: LedgerStore, _ by: String, since: Double = 0, until: Double = 100_000) throws
    -> UsageReport
  {
    var query = try UsageQuery(by: by, since: nil, until: nil, bucket: nil, now: Scene.start)
    query.since = Scene.at(since)
    query.until = Scene.at(until)
    query.hasOpenEnd = false
    return try store.usage(query)
  }

  @Test func sumsByTenant() throws {
    let report = try report(filled(), "tenant")
    #expect(report.rows.map(\.labels) == [["acme"], ["beta"]])
    #expect(report.rows.map(\.sums.requests) == [5, 1])
    #expect(report.rows.map(\.sums.attempts) == [5, 1])
    #expect(report.rows.map(\.sums.nanodollars) == [4_008, 3])
    #expect(report.rows.map(\.sums.estimated) == [1, 0])
    #expect(report.rows.map(\.sums.unpriced) == [1, 0])
    #expect(report.rows.map(\.sums.inputTokens) == [275, 90])
    #expect(report.rows.map(\.sums.cacheReadTokens) == [30, 10])
  }

  @Test(arguments: UsageDimension.allCases) func totalIsTheSumOfTheRows(dimension: UsageDimension) throws {
    let report = try report(filled(), dimension.rawValue)
    #expect(!report.rows.isEmpty)
    var sum = UsageSums()
    for row in report.rows { sum.add(row.sums) }
    #expect(sum == report.total)
    #expect(report.total.nanodollars == 4_011 && report.total.requests == 6)
  }

  @Test func retriesCountWhereTheyWere() throws {
    let report = try report(filled(), "provider,key")
    #expect(report.rows.map(\.labels) == [["", ""], ["openai", "main"], ["openrouter", ""]])
    #expect(report.rows.map(\.sums.requests) == [1, 4, 1])
    #expect(report.rows.map(\.sums.attempts) == [0, 5, 1])
    #expect(report.rows.map(\.sums.nanodollars) == [0, 4_004, 7])
  }

  @Test func daysAndHours() throws {
    let store = try filled()
    #expect(try report(store, "day").rows.map(\.labels) == [["2026-11-18"]])
    #expect(
      try report(store, "hour").rows.map(\.labels) == [["2026-11-18T11:00:00Z"], ["2026-11-18T12:00:00Z"]])
    #expect(
      try report(store, "tenant,hour").rows.map(\.labels) == [
        ["acme", "2026-11-18T11:00:00Z"], ["acme", "2026-11-18T12:00:00Z"], ["beta", "2026-11-18T11:00:00Z"],
      ])
    #expect(try report(store, "day,hour").rows.first?.labels == ["2026-11-18", "2026-11-18T11:00:00Z"])
  }

  @Test func sinceIsInAndUntilIsOut() throws {
    let store = try filled()
    #expect(try report(store, "tenant", since: 0, until: 1).total.requests == 1)
    #expect(try report(store, "tenant", since: 0, until: 1.002).total.requests == 2)
    #expect(try report(store, "tenant", since: 0.001, until: 1.002).total.requests == 1)
    #expect(try report(store, "tenant", since: 3_600, until: 3_601).total.requests == 1)
    #expect(try report(store, "tenant", since: 4_000).rows.isEmpty)
  }

  @Test func aTenantSeesItsOwn() throws {
    let store = try filled()
    var query = try UsageQuery(by: "tenant", since: nil, until: nil, bucket: nil, now: Scene.at(4_000))
    query.tenant = "beta"
    #expect(try store.usage(query).total.nanodollars == 3)
    query.tenant = "gamma"
    #expect(try store.usage(query).rows.isEmpty)
  }

  @Test func openHoldsAreNotSpent() throws {
    let watcher = Watcher()
    let store = try Scene.store(place.path(), watcher)
    #expect(watcher.reached(store.append(Scene.held(1))))
    #expect(try report(store, "tenant").total == UsageSums())
    store.close()
    let again = try Scene.store(place.path(), Watcher())
    let total = try report(again, "tenant").total
    #expect(total.presumed == 1 && total.nanodollars == 5_000 && total.requests == 1)
  }

  @Test func fromTheFileAlone() throws {
    let store = try filled()
    let query = try UsageQuery(by: "model", since: "2026-11-01", until: "2026-12-01", bucket: nil, now: Scene.start)
    #expect(try LedgerStore.usage(query, at: place.path()) == store.usage(query))
    let error = #expect(throws: LedgerError.self) { try LedgerStore.usage(query, at: place.path("none.db")) }
    #expect(error?.description.contains("there is no such file") == true)
  }

  @Test func defaultsAndMistakesOfTheQuestion() throws {
    let now = Scene.at(86_400)
    let plain = try UsageQuery(by: nil, since: nil, until: nil, bucket: nil, now: now)
    #expect(plain.by == [.tenant, .model])
    #expect(plain.since == Scene.start)
    #expect(plain.until > now)
    #expect(
      try UsageQuery(by: "key, key,kind", since: nil, until: nil, bucket: "hour", now: now).by == [.hour, .key, .kind])
    #expect(try UsageQuery(by: "", since: nil, until: nil, bucket: nil, now: now).by == [])
    for (by, since, bucket, said) in [
      ("colour", "1h", "", "by: found 'colour', allowed are tenant, session"),
      ("key", "soon", "", "since: found 'soon'"),
      ("key", "1h", "week", "bucket: found 'week', allowed are hour and day"),
      ("key", "2199-01-01", "", "since: it is later than until"),
    ] {
      let error = #expect(throws: LedgerError.self) {
        try UsageQuery(by: by, since: since, until: nil, bucket: bucket, now: now)
      }
      #expect(error?.kind == .wrongQuestion && error?.description.hasPrefix(said) == true)
    }
  }

  @Test func aClockThatWasAheadHidesNoCall() throws {
    let watcher = Watcher()
    let store = try Scene.store(place.path(), watcher)
    let year = 400 * 86_400.0
    // Right, ahead, right again: rows are written in this order, and the ids of the last ones are ahead of their times.
    var entries = Scene.call(1, at: 0) + Scene.call(2, at: year) + Scene.call(3, at: 60)
    // An older version's request ids did not follow the clock back either.
    entries += [
      .held(
        AttemptHold(
          request: Scene.request(4, at: year), attempt: 1, at: Scene.at(90), tenant: "acme", clientKey: nil,
          session: "s1", provider: "openai", key: "main", model: "gpt-6-sol", priority: .normal, kind: nil,
          reservedInput: 1, reservedOutput: 1, held: Money(nanodollars: 5), priceVersion: "p")),
      .settled(
        AttemptEnd(
          request: Scene.request(4, at: year), attempt: 1, at: Scene.at(91), verdict: .success, status: 200,
          wasSent: true, cost: Money(nanodollars: 4_000), costSource: .prices, priceVersion: "p")),
      .concluded(
        RequestEnd(
          request: Scene.request(4, at: year), arrived: Scene.at(90), ended: Scene.at(91), tenant: "acme",
          session: "s1", priority: .normal, priorityReason: "header", kind: nil, model: "gpt-6-sol",
          provider: "openai", key: "main", outcome: .completed, status: 200, attempts: 1, queued: .zero,
          firstByte: nil)),
    ]
    #expect(watcher.reached(store.append(contentsOf: entries)))
    let within = try report(store, "tenant", since: -3_600, until: 3_600).total
    #expect(within.requests == 3 && within.attempts == 3 && within.nanodollars == 12_000)
    // Asked without an end, as a dashboard does: what the clock dated into the future is there too.
    let open = try store.usage(UsageQuery(by: "tenant", since: "1h", until: nil, bucket: nil, now: Scene.at(120)))
    #expect(open.total.requests == 4 && open.total.attempts == 4)
    #expect(try report(store, "tenant", since: year - 60, until: year + 60).total.requests == 1)
    // And what was spent in the future is in no window that holds now.
    #expect(
      try store.spending(since: [Scene.at(-3_600)], now: Scene.at(120)).map(\.spent) == [[Money(nanodollars: 12_000)]])
    // The same after another start.
    store.close()
    let again = try Scene.store(place.path(), Watcher(), now: Scene.at(130))
    again.append(contentsOf: Scene.call(5, at: 131))
    let later = try report(again, "tenant", since: -3_600, until: 3_600).total
    #expect(later.requests == 4)
    again.close()
  }
}
