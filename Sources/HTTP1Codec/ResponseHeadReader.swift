// Makes a ResponseHead of the lines of an answer's head, as a connection or libcurl hands them over one by one. Names, values and their
// order stay as sent.
//
// Promises: informational answers (1xx) and trailers never show; the bytes kept are bounded; a line that is no header
// field makes the whole answer malformed instead of being guessed at.
import HTTPMessage

public struct ResponseHeadReader {
  public enum Step: Equatable, Sendable {
    case more
    /// The head is complete: `makeHead` gives it.
    case complete
    /// Not a head that we pass on; the text says why and holds nothing of the line.
    case malformed(String)
  }

  private enum Phase {
    case statusLine, fields, complete
  }

  private var status = 0
  /// Of `HTTP/1.x`; -1 for any other version.
  private(set) var minorVersion = -1
  private var fields = HeaderFields()
  private var phase = Phase.statusLine
  private var seenBytes = 0

  public init() {}

  /// True once any byte of an answer came.
  public var hasBegun: Bool { seenBytes > 0 }
  public var isComplete: Bool { phase == .complete }

  /// Ready for another call's answer.
  public mutating func reset() {
    status = 0
    fields = HeaderFields()
    phase = .statusLine
    seenBytes = 0
  }

  /// The complete head; the reader's own fields are empty afterwards.
  public mutating func makeHead() -> ResponseHead {
    let head = ResponseHead(status: status, fields: fields)
    fields = HeaderFields()
    return head
  }

  /// Takes one line with its line end.
  /// - Parameter limit: bytes that the heads may have, informational ones and the answer's own together.
  public mutating func take(_ line: ArraySlice<UInt8>, limit: Int) -> Step {
    // What comes after the head is trailers.
    if phase == .complete { return .more }
    seenBytes += line.count
    guard seenBytes <= limit else { return .malformed("the header lines are longer than \(limit) bytes") }
    let bytes = line.span
    var end = bytes.count
    while end > 0, bytes[end - 1] == UInt8(ascii: "\n") || bytes[end - 1] == UInt8(ascii: "\r") { end -= 1 }
    if phase == .statusLine { return takeStatusLine(bytes, end) }
    if end == 0 { return endHead() }
    do throws(FieldLine.Flaw) {
      let field = try FieldLine(bytes, 0..<end, .lenient)
      fields.append(line: line, nameAt: field.name, valueAt: field.value)
      return .more
    } catch { return .malformed(error.reason) }
  }

  private mutating func takeStatusLine(_ bytes: Span<UInt8>, _ end: Int) -> Step {
    // `HTTP/1.1 200 OK`, `HTTP/2 200`
    guard end >= 8, bytes.holds("HTTP/", at: 0..<5) else { return .malformed("the answer is not HTTP") }
    let isOne = bytes.holds("1.", at: 5..<7)
    minorVersion = isOne && bytes[7] == UInt8(ascii: "1") ? 1 : isOne && bytes[7] == UInt8(ascii: "0") ? 0 : -1
    var at = 5
    while at < end, bytes[at] != UInt8(ascii: " ") { at += 1 }
    while at < end, bytes[at] == UInt8(ascii: " ") { at += 1 }
    guard at + 3 <= end, at + 3 == end || bytes[at + 3] == UInt8(ascii: " "),
      let value = ByteSyntax.decimal(bytes, at..<at + 3)
    else { return .malformed("the status line has no three-digit status") }
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
}
