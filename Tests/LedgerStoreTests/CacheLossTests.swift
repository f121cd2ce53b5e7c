// Why prompt caches were not read: kept with each attempt, through journal and tables, and summed by the reason.
import AdmissionCore
import Foundation
import LedgerVocabulary
import Testing
import TextForms

@testable import LedgerStore

@Suite struct CacheLossTests {
  private let place = Place()

  private func lost(_ reason: CacheLoss, _ tokens: Int64, byWaiting: Bool = false) -> LostCache {
    LostCache(reason: reason, lostTokens: TokenCount(tokens), oursByWaiting: byWaiting)
  }

  private func settled(_ number: Int, attempt: Int = 1, at seconds: Double = 0, _ lost: LostCache?, cost: Int64? = nil)
    throws -> LedgerEntry
  {
    var end = try #require(Scene.settled(number, attempt: attempt, at: seconds).end)
    (end.lostCache, end.lostCost) = (lost, cost.map { Money(nanodollars: $0) })
    return .settled(end)
  }

  private func finished(_ number: Int, at seconds: Double = 0, _ lost: LostCache?, cost: Int64? = nil) throws
    -> LedgerEntry
  {
    guard case .finished(let end, var attempt) = try Scene.finished(number, at: seconds) else { throw Absent() }
    (attempt.lostCache, attempt.lostCost) = (lost, cost.map { Money(nanodollars: $0) })
    return .finished(end, lastAttempt: attempt)
  }
  private struct Absent: Error {}

  private func report(_ by: String) throws -> UsageReport {
    try LedgerStore.usage(
      try UsageQuery(by: by, since: "2026-01-01", until: "2027-12-31", bucket: nil, now: Scene.at(60)), at: place.path()
    )
  }

  private func write(_ entries: [LedgerEntry]) throws {
    let store = try Scene.store(place.path(), Watcher(), now: Scene.at(60))
    store.append(contentsOf: entries)
    #expect(store.close() == 0)
  }

  @Test(arguments: CacheLoss.allCases, [false, true]) func eachReasonIsCoded(_ reason: CacheLoss, _ byWaiting: Bool)
    throws
  {
    for cost in [nil, 0, 7] as [Int64?] {
      for entry in [
        try settled(1, lost(reason, 1 << 40, byWaiting: byWaiting), cost: cost),
        try finished(1, lost(reason, 0, byWaiting: byWaiting), cost: cost),
      ] { #expect(EntryBatch([entry]).readable() == [entry]) }
    }
  }

  @Test func aReasonThatThereIsNotIsNoEntry() throws {
    let entry = try settled(1, nil)
    var bytes = Array(EntryBatch([entry]).bytes)
    // The flags stand behind the verdict and the status.
    let flags = try #require(bytes.firstIndex(of: UInt8(ascii: "s")).map { $0 + "success".utf8.count + 3 })
    #expect(bytes[flags] == 1)
    for code in [6, 7] as [UInt8] {
      bytes[flags] = 1 | code << 2
      #expect(EntryBatch(bytes: bytes, count: 1).readable() == nil)
    }
  }

  /// In one row, apart from the request, and after a hold that has a row of its own.
  @Test func eachFormOfARowKeepsIt() throws {
    let store = try Scene.store(place.path(), Watcher(), now: Scene.at(60))
    store.append(contentsOf: [
      Scene.held(1), try finished(1, lost(.expired, 900, byWaiting: true), cost: 90), Scene.held(2, attempt: 1),
      try settled(2, lost(.movedKey, 500), cost: 50), Scene.held(2, attempt: 2), try settled(2, attempt: 2, nil),
      Scene.concluded(2, attempts: 2), Scene.held(3), try finished(3, lost(.provider, 40)), Scene.held(4),
      try finished(4, nil),
    ])
    #expect(store.close() == 0)
    let columns =
      "coalesce(cache_loss, '-') || ' ' || coalesce(lost_by_waiting, '-') || ' ' || coalesce(lost_tokens, '-')"
    let rows = try Scene.query(
      place.path(), "SELECT \(columns) || ' ' || coalesce(lost_nanousd, '-') FROM attempt_log ORDER BY id",
      as: String.self)
    #expect(
      rows.compactMap { $0 }.sorted() == [
        "- - - -", "- - - -", "expired 1 900 90", "moved_key 0 500 50", "provider 0 40 -",
      ])
    let requests = try Scene.query(
      place.path(), "SELECT request_low || ' ' || \(columns) FROM request_log", as: String.self)
    #expect(requests.count == 4 && requests.compactMap { $0 }.filter { $0.contains(" - - -") }.count == 2)
  }

  @Test func theReportSumsByReason() throws {
    let losses: [(LostCache?, Int64?)] = [
      (lost(.expired, 900, byWaiting: true), 90), (lost(.expired, 100), 10), (lost(.firstCall, 50), 5), (nil, nil),
    ]
    var entries: [LedgerEntry] = []
    for (number, loss) in losses.enumerated() {
      entries += [Scene.held(number), try finished(number, loss.0, cost: loss.1)]
    }
    try write(entries)
    let report = try report("cache")
    #expect(report.rows.map(\.labels) == [[""], ["expired"], ["first_call"]])
    #expect(report.rows.map(\.sums.requests) == [1, 2, 1])
    #expect(report.rows.map(\.sums.lostTokens) == [0, 1000, 50])
    #expect(report.rows.map(\.sums.lostNanodollars) == [0, 100, 5])
    #expect(report.rows.map(\.sums.waitingTokens) == [0, 900, 0] && report.total.waitingNanodollars == 90)
    #expect(report.total.inputTokens == 360 && report.total.cacheReadTokens == 40)
    let object = try JSONSerialization.jsonObject(with: Data(report.json.utf8)) as? [String: Any]
    let row = try #require((object?["rows"] as? [[String: Any]])?[1])
    #expect(row["cache"] as? String == "expired" && row["lost_tokens"] as? Int == 1000)
    #expect(row["lost_usd"] as? String == "0.000000100" && row["lost_by_waiting_usd"] as? String == "0.000000090")
    #expect(row["lost_by_waiting_tokens"] as? Int == 900)
    #expect(report.csv.hasPrefix("cache,requests,") && report.csv.contains(",lost_by_waiting_usd\r\n"))
    // Other reports are as they were.
    let others = try self.report("tenant")
    #expect(others.rows.count == 1 && others.total.lostTokens == 0 && !others.json.contains("lost"))
    #expect(
      try self.report("tenant,cache").rows.map(\.labels) == [
        ["acme", ""], ["acme", "expired"], ["acme", "first_call"],
      ])
  }
}
