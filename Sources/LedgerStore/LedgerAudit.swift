// Who changed what: the rows of `changes`, newest first, for the audit and for the marks in charts.
import AdmissionCore
import GRDB
import TextForms

public struct AuditQuery: Sendable, Equatable {
  /// The most rows of an answer.
  public static let mostRows = 1_000

  /// nil for everything there is.
  public var since: WallInstant?
  /// The end, which is not included.
  public var until: WallInstant?
  public var limit: Int
  /// Only changes of these; empty for all.
  public var subjects: Set<String> = []

  public init(since: WallInstant? = nil, until: WallInstant? = nil, limit: Int = 100, subjects: Set<String> = []) {
    self.since = since
    self.until = until
    self.limit = limit
    self.subjects = subjects
  }

  /// Reads the texts of a query string; nil means the default: the newest 100.
  /// - Throws: `LedgerError` of kind `wrongQuestion`, which says what is allowed.
  public init(since: String?, until: String? = nil, limit: String?, now: WallInstant) throws {
    self.init()
    self.since = try HistoryQuery.instant("since", since, now: now)
    self.until = try HistoryQuery.instant("until", until, now: now)
    guard let limit, !limit.isEmpty else { return }
    guard let number = Int(limit), (1...AuditQuery.mostRows).contains(number) else {
      throw LedgerError(.wrongQuestion, "limit: found '\(limit)', allowed are 1 to \(AuditQuery.mostRows)")
    }
    self.limit = number
  }
}

/// A change as it stands in the ledger, whatever version wrote it.
public struct AuditRow: Sendable, Equatable {
  public var at: WallInstant
  public var subject: String
  public var name: String
  public var state: String
  public var reason: String
  /// The operator's name for the change; nil where no operator asked for it.
  public var askedBy: String?
  /// Of a raised budget: nano-dollars, or tokens or requests where the reason says so.
  public var amount: Int64?
  public var until: WallInstant?
  public var before: String?
  public var after: String?

  public init(
    at: WallInstant, subject: String, name: String, state: String, reason: String = "", askedBy: String? = nil,
    amount: Int64? = nil, until: WallInstant? = nil, before: String? = nil, after: String? = nil
  ) {
    self.at = at
    self.subject = subject
    self.name = name
    self.state = state
    self.reason = reason
    self.askedBy = askedBy
    self.amount = amount
    self.until = until
    self.before = before
    self.after = after
  }
}

extension LedgerStore {
  /// The changes, newest first, with those that were appended before the call.
  /// - Throws: `LedgerError`.
  public func audit(_ query: AuditQuery) throws -> [AuditRow] {
    try read { db in
      let subjects = query.subjects.sorted()
      let only =
        subjects.isEmpty ? "" : "AND subject IN (\(subjects.map { _ in "?" }.joined(separator: ", ")))"
      return try Row.fetchAll(
        db,
        sql: """
          SELECT at, subject, name, state, reason, asked_by, amount, until, before, after FROM changes
          WHERE at >= ? AND at < ? \(only) ORDER BY at DESC, id DESC LIMIT ?
          """,
        arguments: [query.since?.nanoseconds ?? .min, query.until?.nanoseconds ?? .max]
          + StatementArguments(subjects) + [query.limit]
      ).map { row in
        AuditRow(
          at: WallInstant(nanoseconds: row[0]), subject: row[1], name: row[2], state: row[3], reason: row[4],
          askedBy: row[5], amount: row[6], until: (row[7] as Int64?).map { WallInstant(nanoseconds: $0) },
          before: row[8], after: row[9])
      }
    }
  }
}
