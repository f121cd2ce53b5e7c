// The budget raises that are still in force, for a starting broker.
import AdmissionCore
import GRDB
import LedgerVocabulary
import TextForms

extension LedgerStore {
  /// The changes that raised a budget until later than `now`, in the order in which they were made.
  public func budgetRaises(now: WallInstant) throws -> [LedgerChange] {
    try read { db in
      try Row.fetchAll(
        db,
        sql: """
          SELECT at, name, reason, asked_by, amount, until FROM changes
          WHERE subject = 'budget' AND state = 'raised' AND until > ? ORDER BY id
          """, arguments: [now.nanoseconds]
      ).map { row in
        LedgerChange(
          at: WallInstant(nanoseconds: row[0]), subject: .budget, name: row[1], state: .raised, reason: row[2],
          askedBy: row[3], amount: (row[4] as Int64?).map { Money(nanodollars: $0) },
          until: (row[5] as Int64?).map { WallInstant(nanoseconds: $0) })
      }
    }
  }
}
