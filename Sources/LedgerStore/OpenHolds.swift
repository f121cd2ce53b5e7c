// What the writer knows of attempts and requests that are not over: enough to write an attempt's row once, at its end.
//
// A hold must be safe before its attempt is sent, and a call is often over a moment later. So new holds go into the database as one
// short list for each transaction (`new_holds`), and an attempt gets its row when it ends. Holds that stay open for some seconds
// get their row then, and their lists are deleted. What a transaction changes here is taken back when the transaction fails.
import AdmissionCore

/// One attempt of one request.
struct AttemptKey: Hashable {
  var request: RequestID
  var attempt: Int64

  func hash(into hasher: inout Hasher) {
    hasher.combine(request)
  }
}

/// A hold whose end is not in the books, with names as numbers.
struct OpenHold: Equatable {
  /// Bytes in a list: nine numbers of eight, little end first.
  static let size = 72

  var key: AttemptKey
  var series: Int64
  var at: Int64
  var reservedInput: Int64
  var reservedOutput: Int64
  /// -1 where the price is unknown.
  var held: Int64
  var prices: Int64
  /// Of its row in `attempts`; 0 where it has none yet.
  var row: Int64 = 0
  /// The list that it is in.
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

  /// From the bytes of one hold in a list.
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

  init(_ hold: AttemptHold, series: Int64, prices: Int64, list: Int64) {
    key = AttemptKey(request: hold.request, attempt: Int64(hold.attempt))
    self.series = series
    self.prices = prices
    self.list = list
    at = hold.at.nanoseconds
    reservedInput = max(0, hold.reservedInput)
    reservedOutput = max(0, hold.reservedOutput)
    held = hold.held.map { max(0, $0.nanodollars) } ?? -1
  }
}

struct OpenHolds {
  /// A request that has begun and has no row yet.
  struct Begun {
    /// The series of its newest hold, and what of it can differ from the request's own.
    var series: Int64
    var provider: ProviderID
    var key: KeyID?
    var model: String
    /// Its first row in `attempts`; `Int64.max` where it has none.
    var firstRow: Int64
  }

  private(set) var holds: [AttemptKey: OpenHold] = [:]
  private(set) var begun: [RequestID: Begun] = [:]

  private enum Undo {
    case hold(AttemptKey, OpenHold?)
    case begun(RequestID, Begun?)
  }
  private var undo: [Undo] = []

  mutating func insert(_ hold: OpenHold, _ source: AttemptHold) {
    undo.append(.hold(hold.key, holds.updateValue(hold, forKey: hold.key)))
    let earlier = begun[source.request]
    begun[source.request] = Begun(
      series: hold.series, provider: source.provider, key: source.key, model: source.model,
      firstRow: earlier?.firstRow ?? .max)
    undo.append(.begun(source.request, earlier))
  }

  /// What an earlier process left open.
  mutating func takeUp(_ hold: OpenHold, _ request: Begun) {
    holds[hold.key] = hold
    begun[hold.key.request] = request
  }

  /// The hold that ends; nil where none is open.
  mutating func end(_ key: AttemptKey) -> OpenHold? {
    guard let hold = holds.removeValue(forKey: key) else { return nil }
    undo.append(.hold(key, hold))
    return hold
  }

  /// Its attempt has this row; the request has none.
  mutating func wrote(row: Int64, of request: RequestID) {
    guard let earlier = begun[request], row < earlier.firstRow else { return }
    undo.append(.begun(request, earlier))
    begun[request]?.firstRow = row
  }

  /// The request is over.
  mutating func conclude(_ request: RequestID) -> Begun? {
    guard let earlier = begun.removeValue(forKey: request) else { return nil }
    undo.append(.begun(request, earlier))
    return earlier
  }

  /// A hold that stayed open has its row now.
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
