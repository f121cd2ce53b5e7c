// A request and its last attempt in one row: what is asked of the ledger is answered as if they had been written apart.
import AdmissionCore
import Foundation
import GRDB
import LedgerVocabulary
import Testing
import TextForms

@testable import LedgerStore

@Suite struct CallRowsTests {
  private let place = Place()

  private func counts(_ path: String) throws -> [Int?] {
    try ["calls", "attempt_rows", "request_rows", "attempts", "requests"].map {
      try Scene.query(path, "SELECT count(*) FROM \($0)", as: Int.self)[0]
    }
  }

  private func write(_ entries: [LedgerEntry], to path: String, now: WallInstant = Scene.at(60)) throws {
    let store = try Scene.store(path, Watcher(), now: now)
    store.append(contentsOf: entries)
    #expect(store.close() == 0)
  }

  @Test func aCallHasOneRow() throws {
    try write((1...40).flatMap { try Scene.shortCall($0, at: Double($0)) }, to: place.path())
    #expect(try counts(place.path()) == [40, 0, 0, 40, 40])
    #expect(try Scene.query(place.path(), "SELECT count(*) FROM endings", as: Int.self) == [1])
    #expect(try Scene.query(place.path(), "SELECT count(*) FROM new_holds", as: Int.self) == [0])
  }

  @Test func theAgentsOfASessionAreToldApart() throws {
    var entries: [LedgerEntry] = []
    for (number, agent) in ["", "a1", "a2", "a1"].enumerated() {
      let agent = AgentID(agent)
      entries += [
        Scene.held(number, at: Double(number), agent: agent),
        try Scene.finished(number, at: Double(number), agent: agent),
      ]
      // An agent without a kind, in each form of entry.
      var end = try #require(Scene.concluded(number + 10, at: Double(number), agent: agent, attempts: 0).requestEnd)
      end.kind = nil
      entries.append(.concluded(end))
    }
    for entry in entries { #expect(EntryBatch([entry]).readable() == [entry]) }
    try write(entries, to: place.path())
    let query = try UsageQuery(
      by: "session,agent,kind", since: "2026-01-01", until: "2027-12-31", bucket: nil, now: Scene.at(60))
    let rows = try LedgerStore.usage(query, at: place.path()).rows.map { "\($0.labels) \($0.sums.requests)" }
    #expect(
      rows == [
        #"["s1", "", ""] 1"#, #"["s1", "", "follow-up"] 1"#, #"["s1", "a1", ""] 2"#, #"["s1", "a1", "follow-up"] 2"#,
        #"["s1", "a2", ""] 1"#, #"["s1", "a2", "follow-up"] 1"#,
      ])
    let agents = try Scene.query(
      place.path(), "SELECT coalesce(agent, '-') FROM request_log GROUP BY 1 ORDER BY 1", as: String.self)
    #expect(agents == ["-", "a1", "a2"])
    #expect(try Scene.query(place.path(), "SELECT count(*) FROM attempt_log WHERE agent = 'a1'", as: Int.self) == [2])
  }

  /// Calls of every kind: with one attempt and with two, void and posted, with and without a price, refused.
  private func calls(apart: Bool) throws -> [LedgerEntry] {
    var entries: [LedgerEntry] = []
    for number in 1...60 {
      let at = Double(number) * 30
      let tenant = TenantID("t\(number % 3)")
      if number % 10 == 0 {
        entries.append(
          Scene.concluded(
            number, at: at, tenant: tenant, provider: nil, key: nil, outcome: .rejectedBudget, attempts: 0))
        continue
      }
      let isRetried = number % 4 == 0
      if isRetried {
        entries.append(Scene.held(number, at: at, tenant: tenant, key: "other"))
        entries.append(Scene.settled(number, at: at, cost: 1, sent: number % 8 == 0))
      }
      let attempt = isRetried ? 2 : 1
      entries.append(Scene.held(number, attempt: attempt, at: at, tenant: tenant, held: number % 5 == 0 ? nil : 5_000))
      let end = try Scene.finished(
        number, attempt: attempt, at: at, tenant: tenant, cost: number % 5 == 0 ? nil : Int64(number),
        sent: number % 7 != 0)
      entries += apart ? end.apart : [end]
    }
    return entries
  }

  @Test func whatIsAskedIsAnsweredAsIfWrittenApart() throws {
    var answers: [[String]] = []
    for apart in [true, false] {
      let path = place.path("\(apart).db")
      try write(try calls(apart: apart), to: path)
      #expect(try counts(path) == (apart ? [0, 66, 60, 66, 60] : [54, 12, 6, 66, 60]))
      var answer: [String] = []
      func ask(_ sql: String) throws {
        answer += try DatabaseQueue(path: path).read { db in try Row.fetchAll(db, sql: sql).map { "\($0)" } }
      }
      for view in ["attempt_log", "request_log"] {
        let columns = try DatabaseQueue(path: path).read { try $0.columns(in: view).map(\.name) }.filter { $0 != "id" }
        try ask("SELECT \(columns.joined(separator: ", ")) FROM \(view) ORDER BY request_id, 2, 3")
      }
      try ask("SELECT request_low, attempt, state, held, cost, ended_at FROM attempts ORDER BY 1, 2")
      try ask("SELECT request_low, attempts, status, arrived_at, ended_at FROM requests ORDER BY 1")
      let store = try Scene.store(path, Watcher(), now: Scene.at(3600))
      #expect(store.recovered == LedgerRecovery())
      for by in ["tenant,provider,key", "hour,session", "kind,priority,model"] {
        answer.append(
          try store.usage(
            UsageQuery(by: by, since: "2026-01-01", until: "2027-12-31", bucket: nil, now: Scene.at(3600))
          ).json)
      }
      for since in [0, Scene.at(500).nanoseconds] {
        answer += try store.spending(since: [WallInstant(nanoseconds: since)], now: Scene.at(3600)).map { "\($0)" }
          .sorted()
      }
      answer += try store.daySums(since: Scene.at(100), now: Scene.at(3600)).map { "\($0)" }
      answer += try store.pastAttempts(now: Scene.at(1850), within: .seconds(300)).map { "\($0)" }
      store.close()
      #expect(try LedgerCare.prune(path, before: Scene.at(1200)) == (44, 39))
      let again = try Scene.store(path, Watcher(), now: Scene.at(3600))
      answer += try again.spending(since: [WallInstant(nanoseconds: 0)], now: Scene.at(3600)).map { "\($0)" }.sorted()
      answer.append(
        try again.usage(
          UsageQuery(by: "tenant", since: "2026-01-01", until: "2027-12-31", bucket: nil, now: Scene.at(3600))
        ).json)
      again.close()
      answers.append(answer)
    }
    #expect(answers[0].count > 250)
    #expect(answers[0] == answers[1])
  }

  /// Of calls that last longer than holds stay in lists, too.
  @Test func aLongCallHasOneRowInTheEnd() throws {
    var options = LedgerOptions()
    options.listTime = .zero
    options.housekeepingInterval = .zero
    let watcher = Watcher()
    let store = try Scene.store(place.path(), watcher, options: options)
    #expect(watcher.reached(store.append(contentsOf: [Scene.held(1), Scene.held(2)])))
    #expect(watcher.reached(store.append(contentsOf: try Scene.shortCall(3))))
    #expect(try counts(place.path()) == [1, 2, 0, 3, 1])
    #expect(watcher.reached(store.append(try Scene.finished(1))))
    #expect(try counts(place.path()) == [2, 1, 0, 3, 2])
    #expect(store.close() == 0)
    // A start takes only the other one for unfinished.
    let again = try Scene.store(place.path(), Watcher())
    #expect(again.recovered.presumedAttempts == 1 && again.recovered.concludedRequests == 1)
    again.close()
  }

  @Test func anEndWithoutAHoldIsToldAndItsRequestKept() throws {
    try write([try Scene.finished(1)], to: place.path())
    #expect(try counts(place.path()) == [0, 0, 1, 0, 1])
    #expect(try Scene.query(place.path(), "SELECT state FROM changes", as: String.self) == ["unmatched_end"])
  }

  @Test func aCallThatWasHeldUnderOtherNamesHasTwoRows() throws {
    try write([Scene.held(1, session: "other"), try Scene.finished(1)], to: place.path())
    #expect(try counts(place.path()) == [0, 1, 1, 1, 1])
    #expect(
      try Scene.query(
        place.path(), "SELECT session FROM attempt_log UNION ALL SELECT session FROM request_log", as: String.self)
        == ["other", "s1"])
  }

  /// A transaction that fails behind a call's row: the call is still open, and gets its row once.
  @Test func aFailedTransactionTakesItsRowsBack() throws {
    let queue = try DatabaseQueue()
    try LedgerSchema.migrate(queue, path: "t")
    try queue.writeWithoutTransaction { db in
      try db.execute(
        sql: "CREATE TRIGGER refusal BEFORE INSERT ON changes BEGIN SELECT RAISE(ABORT, 'refused'); END")
      let writer = try EntryWriter(db, options: LedgerOptions(), after: nil)
      let change = LedgerEntry.changed(LedgerChange(at: Scene.at(0), subject: .key, name: "a/b", state: .disabled))
      #expect(throws: DatabaseError.self) {
        try writer.write([EntryBatch(try Scene.shortCall(1) + [change])], now: 1, through: 3)
      }
      #expect(try Int.fetchOne(db, sql: "SELECT count(*) FROM calls") == 0)
      #expect(try Int.fetchOne(db, sql: "SELECT count(*) FROM endings") == 0)
      #expect(try writer.write([EntryBatch(try Scene.shortCall(1))], now: 2, through: 3).isEmpty)
      #expect(try Int.fetchOne(db, sql: "SELECT count(*) FROM calls") == 1)
      #expect(try Int.fetchOne(db, sql: "SELECT count(*) FROM attempt_log") == 1)
    }
  }
}
