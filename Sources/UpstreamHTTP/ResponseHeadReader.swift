// Makes a ResponseHead of the header lines that libcurl hands over one by one. Names, values and their order stay
// as sent.
//
// Promises: informational answers (1xx) and trailers never show; the bytes kept are bounded; a line that is no header
// field makes the whole answer malformed instead of being guessed at.
import HTTPMessage

struct ResponseHeadReader {
  enum Step: Equatable {
    case more
    /// The head is complete: `makeHead` gives it.
    case complete
    /// Not a head that we pass on; the text says why and holds nothing of the line.
    case malformed(String)
  }

  private enum Phase {
    case statusLine, fields, complete
  }

  private(set) var status = 0
  /// Of `HTTP/1.x`; -1 for any other version.
  private(set) var minorVersion = -1
  private var fields = HeaderFields()
  private var phase = Phase.statusLine
  private var seenBytes = 0

  /// True once any byte of an answer came.
  var hasBegun: Bool { seenBytes > 0 }
  var isComplete: Bool { phase == .complete }

  /// Ready for another call's answer.
  mutating func reset() {
    status = 0
    fields = HeaderFields()
    phase = .statusLine
    seenBytes = 0
  }

  /// The complete head; the reader's own fields are empty afterwards.
  mutating func makeHead() -> ResponseHead {
    let head = ResponseHead(status: status, fields: fields)
    fields = HeaderFields()
    return head
  }

  /// Takes one line with its line end.
  mutating func take(_ bytes: UnsafeBufferPointer<UInt8>, limit: Int) -> Step {
    // What comes after the head is trailers.
    if phase == .complete { return .more }
    seenBytes += bytes.count
    guard seenBytes <= limit else { return .malformed("the header lines are longer than \(limit) bytes") }
    var end = bytes.count
    while end > 0, bytes[end - 1] == UInt8(ascii: "\n") || bytes[end - 1] == UInt8(ascii: "\r") { end -= 1 }
    if phase == .statusLine { return takeStatusLine(bytes, end) }
    if end == 0 { return endHead() }
    return takeField(bytes, end)
  }

  private mutating func takeStatusLine(_ bytes: UnsafeBufferPointer<UInt8>, _ end: Int) -> Step {
    // `HTTP/1.1 200 OK`, `HTTP/2 200`
    guard end >= 8, bytes[0] == 0x48, bytes[1] == 0x54, bytes[2] == 0x54, bytes[3] == 0x50, bytes[4] == 0x2F else {
      return .malformed("the answer is not HTTP")
    }
    let isOne = bytes[5] == UInt8(ascii: "1") && bytes[6] == UInt8(ascii: ".")
    let minor = Int(bytes[7]) - 0x30
    minorVersion = isOne && (minor == 0 || minor == 1) ? minor : -1
    var at = 5
    while at < end, bytes[at] != UInt8(ascii: " ") { at += 1 }
    while at < end, bytes[at] == UInt8(ascii: " ") { at += 1 }
    guard at + 3 <= end, at + 3 == end || bytes[at + 3] == UInt8(ascii: " ") else {
      return .malformed("the status line has no three-digit status")
    }
    var value = 0
    for digit in bytes[at..<at + 3] {
      guard digit >= 0x30, digit <= 0x39 else { return .malformed("the status line has no three-digit status") }
      value = value * 10 + Int(digit - 0x30)
    }
    guard value >= 100, value <= 599 else { return .malformed("the status is outside 100 to 599") }
    guard value != 101 else { return .malformed("101 came without having been asked for") }
    status = value
    fields = value < 200 ? HeaderFields() : HeaderFields(reservingBytes: 512, fields: 16)
    phase = .fields
    return .more
  }

  private mutating func endHead() -> Step {
    if status < 200 {
      phase = .statusLine
      return .more
    }
    phase = .complete
    return .complete
  }

  private mutating func takeField(_ bytes: UnsafeBufferPointer<UInt8>, _ end: Int) -> Step {
    if isBlank(bytes[0]) { return .malformed("a header field is folded over lines") }
    var colon = 0
    while colon < end, bytes[colon] != UInt8(ascii: ":") { colon += 1 }
    guard colon > 0, colon < end else { return .malformed("a header line has no name") }
    guard !isBlank(bytes[colon - 1]) else { return .malformed("blanks stand before a header line's colon") }
    var start = colon + 1
    var stop = end
    while start < stop, isBlank(bytes[start]) { start += 1 }
    while stop > start, isBlank(bytes[stop - 1]) { stop -= 1 }
    fields.append(
      name: UnsafeBufferPointer(rebasing: bytes[..<colon]), value: UnsafeBufferPointer(rebasing: bytes[start..<stop]))
    return .more
  }

  private func isBlank(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }
}
