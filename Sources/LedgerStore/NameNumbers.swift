// The numbers by which rows name words, series and endings. Each is looked up once and remembered by its coded bytes,
// so that no text is made for a known name.
//
// Promise: a number that is returned is in the database or in the open transaction; after a rollback the caller must
// call `forget`.
import AdmissionCore
import GRDB
import LedgerVocabulary

/// Numbers of things by their coded bytes.
struct CodedNumbers {
  /// How many things are remembered; beyond that they are looked up again.
  static let limit = 20_000
  private var known: [UInt64: (bytes: [UInt8], number: Int64)] = [:]
  /// The newest one, which is usually the next one too, since comparing costs less than hashing; 0 where there is none.
  private var newest: (bytes: [UInt8], number: Int64) = ([], 0)

  /// The number; nil where it is not known.
  mutating func number(of range: Range<Int>, in decoder: EntryDecoder) -> Int64? {
    if newest.number != 0, decoder.holds(newest.bytes, at: range) { return newest.number }
    guard let found = known[decoder.checksum(range)], decoder.holds(found.bytes, at: range) else { return nil }
    newest = found
    return found.number
  }

  /// Two things with the same hash replace each other; the database knows both.
  mutating func remember(_ number: Int64, of range: Range<Int>, in decoder: EntryDecoder) {
    if known.count >= CodedNumbers.limit { known.removeAll(keepingCapacity: true) }
    newest = (decoder.bytes(range), number)
    known[decoder.checksum(range)] = newest
  }

  mutating func forget() {
    known.removeAll()
    newest.number = 0
  }
}

/// Used on the writer's thread, inside its transactions.
final class NameNumbers {
  /// How many words are remembered with their numbers; beyond that they are looked up again.
  static let wordsLimit = 5_000
  private let database: Database
  private let findSeries: Statement
  private let insertSeries: Statement
  private let findEnding: Statement
  private let insertEnding: Statement
  private let findWord: Statement
  private let insertWord: Statement
  private var series = CodedNumbers()
  private var endings = CodedNumbers()
  private var words: [String: Int64] = [:]
  /// The newest word of each column.
  private var newest = [(text: [UInt8], number: Int64)](repeating: ([], 0), count: Column.allCases.count)

  enum Column: Int, CaseIterable {
    case holdPrices, endPrices, verdict, costSource, serviceTier, outcome, reason
  }

  init(_ db: Database) throws {
    database = db
    let names = "session, model, provider, key, tenant, client_key, priority, kind, agent"
    findSeries = try db.makeStatement(
      sql: """
        SELECT id FROM series WHERE session = ? AND model = ? AND provider = ? AND key = ? AND tenant = ?
          AND client_key = ? AND priority = ? AND kind = ? AND agent = ?
        """)
    insertSeries = try db.makeStatement(sql: "INSERT INTO series (\(names)) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
    findEnding = try db.makeStatement(
      sql: """
        SELECT id FROM endings WHERE outcome = ? AND priority_reason = ? AND status = ? AND attempts = ? AND state = ?
          AND verdict = ? AND attempt_status IS ? AND estimated = ? AND cost_source = ? AND prices = ? AND service_tier IS ?
          AND cache_loss IS ? AND lost_by_waiting IS ?
        """)
    insertEnding = try db.makeStatement(
      sql: """
        INSERT INTO endings (outcome, priority_reason, status, attempts, state, verdict, attempt_status, estimated,
          cost_source, prices, service_tier, cache_loss, lost_by_waiting)
          VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        """)
    findWord = try db.makeStatement(sql: "SELECT id FROM words WHERE text = ?")
    insertWord = try db.makeStatement(sql: "INSERT INTO words (text) VALUES (?)")
    try loadWords()
  }

  private func loadWords() throws {
    words = [:]
    for row in try Row.fetchAll(
      database, sql: "SELECT id, text FROM words LIMIT ?", arguments: [NameNumbers.wordsLimit])
    {
      words[row[1]] = row[0]
    }
  }

  /// Forgets the numbers that were assigned since the last commit, which are not in the database.
  func forget() {
    series.forget()
    endings.forget()
    words.removeAll()
    for index in newest.indices { newest[index].number = 0 }
  }

  func number(of word: Range<Int>, in decoder: EntryDecoder, _ column: Column) throws -> Int64 {
    let index = column.rawValue
    if newest[index].number != 0, decoder.holds(newest[index].text, at: word) { return newest[index].number }
    let number = try self.word(decoder.string(word))
    newest[index] = (decoder.bytes(word), number)
    return number
  }

  func number(of reason: CacheLoss) throws -> Int64 { try word(reason.rawValue) }

  private func word(_ word: String) throws -> Int64 {
    if let number = words[word] { return number }
    if words.count >= NameNumbers.wordsLimit || words.isEmpty { try loadWords() }
    let number = try find([word], findWord, orInsert: insertWord)
    words[word] = number
    return number
  }

  func number(ofSeries range: Range<Int>, in decoder: EntryDecoder) throws -> Int64 {
    if let number = series.number(of: range, in: decoder) { return number }
    var part = decoder.part(range)
    let key = try part.series()
    let number = try find(
      [
        key.session, key.model, key.provider, key.key, key.tenant, key.clientKey, key.priority.name, key.kind,
        key.agent,
      ],
      findSeries, orInsert: insertSeries)
    series.remember(number, of: range, in: decoder)
    return number
  }

  /// The number for how a request and its last attempt ended.
  func number(ofEnding range: Range<Int>, in decoder: EntryDecoder) throws -> Int64 {
    if let number = endings.number(of: range, in: decoder) { return number }
    var part = decoder.part(range)
    let ending = try part.ending()
    let parts: StatementArguments = [
      try word(ending.outcome), try word(ending.reason), max(0, ending.status), ending.attempts,
      (ending.wasSent ? AttemptState.posted : .void).rawValue, try word(ending.verdict), ending.attemptStatus,
      ending.isEstimated ? 1 : 0, try word(ending.costSource), try word(ending.prices),
      try ending.tier.map { try word($0) }, try ending.lost.map { try word($0.reason.rawValue) },
      ending.lost.map { $0.isByWaiting ? 1 : 0 },
    ]
    let number = try find(parts, findEnding, orInsert: insertEnding)
    endings.remember(number, of: range, in: decoder)
    return number
  }

  private func find(_ parts: StatementArguments, _ find: Statement, orInsert insert: Statement) throws -> Int64 {
    if let known = try Int64.fetchOne(find, arguments: parts) { return known }
    try insert.execute(arguments: parts)
    return database.lastInsertedRowID
  }
}
