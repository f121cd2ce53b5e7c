// Books with numbers that cannot be true, as version 0.1.0 wrote them, are read, summed and carried into a new start.
import AdmissionCore
import GRDB
import LedgerVocabulary
import Testing
import TextForms

@testable import LedgerStore

@Suite struct HostileNumbersTests {
  static let amounts: [Int64] = [
    0, 1, 1 << 40, 4_611_686_018_400_000_000, 9_007_199_254_740_992, .max - 1, .max, -1, .min,
  ]

  @Test func entriesOfAnySizeAreWrittenAndSummed() throws {
    let place = Place()
    let watcher = Watcher()
    let store = try Scene.store(place.path(), watcher)
    var last: UInt64 = 0
    for number in 0..<10_000 {
      func any(_ step: Int) -> Int64 { Self.amounts[(number * 7 + step) % Self.amounts.count] }
      var hold = try #require(Scene.held(number).hold)
      var end = try #require(Scene.settled(number).end)
      hold.held = Money(nanodollars: any(1))
      end.usage = Usage(
        inputTokens: TokenCount(any(2)), cacheReadTokens: TokenCount(any(3)), cacheWriteTokens: TokenCount(any(4)),
        outputTokens: TokenCount(any(5)), reasoningTokens: TokenCount(any(6)))
      end.cost = Money(nanodollars: any(7))
      end.audioMilliseconds = any(8)
      last = store.append(contentsOf: [.held(hold), .settled(end)])
    }
    #expect(watcher.reached(last))
    try Self.expectReadable(store, place.path())
    store.close()
    let again = try Scene.store(place.path(), Watcher(), now: Scene.at(60))
    try Self.expectReadable(again, place.path())
  }

  @Test func poisonedBooksOfTheFirstVersionStartAndReport() throws {
    let place = Place()
    let watcher = Watcher()
    var store = try Scene.store(place.path(), watcher)
    var last: UInt64 = 0
    for number in 0..<1200 { last = store.append(contentsOf: Scene.call(number)) }
    #expect(watcher.reached(last))
    store.close()
    try DatabaseQueue(path: place.path()).write {
      // As a damaged disk may leave it, too.
      try $0.execute(sql: "PRAGMA ignore_check_constraints = ON")
      try $0.execute(
        sql: """
          UPDATE attempt_rows SET cost = 4611686018400000000, input_tokens = 9007199254740992, output_tokens = 18014398509481984,
            cache_read_tokens = 9223372036854775807, cache_write_tokens = -5, reasoning_tokens = 9007199254740992
          """)
    }
    store = try Scene.store(place.path(), Watcher(), now: Scene.at(60))
    try Self.expectReadable(store, place.path())
    let spent = try store.spending(since: [WallInstant(nanoseconds: 0)], now: Scene.at(60))
    #expect(spent.map { $0.spent } == [[Money(nanodollars: 1200 * Money.mostPerAttempt.nanodollars)]])
    let past = try store.pastAttempts(now: Scene.at(60))
    #expect(past.count == 1200)
    #expect(past.allSatisfy { $0.usage.inputTokens == .most && $0.usage.cacheWriteTokens == 0 })
  }

  /// One damaged number in each of the columns that number rows: the others are read, and the books go on.
  @Test(
    arguments: ["series", "attempt_rows", "request_rows", "calls", "endings", "new_holds", "words"],
    [.max, .min, -1, 1 << 40] as [Int64])
  func damagedNumbersOfRowsStopNoStart(_ table: String, _ number: Int64) throws {
    let place = Place()
    let watcher = Watcher()
    var store = try Scene.store(place.path(), watcher)
    var entries: [LedgerEntry] = []
    for number in 1...20 { entries += Scene.call(number, cost: 10) + (try Scene.shortCall(20 + number, cost: 10)) }
    #expect(watcher.reached(store.append(contentsOf: entries + [Scene.held(50)])))
    store.close()
    var damage = Configuration()
    damage.foreignKeysEnabled = false
    try DatabaseQueue(path: place.path(), configuration: damage).write {
      try $0.execute(
        sql: "UPDATE \(table) SET id = ? WHERE rowid = (SELECT max(rowid) FROM \(table))", arguments: [number])
    }
    let later = Watcher()
    store = try Scene.store(place.path(), later, now: Scene.at(60))
    let spent = try store.spending(since: [WallInstant(nanoseconds: 0)], now: Scene.at(60))
    #expect(spent.reduce(0) { $0 + $1.spent[0].nanodollars } >= (["series", "endings"].contains(table) ? 0 : 390))
    _ = try store.pastAttempts(now: Scene.at(60))
    #expect(later.reached(store.append(contentsOf: Scene.call(100, at: 61, cost: 10))))
    #expect(store.obstacle == nil && store.putAside == 0)
    let query = try UsageQuery(by: nil, since: "2026-01-01", until: "2027-12-31", bucket: nil, now: Scene.at(3600))
    #expect(try store.usage(query).total.attempts > 0)
    store.close()
  }

  private static func expectReadable(_ store: LedgerStore, _ path: String) throws {
    let query = try UsageQuery(by: nil, since: "2026-01-01", until: "2027-12-31", bucket: nil, now: Scene.at(3600))
    for report in [try store.usage(query), try LedgerStore.usage(query, at: path)] {
      #expect(report.total.attempts > 1000)
      #expect(report.total.inputTokens >= 0 && report.total.nanodollars >= 0)
      #expect(report.json.contains("cost_usd"))
      #expect(report.csv.contains("cost_usd"))
    }
    let starts = [WallInstant(nanoseconds: 0), Scene.at(-60), WallInstant(nanoseconds: .max)]
    for caller in try store.spending(since: starts, now: Scene.at(3600)) {
      #expect(caller.spent.allSatisfy { $0 >= .zero })
    }
    #expect(try store.pastAttempts(now: WallInstant(nanoseconds: .min)).isEmpty)
  }
}
