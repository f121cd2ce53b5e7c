// Who changed what: rows newest first, with what was before and after, from ledgers and journals of any version.
import AdmissionCore
import Foundation
import GRDB
import LedgerVocabulary
import Testing
import TextForms

@testable import LedgerStore

@Suite struct LedgerAuditTests {
  private let place = Place()

  private static func change(_ seconds: Double, _ subject: LedgerChange.Subject = .key, name: String = "openai/main")
    -> LedgerChange
  {
    LedgerChange(at: Scene.at(seconds), subject: subject, name: name, state: .changed)
  }

  @Test func changesAreReadNewestFirst() throws {
    let store = try Scene.store(place.path(), Watcher())
    var raised = Self.change(30, .budget, name: "acme/day")
    raised.state = .raised
    raised.reason = "tokens"
    raised.askedBy = "127.0.0.1"
    raised.amount = Money(nanodollars: 5)
    raised.until = Scene.at(90)
    raised.before = "50.00 USD"
    raised.after = "60.00 USD"
    // One that a clock which was behind wrote last.
    for change in [Self.change(10), raised, Self.change(20, .log), Self.change(-40, .alert)] {
      store.append(.changed(change))
    }
    let rows = try store.audit(AuditQuery())
    #expect(rows.map(\.at) == [Scene.at(30), Scene.at(20), Scene.at(10), Scene.at(-40)])
    #expect(
      rows[0]
        == AuditRow(
          at: Scene.at(30), subject: "budget", name: "acme/day", state: "raised", reason: "tokens",
          askedBy: "127.0.0.1", amount: 5, until: Scene.at(90), before: "50.00 USD", after: "60.00 USD"))
    #expect(try store.audit(AuditQuery(limit: 1)).map(\.subject) == ["budget"])
    #expect(
      try store.audit(AuditQuery(since: Scene.at(10), until: Scene.at(30))).map(\.subject) == ["log", "key"])
    #expect(try store.audit(AuditQuery(subjects: ["alert", "key"])).map(\.subject) == ["key", "alert"])
    #expect(try store.budgetRaises(now: Scene.at(60)).map(\.name) == ["acme/day"])
    store.close()
  }

  @Test func everyTextComesBackAsItWas() throws {
    let names = RandomCalls.hostile
    let store = try Scene.store(place.path(), Watcher())
    for (number, name) in names.enumerated() {
      var change = Self.change(Double(number), .tenant, name: name)
      change.before = name
      change.after = number % 2 == 0 ? nil : name + name
      store.append(.changed(change))
    }
    let rows = try store.audit(AuditQuery()).reversed()
    #expect(rows.map(\.name) == names && rows.map(\.before) == names)
    #expect(rows.map { $0.after ?? $0.name + $0.name } == names.map { $0 + $0 })
    store.close()
  }

  /// A change without the two texts has the bytes that earlier versions read.
  @Test func changesAreCodedAsBeforeWhereTheyTellNoMore() throws {
    var change = Self.change(3)
    let plain = EntryBatch([.changed(change)])
    #expect(plain.bytes.first == EntryCoding.Sort.changed.rawValue)
    #expect(plain.readable() == [.changed(change)])
    for (before, after) in [("a", nil), (nil, "b"), ("", ""), ("a", "b")] as [(String?, String?)] {
      (change.before, change.after) = (before, after)
      let batch = EntryBatch([.changed(change), .changed(Self.change(4))])
      #expect(batch.readable() == [.changed(change), .changed(Self.change(4))])
      #expect(EntryBatch(bytes: Array(batch.bytes.dropLast(3)), count: 2).readable() == nil)
    }
  }

  @Test func changesOfAnEarlierVersionStay() throws {
    let queue = try DatabaseQueue(path: place.path())
    try queue.writeWithoutTransaction {
      try $0.execute(sql: "PRAGMA application_id = \(LedgerSchema.applicationID)")
    }
    try LedgerSchema.migrator.migrate(queue, upTo: "sum rows for charts")
    try queue.write {
      try $0.execute(
        sql: "INSERT INTO changes VALUES (7, 5, 'breaker', 'openai', 'open', 'because', 'me', 1, 2)")
    }
    try queue.close()
    let error = #expect(throws: LedgerError.self) { try LedgerCare.prune(place.path(), before: Scene.at(0)) }
    #expect(error?.description.contains("start 'tollgate serve' with it once") == true)
    let store = try Scene.store(place.path(), Watcher())
    #expect(
      try store.audit(AuditQuery())
        == [
          AuditRow(
            at: WallInstant(nanoseconds: 5), subject: "breaker", name: "openai", state: "open", reason: "because",
            askedBy: "me", amount: 1, until: WallInstant(nanoseconds: 2))
        ])
    store.close()
  }

  @Test func queriesAreReadFromTexts() throws {
    let query = try AuditQuery(since: "1h", limit: "7", now: Scene.at(0))
    #expect(query == AuditQuery(since: Scene.at(-3_600), limit: 7))
    #expect(try AuditQuery(since: nil, limit: "", now: Scene.at(0)) == AuditQuery())
    for limit in ["0", "1001", "-1", "many", "9999999999999999999999"] {
      let error = #expect(throws: LedgerError.self) { try AuditQuery(since: nil, limit: limit, now: Scene.at(0)) }
      #expect(error?.description == "limit: found '\(limit)', allowed are 1 to 1000")
    }
    #expect(throws: LedgerError.self) { try AuditQuery(since: "soon", limit: nil, now: Scene.at(0)) }
  }
}
