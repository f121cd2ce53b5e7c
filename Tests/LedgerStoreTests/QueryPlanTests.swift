// How SQLite goes about the questions that are asked again and again: by the ids that it was given, never through a table.
import GRDB
import Testing

@testable import LedgerStore

@Suite struct QueryPlanTests {
  /// The steps of a plan, as SQLite words them.
  private func plan(_ sql: String) throws -> [String] {
    let queue = try DatabaseQueue()
    try LedgerSchema.migrate(queue, path: "t")
    return try queue.read { try Row.fetchAll($0, sql: "EXPLAIN QUERY PLAN \(sql)").map { $0["detail"] } }
  }

  @Test(
    arguments: [
      ("a", HistoryFact.calls("a.id > 1 AND a.id <= 2")), ("a", HistoryFact.calls("a.id > 1 AND a.id < 2")),
      ("a", HistoryFact.attempts("a.id > 1 AND a.id <= 2")), ("a", HistoryFact.requests("a.id > 1 AND a.id <= 2")),
      // Few are late, however many attempts there are.
      ("l", HistoryFact.lateAttempts("l.id > 1")), ("l", HistoryFact.lateAttempts("l.id > 1 AND l.id <= 2")),
    ])
  func rowsAreCountedByTheirIDs(first: String, sql: String) throws {
    let steps = try plan(sql)
    #expect(steps.first?.hasPrefix("SEARCH \(first) USING INTEGER PRIMARY KEY (rowid>?") == true, "\(steps)")
    #expect(steps.allSatisfy { !$0.hasPrefix("SCAN") }, "\(steps)")
  }
}
