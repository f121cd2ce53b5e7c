// What attempts and requests of one caller have in common, and the numbers by which rows name it.
import AdmissionCore

/// Absent names are empty.
struct Series: Equatable {
  var tenant: String
  var clientKey: String
  var session: String
  var provider: String
  var key: String
  var model: String
  var priority: Priority
  var kind: String
}

/// Numbers of series by their coded bytes: to find one no text is made.
struct SeriesNumbers {
  /// Series that are remembered; past that they are looked up again.
  static let limit = 20_000
  private var known: [UInt64: (bytes: [UInt8], number: Int64)] = [:]

  /// The number, where it is known.
  func number(of range: Range<Int>, in decoder: EntryDecoder) -> Int64? {
    guard let found = known[decoder.checksum(range)], decoder.holds(found.bytes, at: range) else { return nil }
    return found.number
  }

  /// Two series with the same sum take turns; the database knows both.
  mutating func remember(_ number: Int64, of range: Range<Int>, in decoder: EntryDecoder) {
    if known.count >= SeriesNumbers.limit { known.removeAll(keepingCapacity: true) }
    known[decoder.checksum(range)] = (decoder.bytes(range), number)
  }

  mutating func forget() { known.removeAll() }
}
