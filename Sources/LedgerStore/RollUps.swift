// Sums of the ledger's rows for charts (roll-ups), made in the background from the rows in the order of their ids.
//
// Promises: each row counts exactly once, whatever is killed when: a chunk of rows and the mark behind it are one
// transaction, and rows always get ids above all earlier ones. An attempt that was still open when the mark passed it is
// in `late_rows` until its end counts. A chunk is bounded, so that no commit waits for long. Of a slot that is over, the
// 50 largest labels are kept, and the others are summed as `other`; sums never lose anything.
import AdmissionCore
import GRDB
import TextForms

enum RollUps {
  /// The lengths of slots, in seconds. Slots are numbered from 1970.
  static let short: Int64 = 300
  static let long: Int64 = 3_600
  static let lengths = [short, long]
  /// How many labels a slot keeps, apart from `other`.
  static let mostLabels = 50
  /// A slot with more labels than this is cut while it is still open: then a label that has been small so far may be cut
  /// although it becomes large later.
  static let mostOpenLabels = 2_000
  /// The id behind which no row has been counted yet, but for those in `late_rows`.
  static let mark = "rolled_up"

  /// What a step has done.
  struct Progress {
    /// How many rows it counted.
    var rows = 0
    /// True where nothing is left that could be counted now.
    var isDone = true
  }

  static func countedThrough(_ db: Database) throws -> Int64 {
    try Int64.fetchOne(db.cachedStatement(sql: "SELECT value FROM marks WHERE name = '\(mark)'")) ?? 0
  }

  /// Counts the next rows, in one transaction.
  /// - Parameters:
  ///   - most: how many rows of each table.
  ///   - end: the first id that is not counted.
  ///   - late: the late row after which to look for those that have ended; moved on, and 0 after the last one.
  static func step(_ db: Database, most: Int, before end: Int64 = .max, late: inout Int64) throws -> Progress {
    var progress = Progress()
    let began = late
    do {
      try db.inTransaction(.immediate) {
        let behind = try countedThrough(db)
        let through = try nextMark(behind, most: most, before: end, db)
        var sums = HistorySums()
        progress.rows += try countLate(&sums, after: &late, most: most, db)
        progress.isDone = late == 0
        if through > behind {
          progress.rows += try count(&sums, after: behind, through: through, db)
          progress.isDone = try progress.isDone && nextMark(through, most: 1, before: end, db) == through
        }
        try write(sums, db)
        return .commit
      }
    } catch {
      late = began
      throw error
    }
    return progress
  }

  /// Counts everything there is now.
  static func finish(_ db: Database, most: Int, before end: Int64 = .max) throws {
    var late: Int64 = 0
    while try !step(db, most: most, before: end, late: &late).isDone {}
  }

  /// Counts the late rows up to this one that are over, in the transaction that is open.
  static func countLate(through row: Int64, _ db: Database) throws {
    var sums = HistorySums()
    try countLate(&sums, after: 0, through: row, db)
    try write(sums, db)
  }

  /// The id through which the next rows are counted: at most `most` of each table.
  private static func nextMark(_ behind: Int64, most: Int, before end: Int64, _ db: Database) throws -> Int64 {
    var through = Int64.max
    for table in LedgerSchema.numberedTables {
      let last = try Int64.fetchOne(
        db.cachedStatement(
          sql: "SELECT id FROM \(table) WHERE id > ? AND id < ? ORDER BY id LIMIT 1 OFFSET ?"),
        arguments: [behind, min(end, LedgerSchema.damagedRow), most - 1])
      if let last { through = min(through, last) }
    }
    if through < .max { return through }
    // No table has more: through the newest row there is.
    return try LedgerSchema.numberedTables.reduce(behind) { newest, table in
      let last = try Int64.fetchOne(
        db.cachedStatement(sql: "SELECT max(id) FROM \(table) WHERE id > ? AND id < ?"),
        arguments: [behind, min(end, LedgerSchema.damagedRow)])
      return max(newest, last ?? 0)
    }
  }

  private static func slot(_ nanoseconds: Int64) -> Int64 { max(0, nanoseconds) / (short * UTCTime.second) }

  /// Counts these rows, notes the open attempts among them as late, and moves the mark.
  private static func count(_ sums: inout HistorySums, after behind: Int64, through: Int64, _ db: Database) throws
    -> Int
  {
    var rows = 0
    for sql in [HistoryFact.calls, HistoryFact.attempts, HistoryFact.requests] {
      rows += try sums.add(sql("a.id > ? AND a.id <= ?"), [behind, through], db, step: slot)
    }
    try db.execute(
      sql: """
        INSERT OR IGNORE INTO late_rows SELECT id FROM attempt_rows WHERE state = 0 AND id > ? AND id <= ?;
        INSERT INTO marks VALUES ('\(mark)', ?) ON CONFLICT DO UPDATE SET value = excluded.value
        """, arguments: [behind, through, through])
    return rows
  }

  /// Counts some late rows that are over.
  private static func countLate(_ sums: inout HistorySums, after row: inout Int64, most: Int, _ db: Database) throws
    -> Int
  {
    let last = try Int64.fetchOne(
      db.cachedStatement(sql: "SELECT id FROM late_rows WHERE id > ? ORDER BY id LIMIT 1 OFFSET ?"),
      arguments: [row, most - 1])
    let rows = try countLate(&sums, after: row, through: last ?? .max, db)
    row = last ?? 0
    return rows
  }

  /// A late row that is no longer there had its end as a call, which has a row of its own.
  @discardableResult
  private static func countLate(_ sums: inout HistorySums, after first: Int64, through last: Int64, _ db: Database)
    throws
    -> Int
  {
    let rows = try sums.add(
      HistoryFact.lateAttempts("l.id > ? AND l.id <= ?"), [first, last], db, step: slot)
    try db.execute(
      sql: """
        DELETE FROM late_rows WHERE id > ? AND id <= ?
          AND NOT EXISTS (SELECT 1 FROM attempt_rows a WHERE a.id = late_rows.id AND a.state = 0)
        """, arguments: [first, last])
    return rows
  }

  // MARK: Slots

  /// The labels of one sort in one slot.
  private struct Slot: Hashable {
    var sort: Int64
    var length: Int64
    var number: Int64

    var arguments: StatementArguments { [sort, length, number] }
    static let sql = "sort = ? AND length = ? AND slot = ?"
  }

  /// Adds the sums of short slots to these and to the long slots that contain them.
  private static func write(_ sums: HistorySums, _ db: Database) throws {
    guard !sums.amounts.isEmpty else { return }
    var long: [HistorySums.Key: Int64] = [:]
    for (key, amount) in sums.amounts {
      var key = key
      key.step /= RollUps.long / RollUps.short
      long[key] = min(long[key, default: 0].saturatingAdding(amount), LedgerAmount.mostSum)
    }
    var words: [Int64: Int64] = [0: 0]
    var touched: Set<Slot> = []
    let add = try db.cachedStatement(
      sql: """
        INSERT INTO roll_ups (sort, length, slot, label, part, amount) VALUES (?, ?, ?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET amount = min(amount + excluded.amount, \(LedgerAmount.mostSum))
        """)
    for (length, amounts) in [(RollUps.short, sums.amounts), (RollUps.long, long)] {
      for (key, amount) in amounts {
        var label = key.label
        if key.sort != .waits {
          label = try words[label] ?? word(sums.labels.text(label), db)
          words[key.label] = label
          touched.insert(Slot(sort: key.sort.rawValue, length: length, number: key.step))
        }
        var position: Int32 = 0
        for value in [key.sort.rawValue, length, key.step, label, key.part, amount] {
          position += 1
          add.bind(value, at: position)
        }
        try add.step(in: db)
      }
    }
    try cut(touched, db)
  }

  /// The number of a name among the words.
  private static func word(_ text: String, _ db: Database) throws -> Int64 {
    let find = try db.cachedStatement(sql: "SELECT id FROM words WHERE text = ?")
    if let known = try Int64.fetchOne(find, arguments: [text]) { return known }
    try db.execute(sql: "INSERT INTO words (text) VALUES (?)", arguments: [text])
    return db.lastInsertedRowID
  }

  /// Cuts the slots with many labels in which nothing more ends, which are those that the newest rows were not in.
  private static func cut(_ touched: Set<Slot>, _ db: Database) throws {
    let countLabels = try db.cachedStatement(
      sql: "SELECT count(DISTINCT label) FROM roll_ups WHERE \(Slot.sql) AND label > 0")
    for slot in touched {
      let labels = try Int.fetchOne(countLabels, arguments: slot.arguments) ?? 0
      if labels > mostOpenLabels { try cut(slot, db) }
      if labels > mostLabels {
        try db.execute(sql: "INSERT OR IGNORE INTO crowded_slots VALUES (?, ?, ?)", arguments: slot.arguments)
      }
    }
    let crowded = try Row.fetchAll(db, sql: "SELECT sort, length, slot FROM crowded_slots").map {
      Slot(sort: $0[0], length: $0[1], number: $0[2])
    }
    // The others wait for the next rows.
    for slot in crowded.filter({ !touched.contains($0) }).prefix(4) {
      try cut(slot, db)
      try db.execute(sql: "DELETE FROM crowded_slots WHERE \(Slot.sql)", arguments: slot.arguments)
    }
  }

  private static func cut(_ slot: Slot, _ db: Database) throws {
    var totals: [Int64: Int64] = [:]
    var parts: [Int64: [(part: Int64, amount: Int64)]] = [:]
    for row in try Row.fetchAll(
      db, sql: "SELECT label, part, amount FROM roll_ups WHERE \(Slot.sql) AND label > 0", arguments: slot.arguments)
    {
      let (label, part, amount): (Int64, Int64, Int64) = (row[0], row[1], row[2])
      totals[label] = totals[label, default: 0].saturatingAdding(amount)
      parts[label, default: []].append((part, amount))
    }
    let small = totals.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.dropFirst(mostLabels)
    var others: [Int64: Int64] = [:]
    let delete = try db.cachedStatement(sql: "DELETE FROM roll_ups WHERE \(Slot.sql) AND label = ?")
    for (label, _) in small {
      for (part, amount) in parts[label, default: []] {
        others[part] = min(others[part, default: 0].saturatingAdding(amount), LedgerAmount.mostSum)
      }
      try delete.execute(arguments: slot.arguments + [label])
    }
    for (part, amount) in others {
      try db.execute(
        sql: """
          INSERT INTO roll_ups (sort, length, slot, label, part, amount) VALUES (?, ?, ?, 0, ?, ?)
          ON CONFLICT DO UPDATE SET amount = min(amount + excluded.amount, \(LedgerAmount.mostSum))
          """, arguments: slot.arguments + [part, amount])
    }
  }

  // MARK: Removing

  /// How many slots are removed in one transaction.
  private static let removedSlots: Int64 = 24

  /// Removes the slots of one length that end at or before this instant, in steps, each a transaction.
  static func remove(length: Int64, before instant: WallInstant, _ db: Database) throws {
    let end = max(0, instant.nanoseconds) / (length * UTCTime.second)
    for sort in HistorySort.allCases {
      while let first = try firstSlot(sort, length, db), first < end {
        try db.inTransaction(.immediate) {
          for table in ["roll_ups", "crowded_slots"] {
            try db.execute(
              sql: "DELETE FROM \(table) WHERE sort = ? AND length = ? AND slot < ?",
              arguments: [sort.rawValue, length, min(end, first + removedSlots)])
          }
          return .commit
        }
      }
    }
  }

  /// The oldest slot of one sort and length; nil where there is none.
  private static func firstSlot(_ sort: HistorySort, _ length: Int64, _ db: Database) throws -> Int64? {
    try Int64.fetchOne(
      db.cachedStatement(sql: "SELECT min(slot) FROM roll_ups WHERE sort = ? AND length = ?"),
      arguments: [sort.rawValue, length])
  }

  /// In nanoseconds: from here on all rows that were ever written are there; 0 where none was removed.
  static func prunedBefore(_ db: Database) throws -> Int64 {
    try Int64.fetchOne(db.cachedStatement(sql: "SELECT value FROM marks WHERE name = 'pruned_before'")) ?? 0
  }

  /// Notes that rows before this instant are being removed. Where it is in the future, those that come stay.
  static func notePruning(before instant: WallInstant, _ db: Database) throws {
    let newest = LedgerSchema.time(ofRow: try countedThrough(db)).saturatingAdding(1_000_000)
    try db.execute(
      sql: """
        INSERT INTO marks VALUES ('pruned_before', ?) ON CONFLICT DO UPDATE SET value = max(value, excluded.value)
        """, arguments: [max(0, min(instant.nanoseconds, newest))])
  }
}
