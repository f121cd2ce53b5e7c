// What the writer knows about attempts and requests that are not over: enough to write an attempt's row once, at its
// end.
//
// A hold must be safe before its attempt is sent, and a call is often over a moment later. So new holds are written as
// one short list per transaction (`new_holds`), and an attempt gets its row when it ends. Holds that are still open
// after some seconds get their row then, and their lists are deleted. Changes of a transaction that fails are undone
// here.
import AdmissionCore
import Foundation
import GRDB

/// One attempt of one request.
struct AttemptKey: Hashable {
  var request: RequestID
  var attempt: Int64

  func hash(into hasher: inout Hasher) {
    hasher.combine(request)
  }

  /// The attempts that have a row with this id or a later one. This is one pass; a search for each hold would take
  /// minutes at a start after a crash under load.
  static func written(since row: Int64, _ db: Database) throws -> Set<AttemptKey> {
    var written: Set<AttemptKey> = []
    let rows = try Row.fetchCursor(
      db, sql: "SELECT request_high, request_low, attempt FROM attempts WHERE id >= ?", arguments: [row])
    while let row = try rows.next() {
      written.insert(
        AttemptKey(
          request: RequestID(high: UInt64(bitPattern: row[0] as Int64), low: UInt64(bitPattern: row[1] as Int64)),
          attempt: row[2]))
    }
    return written
  }
}

/// A hold whose end is not in the ledger, with names as numbers.
struct OpenHold: Equatable {
  /// The size of a hold in a list, in bytes: nine numbers of eight bytes, little-endian.
  static let size = 72

  var key: AttemptKey
  var series: Int64
  var at: Int64
  var reservedInput: Int64
  var reservedOutput: Int64
  /// -1 where the price is unknown.
  var held: Int64
  var prices: Int64
  /// The id of its row in `attempt_rows`; 0 where it has none yet.
  var row: Int64 = 0
  /// The id of its list.
  var list: Int64 = 0

  func append(to bytes: inout [UInt8]) {
    for number in [
      Int64(bitPattern: key.request.high), Int64(bitPattern: key.request.low), key.attempt, series, at, reservedInput,
      reservedOutput, held, prices,
    ] {
      OpenHold.append(number, to: &bytes)
    }
  }

  static func append(_ number: Int64, to bytes: inout [UInt8]) {
    var rest = UInt64(bitPattern: number)
    for _ in 0..<8 {
      bytes.append(UInt8(truncatingIfNeeded: rest))
      rest >>= 8
    }
  }

  /// The holds of a list in the database; an incomplete hold at its end is left out.
  static func all(of list: Data) -> [OpenHold] {
    let bytes = [UInt8](list)
    return stride(from: 0, to: bytes.count - size + 1, by: size).map { OpenHold(bytes[$0..<($0 + size)]) }
  }

  /// Decodes one hold of a list.
  init(_ bytes: ArraySlice<UInt8>) {
    func number(_ index: Int) -> Int64 {
      let start = bytes.startIndex + index * 8
      var value: UInt64 = 0
      for offset in (0..<8).reversed() { value = value << 8 | UInt64(bytes[start + offset]) }
      return Int64(bitPattern: value)
    }
    key = AttemptKey(
      request: RequestID(high: UInt64(bitPattern: number(0)), low: UInt64(bitPattern: number(1))), attempt: number(2))
    series = number(3)
    at = number(4)
    reservedInput = number(5)
    reservedOutput = number(6)
    held = number(7)
    prices = number(8)
  }

  init(
    _ key: AttemptKey, series: Int64, at: Int64, reservedInput: Int64, reservedOutput: Int64, held: Int64?,
    prices: Int64, list: Int64
  ) {
    self.key = key
    self.series = series
    self.prices = prices
    self.list = list
    self.at = at
    self.reservedInput = max(0, reservedInput)
    self.reservedOutput = max(0, reservedOutput)
    self.held = held.map { max(0, $0) } ?? -1
  }
}

struct OpenHolds {
  private(set) var holds: [AttemptKey: OpenHold] = [:]
  /// The requests that have begun and have no row yet: the first row of each in `attempt_rows`, `Int64.max` where it has none.
  private(set) var begun: [RequestID: Int64] = [:]

  private enum Undo {
    case hold(AttemptKey, OpenHold?)
    case begun(RequestID, Int64?)
  }
  private var undo: [Undo] = []

  mutating func insert(_ hold: OpenHold) {
    undo.append(.hold(hold.key, holds.updateValue(hold, forKey: hold.key)))
    // This is a later attempt of the same request.
    guard begun[hold.key.request] == nil else { return }
    begun[hold.key.request] = .max
    undo.append(.begun(hold.key.request, nil))
  }

  /// Takes over a hold that an earlier process left open.
  mutating func takeUp(_ hold: OpenHold, firstRow: Int64) {
    holds[hold.key] = hold
    begun[hold.key.request] = firstRow
  }

  /// Ends the hold and returns it; nil where none is open.
  mutating func end(_ key: AttemptKey) -> OpenHold? {
    guard let hold = holds.removeValue(forKey: key) else { return nil }
    undo.append(.hold(key, hold))
    return hold
  }

  /// Notes the row of an attempt whose request has no row yet.
  mutating func wrote(row: Int64, of request: RequestID) {
    guard let earlier = begun[request], row < earlier else { return }
    undo.append(.begun(request, earlier))
    begun[request] = row
  }

  /// Notes that the request is over.
  mutating func conclude(_ request: RequestID) {
    guard let earlier = begun.removeValue(forKey: request) else { return }
    undo.append(.begun(request, earlier))
  }

  /// Notes that the request and this last attempt are over.
  mutating func finish(_ key: AttemptKey) {
    _ = end(key)
    conclude(key.request)
  }

  /// Notes that a hold that stayed open now has its row.
  mutating func gave(row: Int64, to key: AttemptKey) {
    guard let earlier = holds[key] else { return }
    undo.append(.hold(key, earlier))
    holds[key]?.row = row
    wrote(row: row, of: key.request)
  }

  mutating func committed() { undo.removeAll(keepingCapacity: true) }

  mutating func rolledBack() {
    for step in undo.reversed() {
      switch step {
      case .hold(let key, let hold): holds[key] = hold
      case .begun(let request, let earlier): begun[request] = earlier
      }
    }
    undo.removeAll()
  }
}
