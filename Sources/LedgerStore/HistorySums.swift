// What the rows of the ledger say for the charts: which facts of a row count, and sums of them.
//
// A call counts at the instant of its end, and so does each of its attempts. A presumed attempt ended when the start
// presumed it, and a request whose end a crash took away when its last attempt did.
import AdmissionCore
import GRDB
import LedgerVocabulary

/// What is summed, as a number in the database.
enum HistorySort: Int64, CaseIterable {
  /// Waits of granted calls: label is the class, part the bucket.
  case waits = 1
  /// Ended requests: label is the provider, part the outcome's number among the words.
  case calls = 2
  /// Label is the provider, part the type.
  case tokens = 3
  /// Attempts answered with 429: label is the provider.
  case refused = 4
  /// Nano-dollars: label is the tenant.
  case cost = 5

  init(_ metric: HistoryMetric) {
    self =
      switch metric {
      case .waitP50, .waitP95, .waitP99: .waits
      case .calls: .calls
      case .tokens: .tokens
      case .refused: .refused
      case .cost: .cost
      }
  }
}

/// The types of tokens, as numbers in the database and as labels.
enum TokenType: Int64, CaseIterable {
  case input = 1
  case cacheRead = 2
  case cacheWrite = 3
  case output = 4
  case reasoning = 5

  var label: String {
    switch self {
    case .input: "input"
    case .cacheRead: "cache_read"
    case .cacheWrite: "cache_write"
    case .output: "output"
    case .reasoning: "reasoning"
    }
  }
}

/// What one row says; read without boxing, since there are millions.
struct HistoryFact: DatabaseValueConvertible, StatementColumnConvertible {
  /// Nanoseconds since 1970.
  var ended: Int64
  var series: Int64
  /// The word's number; 0 where no request ended.
  var outcome: Int64
  /// Microseconds; -1 where the request was not granted, or where that is not known.
  var queued: Int64
  /// nil where no attempt ended.
  var state: AttemptState?
  /// Of the provider's answer; 0 without one.
  var status: Int64
  var cost: Int64
  var usage: Usage

  init?(sqliteStatement: SQLiteStatement, index: CInt) {
    func column(_ index: CInt) -> Int64 { Int64(sqliteStatement: sqliteStatement, index: index) }
    ended = column(0)
    series = column(1)
    outcome = column(2)
    queued = column(3)
    state = AttemptState(rawValue: column(4))
    status = column(5)
    cost = LedgerAmount.cost(column(6))
    usage = Usage(
      inputTokens: TokenCount(column(7)), cacheReadTokens: TokenCount(column(8)),
      cacheWriteTokens: TokenCount(column(9)), outputTokens: TokenCount(column(10)),
      reasoningTokens: TokenCount(column(11)))
  }

  var databaseValue: DatabaseValue { ended.databaseValue }
  static func fromDatabaseValue(_ value: DatabaseValue) -> HistoryFact? { nil }

  private static let usageColumns = """
    a.input_tokens, a.cache_read_tokens, a.cache_write_tokens, a.output_tokens, a.reasoning_tokens
    """

  /// SQL: calls, of which `condition` is about the row `a`.
  static func calls(_ condition: String) -> String {
    """
    SELECT a.ended_at, a.series, e.outcome, a.queued_us, e.state, coalesce(e.attempt_status, 0), coalesce(a.cost, 0),
      \(usageColumns) FROM calls a CROSS JOIN endings e ON e.id = a.ending WHERE \(condition)
    """
  }

  /// SQL: attempts that are over and have a row of their own.
  static func attempts(_ condition: String) -> String { attempts("attempt_rows a", condition) }

  /// SQL: those that were open when the rows around them were counted; the condition is about the row `l`.
  /// CROSS: SQLite would rather go through all attempts and look for each among those that are late.
  static func lateAttempts(_ condition: String) -> String {
    attempts("late_rows l CROSS JOIN attempt_rows a ON a.id = l.id", condition)
  }

  private static func attempts(_ tables: String, _ condition: String) -> String {
    """
    SELECT a.ended_at, a.series, 0, -1, a.state, coalesce(a.status, 0), coalesce(a.cost, 0), \(usageColumns)
    FROM \(tables) WHERE \(condition) AND a.state > 0
    """
  }

  /// SQL: requests that have a row of their own. Only a row that a start wrote after a crash has no reason for its
  /// class, and of that one it is not known how long it waited.
  static func requests(_ condition: String) -> String {
    """
    SELECT a.ended_at, a.series, a.outcome,
      CASE WHEN a.attempts = 0 OR a.priority_reason = (SELECT id FROM words WHERE text = '') THEN -1
        ELSE a.queued_us END, -1, 0, 0, 0, 0, 0, 0, 0
    FROM request_rows a WHERE \(condition)
    """
  }
}

/// Numbers for the labels of some sums; 0 is `other`.
struct HistoryLabels {
  static let other = "other"
  /// The label of requests that went to no provider.
  static let noProvider = "none"
  private var texts = [HistoryLabels.other]
  private var numbers: [String: Int64] = [HistoryLabels.other: 0]

  mutating func number(_ text: String) -> Int64 {
    if let known = numbers[text] { return known }
    let number = Int64(texts.count)
    numbers[text] = number
    texts.append(text)
    return number
  }

  func text(_ number: Int64) -> String { texts[Int(number)] }
}

/// Sums by what is summed, step of time, label and part.
struct HistorySums {
  struct Key: Hashable {
    var sort: HistorySort
    /// The number of a slot or a step.
    var step: Int64
    var label: Int64
    var part: Int64
  }
  private struct Names {
    var priority: Int64
    var provider: Int64
    var tenant: Int64
  }

  private(set) var amounts: [Key: Int64] = [:]
  private(set) var labels = HistoryLabels()
  private var names: [Int64: Names] = [:]

  mutating func add(_ amount: Int64, _ key: Key) {
    guard amount > 0 else { return }
    amounts[key, default: 0] = min(amounts[key, default: 0].saturatingAdding(amount), LedgerAmount.mostSum)
  }

  mutating func label(_ text: String) -> Int64 { labels.number(text) }

  /// Adds what these rows say.
  /// - Parameters:
  ///   - sql: one of the statements of `HistoryFact`.
  ///   - step: the number of the step of an instant in nanoseconds; nil where it does not count.
  /// - Returns: how many rows there were.
  @discardableResult
  mutating func add(_ sql: String, _ arguments: StatementArguments, _ db: Database, step: (Int64) -> Int64?) throws
    -> Int
  {
    let facts = try HistoryFact.fetchCursor(db.cachedStatement(sql: sql), arguments: arguments)
    var rows = 0
    while let fact = try facts.next() {
      rows += 1
      guard let step = step(fact.ended), let names = try names(of: fact.series, db) else { continue }
      add(fact, at: step, names)
    }
    return rows
  }

  private mutating func add(_ fact: HistoryFact, at step: Int64, _ names: Names) {
    if fact.outcome > 0 {
      add(1, Key(sort: .calls, step: step, label: names.provider, part: fact.outcome))
      if fact.queued >= 0 {
        let bucket = Int64(WaitBuckets.position(fact.queued))
        add(1, Key(sort: .waits, step: step, label: names.priority, part: bucket))
      }
    }
    guard let state = fact.state else { return }
    if fact.status == 429 { add(1, Key(sort: .refused, step: step, label: names.provider, part: 0)) }
    guard state == .posted || state == .presumed else { return }
    let usage = fact.usage
    for (type, count) in [
      (TokenType.input, usage.inputTokens - usage.cacheReadTokens - usage.cacheWriteTokens),
      (.cacheRead, usage.cacheReadTokens), (.cacheWrite, usage.cacheWriteTokens), (.output, usage.outputTokens),
      (.reasoning, usage.reasoningTokens),
    ] {
      add(count.value, Key(sort: .tokens, step: step, label: names.provider, part: type.rawValue))
    }
    add(fact.cost, Key(sort: .cost, step: step, label: names.tenant, part: 0))
  }

  /// nil for a series that a damaged file lacks.
  private mutating func names(of series: Int64, _ db: Database) throws -> Names? {
    if let known = names[series] { return known }
    let find = try db.cachedStatement(sql: "SELECT priority, provider, tenant FROM series WHERE id = ?")
    guard let row = try Row.fetchOne(find, arguments: [series]) else { return nil }
    let (priority, provider): (String, String) = (row[0], row[1])
    let found = Names(
      priority: Int64(Priority.allCases.first { $0.name == priority }?.rawValue ?? Priority.normal.rawValue),
      provider: labels.number(provider.isEmpty ? HistoryLabels.noProvider : provider), tenant: labels.number(row[2]))
    names[series] = found
    return found
  }
}
