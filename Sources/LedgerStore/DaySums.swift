// What a broker with daily limits asks the ledger: how much was used since the day began, by caller and provider.
import AdmissionCore
import GRDB
import TextForms

extension LedgerStore {
  /// The attempts that were sent since this instant and what they used; attempts without an end count what was
  /// reserved.
  /// - Parameters:
  ///   - now: attempts dated more than a minute after this instant, by a clock that was ahead, belong to another day.
  ///   - past: counts only attempts that had ended then; the answer is complete, or the call throws.
  /// - Throws: `LedgerError`; of kind `locked` where `past` is given and earlier entries are not written yet.
  public func daySums(since began: WallInstant, now: WallInstant, ended past: EndedBefore? = nil) throws -> [DaySum] {
    try read(isWhole: past != nil) { db in
      let ends = try LedgerStore.ends(past, db)
      // CROSS: row by row, where SQLite would copy all rows of the view first.
      return try Row.fetchAll(
        db,
        sql: """
          SELECT s.tenant, s.provider, s.key, s.model, count(*), total(a.input_tokens), total(a.cache_read_tokens),
            total(a.output_tokens)
          FROM attempts a CROSS JOIN series s ON s.id = a.series
          WHERE a.id >= ? AND a.held_at >= ? AND a.held_at < ? AND (a.ended_at < ? OR a.ended_at > ?) AND a.state IN (1, 3)
          GROUP BY s.tenant, s.provider, s.key, s.model ORDER BY s.tenant, s.provider, s.key, s.model
          """,
        arguments: [
          LedgerSchema.firstRow(began.nanoseconds), began.nanoseconds,
          now.nanoseconds.saturatingAdding(60_000_000_000), ends.before, ends.after,
        ]
      ).map { row in
        // The numbers come from providers, so they are summed as floating point, which cannot overflow, and cut to the
        // range of a count.
        func count(_ column: Int) -> TokenCount {
          let sum: Double = row[column]
          return TokenCount(sum < 1e12 ? Int64(max(0, sum)) : 1_000_000_000_000)
        }
        let key: String = row[2]
        return DaySum(
          tenant: TenantID(row[0] as String), provider: ProviderID(row[1] as String),
          key: key.isEmpty ? nil : KeyID(key),
          model: row[3], requests: row[4],
          usage: Usage(inputTokens: count(5), cacheReadTokens: count(6), outputTokens: count(7)))
      }
    }
  }
}
