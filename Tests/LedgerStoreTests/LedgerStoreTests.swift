// Entries become rows: in order, once, shared commits, and nothing is lost at the close.
import AdmissionCore
import Foundation
import GRDB
import LedgerVocabulary
import Testing
import TextForms

@testable import LedgerStore

@Suite struct LedgerStoreTests {
  @Test func entriesAreNumberedFromOneAndCommitted() throws {
    let place = Place()
    let watcher = Watcher()
    let store = try Scene.store(place.path(), watcher)
    #expect(store.append(Scene.held(1)) == 1)
    #expect(store.append(contentsOf: [Scene.settled(1), Scene.concluded(1)]) == 3)
    #expect(watcher.reached(3))
    #expect(store.pending == 0)
    #expect(store.obstacle == nil)
    #expect(try Scene.query(place.path(), "SELECT state || ':' || cost FROM attempts", as: String.self) == ["1:4000"])
    #expect(
      try Scene.query(place.path(), "SELECT outcome || '/' || request_id FROM request_log", as: String.self).count == 1)
    #expect(store.close() == 0)
  }

  #if os(Linux)
    /// On a busy machine requests go before their rows, which the journal keeps safe.
    @Test func theWriterGivesWayToOthers() throws {
      let place = Place()
      let watcher = Watcher()
      let store = try Scene.store(place.path(), watcher)
      store.append(Scene.held(1))
      #expect(watcher.reached(1))
      let threads = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/task")
      let niceness = threads.compactMap { thread -> Int32? in
        // Threads of other tests may end meanwhile.
        guard let text = try? String(contentsOfFile: "/proc/self/task/\(thread)/stat", encoding: .utf8) else {
          return nil
        }
        // Behind the name, in brackets, the niceness is the 17th word.
        return text.split(separator: ")").last?.split(separator: " ").dropFirst(16).first.flatMap { Int32($0) }
      }
      #expect(niceness.contains(LedgerWriter.niceness))
      #expect(store.close() == 0)
    }
  #endif

  @Test func everyColumnIsKept() throws {
    let place = Place()
    let watcher = Watcher()
    let store = try Scene.store(place.path(), watcher)
    var end = AttemptEnd(
      request: Scene.request(7), attempt: 2, at: Scene.at(2), verdict: .throttled, status: 429, wasSent: true,
      usage: Usage(
        inputTokens: 1, cacheReadTokens: 2, cacheWriteTokens: 3, outputTokens: 4, reasoningTokens: 5, isEstimated: true),
      cacheWriteHourTokens: 6, audioMilliseconds: 7, cost: Money(nanodollars: 8), costSource: .provider,
      priceVersion: "v2", serviceTier: "flex")
    store.append(contentsOf: [Scene.held(7, attempt: 2, clientKey: "ab12", key: nil), .settled(end)])
    end.attempt = 3
    end.wasSent = false
    end.cost = .zero
    end.status = nil
    end.serviceTier = nil
    store.append(contentsOf: [Scene.held(7, attempt: 3, held: nil), .settled(end)])
    #expect(watcher.reached(4))
    let columns =
      "attempt, state, tenant, client_key, session, provider, key, model, priority, kind, reserved_input, "
      + "reserved_output, held_nanousd, verdict, status, input_tokens, cache_read_tokens, cache_write_tokens, "
      + "output_tokens, reasoning_tokens, cache_write_hour_tokens, audio_ms, cost_nanousd, cost_source, price_version, "
      + "service_tier, estimated"
    let joined = columns.split(separator: ",").map { "coalesce(\($0), '-')" }.joined(separator: " || ' ' || ")
    #expect(
      try Scene.query(place.path(), "SELECT \(joined) FROM attempt_log ORDER BY attempt", as: String.self) == [
        "2 posted acme ab12 s1 openai - gpt-6-sol normal follow-up 100 50 5000 throttled 429 1 2 3 4 5 6 7 8 provider v2 flex 1",
        "3 void acme - s1 openai main gpt-6-sol normal follow-up 100 50 - throttled - 1 2 3 4 5 6 7 0 provider v2 - 1",
      ])
  }

  /// Rows that share a statement, and those that are too few for one.
  @Test(arguments: [1, 15, 16, 17, 33]) func everyRowOfATransactionIsThere(calls: Int) throws {
    let place = Place()
    let store = try Scene.store(place.path(), Watcher())
    let all = (1...calls).flatMap { number -> [LedgerEntry] in
      let tenant = TenantID("t\(number % 3)")
      return [
        Scene.held(number, at: Double(number), tenant: tenant),
        Scene.settled(number, at: Double(number), cost: number % 4 == 0 ? nil : Int64(number)),
        Scene.concluded(number, at: Double(number), tenant: tenant),
      ]
    }
    store.append(contentsOf: all)
    #expect(store.close() == 0)
    let attempts = try Scene.query(
      place.path(),
      "SELECT tenant || ' ' || request_low || ' ' || coalesce(cost_nanousd, '-') FROM attempt_log ORDER BY id",
      as: String.self)
    let requests = try Scene.query(
      place.path(), "SELECT tenant || ' ' || request_low FROM request_log ORDER BY id", as: String.self)
    let expected = (1...calls).map { ("t\($0 % 3) \(Int64(bitPattern: Scene.request($0, at: Double($0)).low))", $0) }
    #expect(attempts == expected.map { "\($0.0) \($0.1 % 4 == 0 ? "-" : "\($0.1)")" })
    #expect(requests == expected.map(\.0))
  }

  @Test func namesAreThereBeforeTheRowsThatUseThem() throws {
    let place = Place()
    let watcher = Watcher()
    let store = try Scene.store(place.path(), watcher)
    let last = store.append(contentsOf: Scene.call(1) + Scene.call(2, tenant: "beta") + [Scene.held(3)])
    #expect(watcher.reached(last))
    store.close()
    let again = try Scene.store(place.path(), Watcher())
    again.close()
    let broken = try DatabaseQueue(path: place.path()).read { try Row.fetchAll($0, sql: "PRAGMA foreign_key_check") }
    #expect(broken.isEmpty)
  }

  @Test func theSchemaRefusesWhatMakesNoSense() throws {
    let place = Place()
    let watcher = Watcher()
    let store = try Scene.store(place.path(), watcher)
    #expect(watcher.reached(store.append(contentsOf: Scene.call(1) + (try Scene.shortCall(2)))))
    let database = try DatabaseQueue(path: place.path())
    for change in [
      "UPDATE attempt_rows SET state = 4", "UPDATE attempt_rows SET state = 0",
      "UPDATE attempt_rows SET ended_at = NULL",
      "UPDATE attempt_rows SET cost = -1", "UPDATE attempt_rows SET input_tokens = -1",
      "UPDATE attempt_rows SET reserved_input = -1",
      "UPDATE attempt_rows SET attempt = 0", "UPDATE attempt_rows SET estimated = 2",
      "UPDATE attempt_rows SET cost = 'much'",
      "UPDATE request_rows SET status = -1", "UPDATE request_rows SET queued_us = NULL",
      "UPDATE calls SET cost = -1", "UPDATE calls SET held = -1", "UPDATE calls SET first_byte_us = -1",
      "UPDATE calls SET audio_ms = -1", "UPDATE calls SET queued_us = NULL", "UPDATE calls SET input_tokens = 'many'",
      "UPDATE endings SET attempts = 0", "UPDATE endings SET state = 0", "UPDATE endings SET state = 4",
      "UPDATE endings SET status = -1", "UPDATE endings SET estimated = 2", "UPDATE endings SET verdict = NULL",
      "UPDATE series SET priority = 'urgent'",
      "INSERT INTO series SELECT 99, tenant, client_key, session, provider, key, model, priority, kind, agent FROM series",
      "INSERT INTO words VALUES (99, 'success')", "INSERT INTO new_holds VALUES (1, x'00')",
      "INSERT INTO changes (at, subject, name, state, reason) VALUES (1, 'weather', 'n', 's', 'r')",
    ] {
      #expect(throws: DatabaseError.self, "\(change)") { try database.write { try $0.execute(sql: change) } }
    }
  }

  @Test func changesAreKept() throws {
    let place = Place()
    let watcher = Watcher()
    let store = try Scene.store(place.path(), watcher)
    store.append(
      .changed(
        LedgerChange(
          at: Scene.start, subject: .budget, name: "acme/day", state: .raised, reason: "asked", askedBy: "ops",
          amount: Money(nanodollars: 20), until: Scene.at(9))))
    store.append(.changed(LedgerChange(at: Scene.start, subject: .key, name: "openai/main", state: .disabled)))
    #expect(watcher.reached(2))
    #expect(
      try Scene.query(
        place.path(),
        "SELECT subject||name||state||reason||coalesce(asked_by,'-')||coalesce(amount,'-')||coalesce(until - at,'-') FROM changes",
        as: String.self) == ["budgetacme/dayraisedaskedops209000000000", "keyopenai/maindisabled---"])
  }

  @Test func anEndWithoutItsHoldIsToldNotDropped() throws {
    let place = Place()
    let watcher = Watcher()
    let store = try Scene.store(place.path(), watcher)
    store.append(contentsOf: Scene.call(1) + [Scene.settled(1), Scene.settled(2)])
    #expect(watcher.reached(5))
    #expect(
      try Scene.query(place.path(), "SELECT state FROM changes ORDER BY id", as: String.self) == [
        "unmatched_end", "unmatched_end",
      ])
    #expect(try Scene.query(place.path(), "SELECT count(*) FROM attempts", as: Int.self) == [1])
  }

  @Test func manyEntriesShareCommits() throws {
    let place = Place()
    let watcher = Watcher()
    let store = try Scene.store(place.path(), watcher)
    for number in 1...2000 { store.append(contentsOf: Scene.call(number, at: Double(number) / 1000)) }
    #expect(watcher.reached(6000))
    #expect(try Scene.query(place.path(), "SELECT count(*) FROM attempts WHERE state = 1", as: Int.self) == [2000])
    #expect(try Scene.query(place.path(), "SELECT count(*) FROM requests", as: Int.self) == [2000])
    #expect(try Scene.query(place.path(), "SELECT count(*) FROM series", as: Int.self) == [1])
  }

  @Test func closeWritesWhatWaits() throws {
    let place = Place()
    let store = try Scene.store(place.path(), Watcher())
    for number in 1...500 { store.append(contentsOf: Scene.call(number)) }
    #expect(store.close() == 0)
    #expect(store.close() == 0)
    #expect(try Scene.query(place.path(), "SELECT count(*) FROM requests", as: Int.self) == [500])
  }

  @Test func memoryNeedsNoFile() throws {
    let watcher = Watcher()
    let store = try LedgerStore(.memory, now: Scene.start, onCommitted: { watcher.sawCommit($0) })
    store.append(contentsOf: Scene.call(1))
    #expect(watcher.reached(3))
    #expect(
      try store.spending(since: [WallInstant(nanoseconds: 0)], now: Scene.at(10_000)).map(\.spent) == [
        [Money(nanodollars: 4000)]
      ])
    #expect(store.close() == 0)
  }

  @Test func fullDurabilityWorksTheSame() throws {
    let place = Place()
    let watcher = Watcher()
    let store = try LedgerStore(
      .file(place.path()), durability: .full, now: Scene.start, onCommitted: { watcher.sawCommit($0) })
    store.append(contentsOf: Scene.call(1))
    #expect(watcher.reached(3))
  }

  @Test func aSecondBrokerIsRefused() throws {
    let place = Place()
    let first = try Scene.store(place.path(), Watcher())
    let error = #expect(throws: LedgerError.self) { try Scene.store(place.path(), Watcher()) }
    #expect(error?.description.contains("another tollgate uses it (process \(getpid()))") == true)
    first.close()
  }
}
