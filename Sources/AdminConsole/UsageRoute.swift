// `GET /api/v1/usage` and `GET /api/v1/ledger`: usage and cost, and the state of the ledger. Both say everything that
// was recorded before the question, which another thread waits for, so the answer comes later than the call.
import AdmissionCore
import BrokerEngine
import LedgerStore
import TextForms

/// What the console may ask the ledger. The composition root answers on the loop's thread.
public struct LedgerDesk {
  /// The file, as an absolute path, or `memory:`.
  public var store: String
  public var now: () -> WallInstant
  /// Entries that are not committed yet, and entries that were lost.
  public var counts: () -> (pending: Int, lost: Int)
  /// How long the oldest pending entry has waited.
  public var lag: () -> Span = { .zero }
  /// Calls back with true once everything that was recorded before is committed; with false where it cannot be for now.
  public var settle: (@escaping (Bool) -> Void) -> Void
  /// The text of a report, which is made on another thread: it may have many thousands of rows.
  public var usage: (UsageQuery, UsageFormat, @escaping (Result<String, LedgerError>) -> Void) -> Void
  /// The series of charts, and the changes, each read on another thread.
  public var history: (HistoryQuery, @escaping (Result<HistoryAnswer, LedgerError>) -> Void) -> Void
  public var audit: (AuditQuery, @escaping (Result<[AuditRow], LedgerError>) -> Void) -> Void

  public init(
    store: String, now: @escaping () -> WallInstant, counts: @escaping () -> (pending: Int, lost: Int),
    settle: @escaping (@escaping (Bool) -> Void) -> Void,
    usage: @escaping (UsageQuery, UsageFormat, @escaping (Result<String, LedgerError>) -> Void) -> Void,
    history: @escaping (HistoryQuery, @escaping (Result<HistoryAnswer, LedgerError>) -> Void) -> Void = {
      $1(.failure(LedgerDesk.closed))
    },
    audit: @escaping (AuditQuery, @escaping (Result<[AuditRow], LedgerError>) -> Void) -> Void = {
      $1(.failure(LedgerDesk.closed))
    }
  ) {
    self.store = store
    self.now = now
    self.counts = counts
    self.settle = settle
    self.usage = usage
    self.history = history
    self.audit = audit
  }

  /// What a desk answers that does not take such questions.
  public static let closed = LedgerError(.unusable, "this ledger does not tell that")
}

extension AdminConsole {
  /// - Parameter tenant: the tenant of the token; nil where everything may be seen.
  func usage(_ given: ConsoleQuery, tenant: String?, _ send: @escaping (Reply) -> Void) {
    guard let desk = ledgerDesk else { return send(.error(503, "there is no ledger")) }
    let word = given["format"] ?? UsageFormat.json.rawValue
    guard let format = UsageFormat(rawValue: word) else {
      return send(.error(400, "format: found '\(word)', allowed are json and csv"))
    }
    do {
      var query = try UsageQuery(
        by: given["by"], since: given["since"], until: given["until"], bucket: given["bucket"], now: desk.now())
      query.tenant = tenant
      desk.usage(query, format) { result in
        switch result {
        case .success(let text):
          send(
            format == .csv
              ? Reply(status: 200, contentType: "text/csv; charset=utf-8", body: Array(text.utf8))
              : .json(Array(text.utf8)))
        case .failure(let error): send(.error(503, error.description))
        }
      }
    } catch {
      send(.error(400, "\(error)"))
    }
  }

  /// Where the ledger is and how it stands. The file that the answer names then has everything that was recorded before
  /// the question, but for what the answer says is pending: a backup is a copy of it.
  func ledgerState(_ send: @escaping (Reply) -> Void) {
    guard let desk = ledgerDesk else { return send(.error(503, "there is no ledger")) }
    desk.settle { [broker] isSettled in
      let (pending, lost) = desk.counts()
      var json = JSONWriter()
      json.object { json in
        json.member("store", desk.store)
        json.member("obstacle", broker.ledgerObstacle)
        // What was recorded after the question does not count.
        json.member("pending", isSettled ? 0 : pending)
        json.member("lost", lost)
      }
      send(.json(json.bytes))
    }
  }
}
