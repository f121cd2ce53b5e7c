// Charts of the past: each answer is compared with plain sums over the entries, at every point on the way of the rows
// into the roll-ups.
import AdmissionCore
import Foundation
import GRDB
import LedgerVocabulary
import Testing
import TextForms

@testable import LedgerStore

@Suite struct HistoryTests {
  private let place = Place()

  /// The store counts nothing by itself, however long a test takes.
  private static let calm = options { _ in }

  private static func options(_ change: (inout LedgerOptions) -> Void) -> LedgerOptions {
    var options = LedgerOptions()
    options.rollUpInterval = .seconds(1_000_000)
    options.firstRollUp = .seconds(1_000_000)
    change(&options)
    return options
  }

  private static func query(_ from: Double, _ to: Double, step: Int64) -> HistoryQuery {
    HistoryQuery(metrics: HistoryMetric.allCases, since: Scene.at(from), until: Scene.at(to), step: step)
  }

  /// Writes the entries, and ends as a killed process does: without an end of the open holds.
  private func write(_ entries: [LedgerEntry], now: WallInstant, options: LedgerOptions = calm) throws {
    let store = try Scene.store(place.path(), Watcher(), now: now, options: options)
    store.append(contentsOf: entries)
    #expect(store.close() == 0)
  }

  private func connection() throws -> DatabaseQueue { try LedgerConnection.writer(.file(place.path()), .batched) }

  /// Compares an answer with the naive one: point by point, or by sums where there are more series than are shown.
  private func compare(
    _ answer: HistoryAnswer, _ naive: NaiveHistory, cutsLabels: Bool = false, _ comment: Comment,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let axis = HistoryAxis(
      HistoryQuery(
        metrics: [], since: answer.since,
        until: WallInstant(nanoseconds: answer.begin(answer.count).nanoseconds), step: answer.step),
      step: answer.step, unit: 1)
    #expect(axis.step == answer.step && axis.count == answer.count, comment, sourceLocation: sourceLocation)
    for chart in answer.charts {
      switch chart.metric {
      case .waitP50, .waitP95, .waitP99:
        let percent = try #require(Int(chart.metric.rawValue.suffix(2)))
        #expect(chart.series.map { $0.labels[0].value } == ["high", "normal", "low"])
        for (series, priority) in zip(chart.series, Priority.allCases) {
          let points = try #require(Self.seconds(series))
          for (point, expected) in zip(points, naive.percentiles(percent, priority, on: axis)) {
            #expect((point == nil) == (expected == nil), comment, sourceLocation: sourceLocation)
            // Both are nil.
            guard let point, let expected else { continue }
            let isNear = expected < 0.0001 ? point == 0 : abs(point - expected) <= expected * 0.1
            #expect(isNear, "\(comment): \(point) for \(expected)", sourceLocation: sourceLocation)
          }
        }
      case .calls, .tokens, .refused, .cost:
        var shown: [String: [Int64]] = [:]
        for series in chart.series {
          shown[series.labels.map(\.value).joined(separator: "|")] = Self.amounts(series)
        }
        #expect(shown.count == chart.series.count && shown.count <= HistoryQuery.mostSeries)
        let expected = naive.amounts(chart.metric, on: axis)
        if expected.count <= HistoryQuery.mostSeries, !cutsLabels {
          #expect(shown == expected, "\(comment) \(chart.metric)", sourceLocation: sourceLocation)
        } else {
          // Nothing is lost, and what has its name has no more than it should.
          for step in 0..<answer.count {
            #expect(
              shown.values.reduce(0) { $0 + $1[step] } == expected.values.reduce(0) { $0 + $1[step] }, comment,
              sourceLocation: sourceLocation)
          }
          for (labels, points) in shown where !labels.hasPrefix("other") {
            for (step, amount) in points.enumerated() {
              #expect(amount <= expected[labels]?[step] ?? -1, comment, sourceLocation: sourceLocation)
            }
          }
        }
      }
    }
  }

  private static let queries = [
    query(-200, 9_000, step: 300), query(-5_000, 9_000, step: 3_600), query(600, 7_000, step: 37),
    query(0, 4_321, step: 900),
  ]

  /// Rows come while others are counted, attempts stay open while the mark passes them, and the process is killed twice:
  /// what is counted and what is read row by row are the same sums together.
  @Test(arguments: [1, 2, 3, 4] as [UInt64]) func whereverTheMarkIsTheAnswerIsTheSame(seed: UInt64) throws {
    var calls = RandomCalls(seed: seed)
    var dice = Dice(seed &* 77)
    var naive = NaiveHistory()
    var wereLate = 0
    // Open attempts get their rows at once.
    let options = Self.options {
      $0.listTime = .zero
      $0.housekeepingInterval = .zero
    }
    for (run, end) in [3_000.0, 5_000, 8_000].enumerated() {
      let entries = calls.entries(100, from: end - 2_900, over: 2_800)
      let store = try Scene.store(place.path(), Watcher(), now: Scene.at(end - 2_950), options: options)
      if run > 0 { naive.restart(at: Scene.at(end - 2_950)) }
      let counter = try LedgerConnection.caretaker(place.path())
      var late: Int64 = 0
      for start in stride(from: 0, to: entries.count, by: 40) {
        let slice = Array(entries[start..<min(entries.count, start + 40)])
        store.append(contentsOf: slice)
        naive.append(slice)
        try compare(store.history(Self.queries[start / 40 % 4]), naive, "seed \(seed), before \(start)")
        try counter.writeWithoutTransaction { db in
          _ = try RollUps.step(db, most: 1 + dice.roll(30), late: &late)
          wereLate += try Int.fetchOne(db, sql: "SELECT count(*) FROM late_rows") ?? 0
        }
        try compare(store.history(Self.queries[(start / 40 + 1) % 4]), naive, "seed \(seed), after \(start)")
      }
      #expect(store.close() == 0)
    }
    #expect(wereLate > 0)
    // The rest, in chunks of any size.
    let store = try Scene.store(place.path(), Watcher(), now: Scene.at(8_500), options: options)
    naive.restart(at: Scene.at(8_500))
    let counter = try LedgerConnection.caretaker(place.path())
    var late: Int64 = 0
    var isDone = false
    while !isDone {
      try counter.writeWithoutTransaction { db in
        isDone = try RollUps.step(db, most: 1 + dice.roll(90), late: &late).isDone
      }
      for query in Self.queries { try compare(store.history(query), naive, "seed \(seed), the rest") }
    }
    #expect(try Scene.query(place.path(), "SELECT count(*) FROM late_rows", as: Int.self) == [0])
    #expect(
      try Scene.query(place.path(), "SELECT value FROM marks WHERE name = 'rolled_up'", as: Int64.self)
        == Scene.query(place.path(), "SELECT max(id) FROM (SELECT id FROM attempts UNION SELECT id FROM requests)"))
    store.close()
  }

  /// A file as it is when the process is killed, with or without an open transaction, goes on where its mark is.
  @Test func whoIsKilledBetweenChunksOrWithinOneCountsTheRestOnce() throws {
    var calls = RandomCalls(seed: 9)
    let entries = calls.entries(200, from: 0, over: 6_000)
    var naive = NaiveHistory()
    naive.append(entries)
    try write(entries, now: Scene.at(0))
    let queue = try connection()
    for number in 0..<6 {
      try queue.writeWithoutTransaction { db in
        var late: Int64 = 0
        _ = try RollUps.step(db, most: 20, late: &late)
        try db.execute(sql: "BEGIN IMMEDIATE; UPDATE roll_ups SET amount = amount + 1000000; DELETE FROM marks")
        for end in ["", "-wal"] {
          try FileManager.default.copyItem(
            atPath: place.path("t.db" + end), toPath: place.path("killed\(number).db" + end))
        }
        try db.execute(sql: "ROLLBACK")
      }
      let killed = try Scene.store(
        place.path("killed\(number).db"), Watcher(), now: Scene.at(7_000),
        options: Self.options {
          $0.rollUpInterval = .zero
          $0.rollUpRows = 11
        })
      var restarted = naive
      restarted.restart(at: Scene.at(7_000))
      killed.append(.remembered(LedgerMemo(kind: .learned, name: "n", value: "v")))
      for query in Self.queries { try compare(killed.history(query), restarted, "killed after \(number)") }
      killed.close()
    }
  }

  @Test func theWritersThreadCountsInTheBackground() throws {
    var calls = RandomCalls(seed: 5)
    let entries = calls.entries(400, from: 0, over: 6_000)
    var naive = NaiveHistory()
    let store = try Scene.store(
      place.path(), Watcher(), now: Scene.at(0),
      options: Self.options {
        $0.rollUpInterval = .zero
        $0.rollUpRows = 16
        $0.listTime = .zero
        $0.housekeepingInterval = .zero
      })
    for start in stride(from: 0, to: entries.count, by: 100) {
      let slice = Array(entries[start..<min(entries.count, start + 100)])
      store.append(contentsOf: slice)
      naive.append(slice)
      try compare(store.history(Self.queries[start / 100 % 4]), naive, "while \(start)")
    }
    // Nothing else is to be done, and the thread goes on by itself.
    let deadline = DispatchTime.now() + 20
    func isBehind() throws -> Bool {
      try store.readWritten { try RollUps.countedThrough($0) < LedgerSchema.newestRow($0) }
    }
    while try isBehind(), DispatchTime.now() < deadline {}
    #expect(try !isBehind())
    for query in Self.queries { try compare(store.history(query), naive, "at rest") }
    store.close()
  }

  @Test func aLedgerInMemoryHasAHistoryToo() throws {
    var calls = RandomCalls(seed: 6)
    let entries = calls.entries(150, from: 0, over: 6_000)
    var naive = NaiveHistory()
    naive.append(entries)
    let store = try LedgerStore(
      .memory, options: Self.options { $0.rollUpInterval = .zero }, now: Scene.at(0), onCommitted: { _ in })
    store.append(contentsOf: entries)
    for query in Self.queries { try compare(store.history(query), naive, "in memory") }
    store.close()
  }

  /// The clock goes back by two hours and ahead by a day; every call counts at its own time.
  @Test func aClockThatJumpsLosesNothing() throws {
    var calls = RandomCalls(seed: 12)
    calls.openOne = 1_000_000
    var naive = NaiveHistory()
    for (start, now) in [(8_000.0, 8_000.0), (800, 800), (90_000, 90_000), (4_000, 4_000)] {
      let entries = calls.entries(60, from: start, over: 900)
      naive.restart(at: Scene.at(now))
      naive.append(entries)
      try write(entries, now: Scene.at(now), options: Self.options { $0.rollUpInterval = .zero })
    }
    let store = try Scene.store(place.path(), Watcher(), now: Scene.at(9_500), options: Self.calm)
    naive.restart(at: Scene.at(9_500))
    for query in Self.queries + [Self.query(0, 95_000, step: 300), Self.query(89_000, 94_000, step: 60)] {
      try compare(store.history(query), naive, "\(query.since.nanoseconds) \(query.step)")
    }
    store.close()
  }

  /// Rows are removed before anything was counted, with open attempts among them, and what is written later by a clock
  /// that was set back has ids above those.
  @Test func whatIsPrunedStaysInTheCharts() throws {
    var calls = RandomCalls(seed: 21)
    // A request whose first attempt is removed before its second begins has nothing left that a start could end.
    calls.breaksOff = false
    let entries = calls.entries(150, from: 0, over: 9_000)
    var naive = NaiveHistory()
    naive.append(entries)
    let store = try Scene.store(
      place.path(), Watcher(), now: Scene.at(0),
      options: Self.options {
        $0.listTime = .zero
        $0.housekeepingInterval = .zero
      })
    store.append(contentsOf: entries)
    #expect(store.settle())
    // Whatever is not open goes: in the future there is nothing older.
    #expect(try LedgerCare.prune(place.path(), before: Scene.at(20_000)).requests > 100)
    #expect(try Scene.query(place.path(), "SELECT count(*) FROM requests", as: Int.self) == [0])
    store.close()
    naive.restart(at: Scene.at(100))
    let more = calls.entries(40, from: 200, over: 3_000)
    naive.append(more)
    try write(more, now: Scene.at(100))
    let again = try Scene.store(place.path(), Watcher(), now: Scene.at(3_500), options: Self.calm)
    naive.restart(at: Scene.at(3_500))
    // The minutes are gone with the rows, the hours are not.
    let hours = try again.history(Self.query(-5_000, 9_000, step: 3_600))
    try compare(hours, naive, "hours")
    let minutes = try again.history(Self.query(-5_000, 9_000, step: 300))
    #expect(minutes.step == 3_600)
    try compare(minutes, naive, "minutes")
    try compare(again.history(Self.query(600, 7_000, step: 37)), naive, "seconds")
    #expect(try LedgerCare.prune(place.path(), before: Scene.at(20_000)).requests > 30)
    try compare(again.history(Self.query(-5_000, 9_000, step: 3_600)), naive, "pruned again")
    // After a year they go too.
    _ = try LedgerCare.prune(place.path(), before: Scene.at(400 * 86_400))
    #expect(try Scene.query(place.path(), "SELECT count(*) FROM roll_ups", as: Int.self) == [0])
    again.close()
  }

  /// Tenant number n costs n nano-dollars in each of two slots; a third slot ends them.
  @Test(arguments: [7, 100, 5_000]) func ofASlotThatIsOverTheLargestLabelsStay(chunk: Int) throws {
    var entries: [LedgerEntry] = []
    for tenant in 1...80 {
      entries += Scene.call(tenant, at: 0, tenant: TenantID("t\(tenant)"), cost: Int64(tenant))
      entries += Scene.call(tenant + 100, at: 300, tenant: TenantID("t\(tenant)"), cost: Int64(81 - tenant))
    }
    entries.sort {
      ($0.hold?.at.nanoseconds ?? $0.end?.at.nanoseconds ?? $0.requestEnd?.ended.nanoseconds ?? 0)
        < ($1.hold?.at.nanoseconds ?? $1.end?.at.nanoseconds ?? $1.requestEnd?.ended.nanoseconds ?? 0)
    }
    for number in 1...300 {
      entries += Scene.call(1_000 + number, at: 3_600 * Double(number / 100 + 1), tenant: "last", cost: 1)
    }
    try write(entries, now: Scene.at(0))
    let queue = try connection()
    func labels(_ slot: Int64) throws -> [String: Int64] {
      try queue.read { db in
        let rows = try Row.fetchAll(
          db,
          sql: """
            SELECT coalesce(w.text, '-'), amount FROM roll_ups r LEFT JOIN words w ON w.id = r.label
            WHERE sort = 5 AND length = 300 AND slot = ?
            """, arguments: [slot])
        return Dictionary(uniqueKeysWithValues: rows.map { ($0[0] as String, $0[1] as Int64) })
      }
    }
    try queue.writeWithoutTransaction { try RollUps.finish($0, most: chunk) }
    // One chunk alone does not know that the slots are over.
    if chunk < 5_000 {
      let first = Scene.at(1).nanoseconds / 300_000_000_000
      var expected = Dictionary(uniqueKeysWithValues: (31...80).map { ("t\($0)", Int64($0)) })
      expected["-"] = (1...30).reduce(0, +)
      #expect(try labels(first) == expected)
      let second = try labels(first + 1)
      #expect(second.count == 51 && second["-"] == (1...30).reduce(0, +) && second["t1"] == 80)
    }
    let naiveTotal = Int64(2 * (1...80).reduce(0, +) + 300)
    let answer = try queue.read { try HistoryReader(Self.query(0, 30_000, step: 300), $0).answer }
    let cost = try #require(answer.charts.last?.series)
    #expect(cost.count == 50 && cost.last?.labels == [HistoryLabel("tenant", "other")])
    #expect(cost.reduce(0) { $0 + Self.amounts($1).reduce(0, +) } == naiveTotal)
  }

  private static func seconds(_ series: HistorySeries) -> [Double?]? {
    if case .seconds(let seconds) = series.points { seconds } else { nil }
  }

  private static func amounts(_ series: HistorySeries) -> [Int64] {
    if case .amounts(let amounts) = series.points { amounts } else { [] }
  }

  /// Names that clients make up do not fill an open slot without bound.
  @Test func anOpenSlotIsBoundedToo() throws {
    var entries: [LedgerEntry] = []
    for tenant in 1...2_600 {
      entries += try Scene.shortCall(tenant, tenant: TenantID("t\(tenant)"), cost: tenant == 7 ? 1_000_000 : 1)
    }
    try write(entries, now: Scene.at(0))
    let queue = try connection()
    try queue.writeWithoutTransaction { try RollUps.finish($0, most: 100) }
    let kept = try queue.read { db in
      try Int.fetchAll(
        db, sql: "SELECT count(*) FROM roll_ups WHERE sort = 5 GROUP BY length")
    }
    #expect(kept.count == 2 && kept.allSatisfy { $0 <= RollUps.mostOpenLabels + 101 })
    let answer = try queue.read { try HistoryReader(Self.query(0, 60, step: 300), $0).answer }
    let cost = try #require(answer.charts.last?.series)
    #expect(cost.reduce(0) { $0 + Self.amounts($1).reduce(0, +) } == 1_002_599)
    #expect(cost[0].labels == [HistoryLabel("tenant", "t7")])
  }

  /// Amounts as only a damaged file has them neither overflow nor stop the counting.
  @Test func impossibleNumbersAreCutToWhatCanBe() throws {
    try write(try (1...3).flatMap { try Scene.shortCall($0) }, now: Scene.at(0))
    let queue = try connection()
    try queue.writeWithoutTransaction { db in
      try db.execute(sql: "UPDATE calls SET cost = 9223372036854775807, input_tokens = 9223372036854775807")
      try db.execute(sql: "UPDATE calls SET queued_us = 9223372036854775807, cache_read_tokens = 9223372036854775807")
      try db.execute(sql: "UPDATE calls SET ended_at = 9223372036854775807 WHERE id = (SELECT max(id) FROM calls)")
      try db.execute(sql: "UPDATE calls SET ended_at = -5 WHERE id = (SELECT min(id) FROM calls)")
      try RollUps.finish(db, most: 1)
      try db.execute(
        sql: "INSERT INTO roll_ups SELECT DISTINCT sort, length, slot, 99, 12345, 9223372036854775807 FROM roll_ups")
      let queries = [
        Self.query(0, 400, step: 300), Self.query(0, 400, step: 3_600),
        HistoryQuery(
          metrics: HistoryMetric.allCases, since: WallInstant(nanoseconds: .min),
          until: WallInstant(nanoseconds: .max), step: .max / 4),
        HistoryQuery(
          metrics: HistoryMetric.allCases, since: WallInstant(nanoseconds: .max - 1),
          until: WallInstant(nanoseconds: .max), step: 1),
      ]
      for query in queries {
        let answer = try HistoryReader(query, db).answer
        #expect(answer.charts.count == 7 && (1...400).contains(answer.count))
      }
    }
  }
}
