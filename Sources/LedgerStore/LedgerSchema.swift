// The tables and their migrations, which only go forward; each is named by a sentence. docs/reference/ledger-schema.md
// shows the result with example queries.
import GRDB

enum LedgerSchema {
  /// `Tlgt`: distinguishes a ledger from other SQLite files (`PRAGMA application_id`).
  static let applicationID = 0x546C_6774

  /// The smallest id of a row that is written at this instant or later.
  static func firstRow(_ nanoseconds: Int64) -> Int64 { nanoseconds <= 0 ? 0 : (nanoseconds / 1_000_000) << 20 }

  /// The millisecond in which a row was written, in nanoseconds; later where the clock had been ahead.
  static func time(ofRow id: Int64) -> Int64 { (id >> 20).multipliedReportingOverflow(by: 1_000_000).partialValue }

  /// The largest id of a row. An id later than this century is damage, and new ids go on below it.
  static func newestRow(of table: String, _ db: Database) throws -> Int64 {
    try Int64.fetchOne(db, sql: "SELECT max(id) FROM \(table) WHERE id BETWEEN 0 AND \(damagedRow - 1)") ?? 0
  }
  /// The first id that is damage.
  static let damagedRow = Int64(1) << 62 + 1

  /// The tables whose rows are numbered by time, with one sequence of ids.
  static let numberedTables = ["calls", "attempt_rows", "request_rows"]

  /// The newest id of these tables that is or was in use. No new id may be below those that the roll-ups have counted,
  /// even where their rows were removed and the clock was set back.
  static func newestRow(_ db: Database) throws -> Int64 {
    try numberedTables.reduce(try RollUps.countedThrough(db)) { max($0, try newestRow(of: $1, db)) }
  }

  /// True where the time in some row's id may be later than the time of its writing, because the clock was ahead once
  /// and ids never go back.
  /// - Parameter row: ids below this one do not matter.
  static func idsAreAhead(of row: Int64, _ db: Database) throws -> Bool {
    let ahead = try Int64.fetchOne(db, sql: "SELECT value FROM marks WHERE name = '\(idsAhead)'") ?? 0
    if ahead >= row { return true }
    // For ledgers from before the mark existed: the last rows have times before those in their ids.
    let newest = try Row.fetchOne(db, sql: "SELECT id, held_at FROM attempt_rows ORDER BY id DESC LIMIT 1")
    guard let newest, let id = newest[0] as Int64?, let at = newest[1] as Int64? else { return false }
    return id >= row && id - firstRow(at) > firstRow(UTCTime.day)
  }

  /// The mark with the last id that was ahead of its time.
  static let idsAhead = "ids_ahead"

  /// Migrates a database to this version. Throws where it is newer than this program or is not a ledger.
  static func migrate(_ database: DatabaseQueue, path: String) throws {
    let isNew = try database.read { try check($0, path: path) }
    if isNew {
      try database.writeWithoutTransaction { try $0.execute(sql: "PRAGMA application_id = \(applicationID)") }
    }
    try migrator.migrate(database)
  }

  /// True for an empty file. Throws where the file cannot be read by this program.
  @discardableResult
  static func check(_ db: Database, path: String) throws -> Bool {
    let tables = try Int.fetchOne(db, sql: "SELECT count(*) FROM sqlite_schema") ?? 0
    if tables == 0 { return true }
    guard try Int.fetchOne(db, sql: "PRAGMA application_id") == applicationID else {
      throw LedgerError(
        .unusable, "ledger \(path): this is the SQLite database of something else; give another path with --store")
    }
    let applied = try migrator.appliedIdentifiers(db)
    let unknown = applied.subtracting(migrator.migrations).sorted()
    if !unknown.isEmpty {
      throw LedgerError(
        .unusable,
        """
        ledger \(path): a newer tollgate has written it (it knows of '\(unknown.joined(separator: "', '"))'); \
        run that version, or restore the backup from before
        """)
    }
    return false
  }

  static var migrator: DatabaseMigrator {
    var migrator = DatabaseMigrator()
    migrator.registerMigration("keep attempts, requests and changes") { db in
      try db.execute(sql: first)
    }
    migrator.registerMigration("keep what a broker wants to know again") { db in
      try db.execute(
        sql: """
          CREATE TABLE memos (
            id INTEGER PRIMARY KEY,
            kind TEXT NOT NULL,
            name TEXT NOT NULL,
            value TEXT NOT NULL,
            UNIQUE (kind, name)
          ) STRICT;
          """)
    }
    migrator.registerMigration("keep pruned sums by hour and session") { db in
      try db.execute(sql: prunedSums)
    }
    migrator.registerMigration("keep the tokens of pruned sums") { db in
      try db.execute(
        sql: "ALTER TABLE pruned_sums ADD COLUMN tokens INTEGER NOT NULL DEFAULT 0 CHECK (tokens >= 0)")
    }
    migrator.registerMigration("keep a request and its last attempt in one row") { db in
      try db.execute(sql: oneRow)
    }
    migrator.registerMigration("tell the agents of a session apart") { db in
      try db.execute(sql: agents)
    }
    migrator.registerMigration("tell why a prompt cache was not read") { db in
      try db.execute(sql: cacheLosses)
    }
    migrator.registerMigration("sum rows for charts") { db in
      try db.execute(sql: rollUps)
    }
    migrator.registerMigration("tell what a change changed") { db in
      try db.execute(sql: widerChanges)
    }
    return migrator
  }

  /// A row's id is the time of its writing in milliseconds, times 1,048,576, plus a running number: rows are always
  /// added at the end, and a period of time is a range of ids. A request's own id is its ULID in two halves.
  private static let first = """
    CREATE TABLE words (
      id INTEGER PRIMARY KEY,
      text TEXT NOT NULL UNIQUE
    ) STRICT;

    CREATE TABLE series (
      id INTEGER PRIMARY KEY,
      tenant TEXT NOT NULL,
      client_key TEXT NOT NULL,
      session TEXT NOT NULL,
      provider TEXT NOT NULL,
      key TEXT NOT NULL,
      model TEXT NOT NULL,
      priority TEXT NOT NULL CHECK (priority IN ('high', 'normal', 'low')),
      kind TEXT NOT NULL,
      UNIQUE (session, model, provider, key, tenant, client_key, priority, kind)
    ) STRICT;

    CREATE TABLE attempts (
      id INTEGER PRIMARY KEY,
      request_high INTEGER NOT NULL,
      request_low INTEGER NOT NULL,
      attempt INTEGER NOT NULL CHECK (attempt >= 1),
      state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 3),
      series INTEGER NOT NULL REFERENCES series (id),
      held_at INTEGER NOT NULL,
      reserved_input INTEGER NOT NULL,
      reserved_output INTEGER NOT NULL,
      held INTEGER,
      prices INTEGER NOT NULL REFERENCES words (id),
      ended_at INTEGER,
      verdict INTEGER REFERENCES words (id),
      cost_source INTEGER REFERENCES words (id),
      cost INTEGER,
      input_tokens INTEGER NOT NULL DEFAULT 0,
      output_tokens INTEGER NOT NULL DEFAULT 0,
      cache_read_tokens INTEGER NOT NULL DEFAULT 0,
      status INTEGER,
      reasoning_tokens INTEGER NOT NULL DEFAULT 0,
      cache_write_tokens INTEGER NOT NULL DEFAULT 0,
      cache_write_hour_tokens INTEGER NOT NULL DEFAULT 0,
      audio_ms INTEGER NOT NULL DEFAULT 0,
      estimated INTEGER NOT NULL DEFAULT 0 CHECK (estimated BETWEEN 0 AND 1),
      service_tier INTEGER REFERENCES words (id),
      CHECK ((reserved_input | reserved_output | input_tokens | output_tokens | cache_read_tokens | reasoning_tokens
        | cache_write_tokens | cache_write_hour_tokens | audio_ms | coalesce(held, 0) | coalesce(cost, 0)) >= 0),
      CHECK ((state = 0) = (ended_at IS NULL))
    ) STRICT;

    CREATE INDEX open_attempts ON attempts (id) WHERE state = 0;

    CREATE TABLE requests (
      id INTEGER PRIMARY KEY,
      request_high INTEGER NOT NULL,
      request_low INTEGER NOT NULL,
      series INTEGER NOT NULL REFERENCES series (id),
      arrived_at INTEGER NOT NULL,
      ended_at INTEGER NOT NULL,
      outcome INTEGER NOT NULL REFERENCES words (id),
      priority_reason INTEGER NOT NULL REFERENCES words (id),
      status INTEGER NOT NULL,
      attempts INTEGER NOT NULL,
      queued_us INTEGER NOT NULL,
      first_byte_us INTEGER,
      CHECK ((status | attempts | queued_us | coalesce(first_byte_us, 0)) >= 0)
    ) STRICT;

    CREATE TABLE new_holds (
      id INTEGER PRIMARY KEY,
      holds BLOB NOT NULL CHECK (length(holds) % 72 = 0 AND length(holds) > 0)
    ) STRICT;

    CREATE TABLE changes (
      id INTEGER PRIMARY KEY,
      at INTEGER NOT NULL,
      subject TEXT NOT NULL CHECK (subject IN ('key', 'breaker', 'budget', 'policy', 'broker')),
      name TEXT NOT NULL,
      state TEXT NOT NULL,
      reason TEXT NOT NULL,
      asked_by TEXT,
      amount INTEGER,
      until INTEGER
    ) STRICT;

    CREATE TABLE marks (
      name TEXT PRIMARY KEY,
      value INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE pruned_spending (
      tenant TEXT NOT NULL,
      client_key TEXT NOT NULL,
      attempts INTEGER NOT NULL CHECK (attempts >= 0),
      cost INTEGER NOT NULL CHECK (cost >= 0),
      PRIMARY KEY (tenant, client_key)
    ) STRICT, WITHOUT ROWID;
    """ + "\n" + views

  /// No row is read or written, so it takes no longer in a large file; the index goes with its table. What an earlier version wrote stays in its
  /// tables, under other names, and in the tables' place are views of these rows and of those that come. The views have the columns of the tables.
  static let oneRow = """
    DROP VIEW attempt_log;
    DROP VIEW request_log;
    ALTER TABLE attempts RENAME TO attempt_rows;
    ALTER TABLE requests RENAME TO request_rows;

    CREATE TABLE endings (
      id INTEGER PRIMARY KEY,
      outcome INTEGER NOT NULL REFERENCES words (id),
      priority_reason INTEGER NOT NULL REFERENCES words (id),
      status INTEGER NOT NULL CHECK (status >= 0),
      attempts INTEGER NOT NULL CHECK (attempts >= 1),
      state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 3),
      verdict INTEGER NOT NULL REFERENCES words (id),
      attempt_status INTEGER,
      estimated INTEGER NOT NULL CHECK (estimated BETWEEN 0 AND 1),
      cost_source INTEGER NOT NULL REFERENCES words (id),
      prices INTEGER NOT NULL REFERENCES words (id),
      service_tier INTEGER REFERENCES words (id),
      UNIQUE (outcome, priority_reason, status, attempts, state, verdict, attempt_status, estimated, cost_source, prices,
        service_tier)
    ) STRICT;

    CREATE TABLE calls (
      id INTEGER PRIMARY KEY,
      request_high INTEGER NOT NULL,
      request_low INTEGER NOT NULL,
      series INTEGER NOT NULL REFERENCES series (id),
      ending INTEGER NOT NULL REFERENCES endings (id),
      arrived_at INTEGER NOT NULL,
      held_at INTEGER NOT NULL,
      ended_at INTEGER NOT NULL,
      queued_us INTEGER NOT NULL,
      first_byte_us INTEGER CHECK (first_byte_us >= 0),
      reserved_input INTEGER NOT NULL,
      reserved_output INTEGER NOT NULL,
      held INTEGER CHECK (held >= 0),
      cost INTEGER CHECK (cost >= 0),
      input_tokens INTEGER NOT NULL,
      output_tokens INTEGER NOT NULL,
      cache_read_tokens INTEGER NOT NULL,
      reasoning_tokens INTEGER NOT NULL,
      cache_write_tokens INTEGER NOT NULL,
      cache_write_hour_tokens INTEGER NOT NULL,
      audio_ms INTEGER NOT NULL,
      CHECK ((queued_us | reserved_input | reserved_output | input_tokens | output_tokens | cache_read_tokens
        | reasoning_tokens | cache_write_tokens | cache_write_hour_tokens | audio_ms) >= 0)
    ) STRICT;

    CREATE VIEW attempts AS
    SELECT id, request_high, request_low, attempt, state, series, held_at, reserved_input, reserved_output, held, prices,
      ended_at, verdict, cost_source, cost, input_tokens, output_tokens, cache_read_tokens, status, reasoning_tokens,
      cache_write_tokens, cache_write_hour_tokens, audio_ms, estimated, service_tier
    FROM attempt_rows
    UNION ALL
    SELECT c.id, c.request_high, c.request_low, e.attempts, e.state, c.series, c.held_at, c.reserved_input,
      c.reserved_output, c.held, e.prices, c.ended_at, e.verdict, e.cost_source, c.cost, c.input_tokens, c.output_tokens,
      c.cache_read_tokens, e.attempt_status, c.reasoning_tokens, c.cache_write_tokens, c.cache_write_hour_tokens,
      c.audio_ms, e.estimated, e.service_tier
    FROM calls c JOIN endings e ON e.id = c.ending;

    CREATE VIEW requests AS
    SELECT id, request_high, request_low, series, arrived_at, ended_at, outcome, priority_reason, status, attempts,
      queued_us, first_byte_us
    FROM request_rows
    UNION ALL
    SELECT c.id, c.request_high, c.request_low, c.series, c.arrived_at, c.ended_at, e.outcome, e.priority_reason, e.status,
      e.attempts, c.queued_us, c.first_byte_us
    FROM calls c JOIN endings e ON e.id = c.ending;
    """ + "\n" + views

  /// The costs of pruned attempts, by the hour of their hold (hours since 1970), so that every budget window finds what
  /// was spent in it. Hour -1 is for amounts older than any window, and for amounts that were pruned before hours were
  /// kept.
  private static let prunedSums = """
    CREATE TABLE pruned_sums (
      hour INTEGER NOT NULL,
      tenant TEXT NOT NULL,
      client_key TEXT NOT NULL,
      session TEXT NOT NULL,
      attempts INTEGER NOT NULL CHECK (attempts >= 0),
      cost INTEGER NOT NULL CHECK (cost >= 0),
      PRIMARY KEY (hour, tenant, client_key, session)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO pruned_sums SELECT -1, tenant, client_key, '', attempts, cost FROM pruned_spending;
    DROP TABLE pruned_spending;
    """

  /// SQLite cannot add a column to a constraint: the table, which is small, is made anew with the same numbers.
  private static let agents = """
    DROP VIEW attempt_log;
    DROP VIEW request_log;
    CREATE TABLE told_apart (
      id INTEGER PRIMARY KEY,
      tenant TEXT NOT NULL,
      client_key TEXT NOT NULL,
      session TEXT NOT NULL,
      provider TEXT NOT NULL,
      key TEXT NOT NULL,
      model TEXT NOT NULL,
      priority TEXT NOT NULL CHECK (priority IN ('high', 'normal', 'low')),
      kind TEXT NOT NULL,
      agent TEXT NOT NULL,
      UNIQUE (session, model, provider, key, tenant, client_key, priority, kind, agent)
    ) STRICT;
    INSERT INTO told_apart
      SELECT id, tenant, client_key, session, provider, key, model, priority, kind, '' FROM series;
    DROP TABLE series;
    ALTER TABLE told_apart RENAME TO series;
    """ + "\n" + views(agent: ", nullif(s.agent, '') AS agent")

  /// The reason is one of few, so it is part of how calls end, and the amounts are columns of each call. No row of the large
  /// tables is read or written: what was there has no amounts.
  private static let cacheLosses = """
    DROP VIEW attempt_log;
    DROP VIEW request_log;
    DROP VIEW attempts;
    DROP VIEW requests;
    ALTER TABLE attempt_rows ADD COLUMN cache_loss INTEGER REFERENCES words (id);
    ALTER TABLE attempt_rows ADD COLUMN lost_by_waiting INTEGER;
    ALTER TABLE attempt_rows ADD COLUMN lost_tokens INTEGER;
    ALTER TABLE attempt_rows ADD COLUMN lost_cost INTEGER;
    ALTER TABLE calls ADD COLUMN lost_tokens INTEGER;
    ALTER TABLE calls ADD COLUMN lost_cost INTEGER;

    CREATE TABLE endings_with_losses (
      id INTEGER PRIMARY KEY,
      outcome INTEGER NOT NULL REFERENCES words (id),
      priority_reason INTEGER NOT NULL REFERENCES words (id),
      status INTEGER NOT NULL CHECK (status >= 0),
      attempts INTEGER NOT NULL CHECK (attempts >= 1),
      state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 3),
      verdict INTEGER NOT NULL REFERENCES words (id),
      attempt_status INTEGER,
      estimated INTEGER NOT NULL CHECK (estimated BETWEEN 0 AND 1),
      cost_source INTEGER NOT NULL REFERENCES words (id),
      prices INTEGER NOT NULL REFERENCES words (id),
      service_tier INTEGER REFERENCES words (id),
      cache_loss INTEGER REFERENCES words (id),
      lost_by_waiting INTEGER CHECK (lost_by_waiting BETWEEN 0 AND 1),
      UNIQUE (outcome, priority_reason, status, attempts, state, verdict, attempt_status, estimated, cost_source, prices,
        service_tier, cache_loss, lost_by_waiting)
    ) STRICT;
    INSERT INTO endings_with_losses
      SELECT id, outcome, priority_reason, status, attempts, state, verdict, attempt_status, estimated, cost_source,
        prices, service_tier, NULL, NULL FROM endings;
    DROP TABLE endings;
    ALTER TABLE endings_with_losses RENAME TO endings;

    CREATE VIEW attempts AS
    SELECT id, request_high, request_low, attempt, state, series, held_at, reserved_input, reserved_output, held, prices,
      ended_at, verdict, cost_source, cost, input_tokens, output_tokens, cache_read_tokens, status, reasoning_tokens,
      cache_write_tokens, cache_write_hour_tokens, audio_ms, estimated, service_tier, cache_loss, lost_by_waiting,
      lost_tokens, lost_cost
    FROM attempt_rows
    UNION ALL
    SELECT c.id, c.request_high, c.request_low, e.attempts, e.state, c.series, c.held_at, c.reserved_input,
      c.reserved_output, c.held, e.prices, c.ended_at, e.verdict, e.cost_source, c.cost, c.input_tokens, c.output_tokens,
      c.cache_read_tokens, e.attempt_status, c.reasoning_tokens, c.cache_write_tokens, c.cache_write_hour_tokens,
      c.audio_ms, e.estimated, e.service_tier, e.cache_loss, e.lost_by_waiting, c.lost_tokens, c.lost_cost
    FROM calls c JOIN endings e ON e.id = c.ending;

    CREATE VIEW requests AS
    SELECT id, request_high, request_low, series, arrived_at, ended_at, outcome, priority_reason, status, attempts,
      queued_us, first_byte_us, NULL AS cache_loss, NULL AS lost_by_waiting, NULL AS lost_tokens, NULL AS lost_cost
    FROM request_rows
    UNION ALL
    SELECT c.id, c.request_high, c.request_low, c.series, c.arrived_at, c.ended_at, e.outcome, e.priority_reason, e.status,
      e.attempts, c.queued_us, c.first_byte_us, e.cache_loss, e.lost_by_waiting, c.lost_tokens, c.lost_cost
    FROM calls c JOIN endings e ON e.id = c.ending;
    """ + "\n" + views(agent: ", nullif(s.agent, '') AS agent", losses: losses)

  /// The sums that charts are made of (RollUps.swift). They are filled later, in the background, from all rows there are.
  private static let rollUps = """
    CREATE TABLE roll_ups (
      sort INTEGER NOT NULL,
      length INTEGER NOT NULL,
      slot INTEGER NOT NULL,
      label INTEGER NOT NULL,
      part INTEGER NOT NULL,
      amount INTEGER NOT NULL,
      PRIMARY KEY (sort, length, slot, label, part)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE crowded_slots (
      sort INTEGER NOT NULL,
      length INTEGER NOT NULL,
      slot INTEGER NOT NULL,
      PRIMARY KEY (sort, length, slot)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE late_rows (id INTEGER PRIMARY KEY) STRICT;
    """

  /// SQLite cannot change a constraint: the table is made anew with the same rows. It holds what operators and providers
  /// changed, not calls, so it is small beside the others.
  private static let widerChanges = """
    CREATE TABLE wider_changes (
      id INTEGER PRIMARY KEY,
      at INTEGER NOT NULL,
      subject TEXT NOT NULL CHECK (subject IN
        ('key', 'breaker', 'budget', 'policy', 'broker', 'limit', 'log', 'tenant', 'webhook', 'alert')),
      name TEXT NOT NULL,
      state TEXT NOT NULL,
      reason TEXT NOT NULL,
      asked_by TEXT,
      amount INTEGER,
      until INTEGER,
      before TEXT,
      after TEXT
    ) STRICT;
    INSERT INTO wider_changes SELECT id, at, subject, name, state, reason, asked_by, amount, until, NULL, NULL FROM changes;
    DROP TABLE changes;
    ALTER TABLE wider_changes RENAME TO changes;
    CREATE INDEX changes_by_time ON changes (at);
    """

  /// The last columns of the views with names.
  private static func losses(_ table: String) -> String {
    ", (SELECT text FROM words WHERE id = \(table).cache_loss) AS cache_loss, \(table).lost_by_waiting, "
      + "\(table).lost_tokens, \(table).lost_cost AS lost_nanousd"
  }

  private static let views = views(agent: "")

  private static func views(agent: String, losses: (String) -> String = { _ in "" }) -> String {
    """
    CREATE VIEW attempt_log AS
    SELECT \(ulid("a")) AS request_id, a.id, a.attempt,
      CASE a.state WHEN 0 THEN 'held' WHEN 1 THEN 'posted' WHEN 2 THEN 'void' ELSE 'presumed' END AS state,
      strftime('%Y-%m-%dT%H:%M:%fZ', a.held_at / 1e9, 'unixepoch') AS held_at,
      strftime('%Y-%m-%dT%H:%M:%fZ', a.ended_at / 1e9, 'unixepoch') AS ended_at,
      s.tenant, nullif(s.client_key, '') AS client_key, s.session, s.provider, nullif(s.key, '') AS key, s.model,
      s.priority, nullif(s.kind, '') AS kind, a.reserved_input, a.reserved_output,
      v.text AS verdict, a.status, a.input_tokens, a.cache_read_tokens, a.cache_write_tokens,
      a.cache_write_hour_tokens, a.output_tokens, a.reasoning_tokens, a.audio_ms, a.estimated,
      a.held AS held_nanousd, a.cost AS cost_nanousd, c.text AS cost_source, p.text AS price_version,
      t.text AS service_tier, a.request_high, a.request_low\(agent)\(losses("a"))
    FROM attempts a JOIN series s ON s.id = a.series JOIN words p ON p.id = a.prices
    LEFT JOIN words v ON v.id = a.verdict LEFT JOIN words c ON c.id = a.cost_source
    LEFT JOIN words t ON t.id = a.service_tier;

    CREATE VIEW request_log AS
    SELECT \(ulid("r")) AS request_id, r.id,
      strftime('%Y-%m-%dT%H:%M:%fZ', r.arrived_at / 1e9, 'unixepoch') AS arrived_at,
      strftime('%Y-%m-%dT%H:%M:%fZ', r.ended_at / 1e9, 'unixepoch') AS ended_at,
      s.tenant, nullif(s.client_key, '') AS client_key, s.session, s.priority, w.text AS priority_reason,
      nullif(s.kind, '') AS kind, s.model, nullif(s.provider, '') AS provider, nullif(s.key, '') AS key,
      o.text AS outcome, r.status, r.attempts, r.queued_us / 1000.0 AS queued_ms,
      r.first_byte_us / 1000.0 AS first_byte_ms, r.request_high, r.request_low\(agent)\(losses("r"))
    FROM requests r JOIN series s ON s.id = r.series JOIN words o ON o.id = r.outcome
    JOIN words w ON w.id = r.priority_reason;
    """
  }

  /// SQL for the 26 characters of the id as headers and logs show it: 130 bits in groups of five, of which the first
  /// two bits are zero.
  private static func ulid(_ table: String) -> String {
    let alphabet = "'0123456789ABCDEFGHJKMNPQRSTVWXYZ'"
    let high = "\(table).request_high"
    let low = "\(table).request_low"
    let digits = (0..<26).map { index -> String in
      // The position of the digit's lowest bit, counted from the end of the 128 bits.
      let shift = (25 - index) * 5
      let five =
        if shift >= 64 {
          "((\(high) >> \(shift - 64)) & 31)"
        } else if shift + 5 <= 64 {
          "((\(low) >> \(shift)) & 31)"
        } else {
          "(((\(low) >> \(shift)) & \((1 << (64 - shift)) - 1)) | ((\(high) << \(64 - shift)) & 31))"
        }
      return "substr(\(alphabet), \(five) + 1, 1)"
    }
    return digits.joined(separator: " || ")
  }
}
