// Makes a ResponseHead from the lines of an answer's head, as a connection or libcurl hands them over one by one.
// Names, values and their order stay as sent.
//
// Promises: informational answers (1xx) and trailers are skipped; the kept bytes are bounded; a line that is no header
// field makes the whole answer malformed, and nothing is guessed.
import HTTPMessage

public struct ResponseHeadReader {
  public enum Step: Equatable, Sendable {
    case more
    /// The head is complete: `makeHead` gives it.
    case complete
    /// The head is invalid and not passed on; the text says why, without quoting the line.
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

  /// True once any byte of an answer has come.
  public var hasBegun: Bool { seenBytes > 0 }
  public var isComplete: Bool { phase == .complete }
  /// True after a status line and before the end of its head.
  var isAmongFields: Bool { phase == .fields }

  /// Prepares for the answer of another call.
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
  /// - Parameter limit: the most bytes of all heads together, informational ones and the answer's own.
  public mutating func take(_ line: ArraySlice<UInt8>, limit: Int) -> Step {
    // Lines after the head are trailers.
    if phase == .complete { return .more }
    switch read(line.span, 0..<line.count, limit: limit) {
    case .status(let status):
      begin(status, HeaderFields(reservingBytes: 512, fields: 16))
      return .more
    case .field(let field):
      let start = line.startIndex
      fields.append(
        nameBytes: line[start + field.name.lowerBound..<start + field.name.upperBound],
        valueBytes: line[start + field.value.lowerBound..<start + field.value.upperBound])
      return .more
    case .end: return endHead()
    case .malformed(let reason): return .malformed(reason)
    }
  }

  /// Takes a complete head, from its first line to the empty one. Its fields refer to `block` and keep it.
  /// - Parameter limit: the most bytes of all heads together, informational ones and the answer's own.
  public mutating func take(whole block: [UInt8], limit: Int) -> Step {
    let bytes = block.span
    var at = 0
    while phase != .complete, let newline = bytes.firstIndex(of: UInt8(ascii: "\n"), from: at) {
      let line = at..<newline + 1
      at = newline + 1
      switch read(bytes, line, limit: limit) {
      case .status(let status): begin(status, HeaderFields(block: block, fields: 16))
      case .field(let field): fields.append(nameAt: field.name, valueAt: field.value)
      case .end: return endHead()
      case .malformed(let reason): return .malformed(reason)
      }
    }
    return .more
  }

  private mutating func begin(_ status: Int, _ fields: HeaderFields) {
    self.status = status
    self.fields = fields
    phase = .fields
  }

  /// What a line says.
  private enum Line {
    case status(Int)
    case field(FieldLine)
    /// The empty line behind the fields.
    case end
    case malformed(String)
  }

  private mutating func read(_ bytes: Span<UInt8>, _ line: Range<Int>, limit: Int) -> Line {
    seenBytes += line.count
    guard seenBytes <= limit else { return .malformed("the header lines are longer than \(limit) bytes") }
    var end = line.upperBound
    while end > line.lowerBound, bytes[end - 1] == UInt8(ascii: "\n") || bytes[end - 1] == UInt8(ascii: "\r") {
      end -= 1
    }
    if phase == .statusLine { return readStatusLine(bytes, line.lowerBound..<end) }
    if end == line.lowerBound { return .end }
    do throws(FieldLine.Flaw) {
      return .field(try FieldLine(bytes, line.lowerBound..<end, .lenient))
    } catch { return .malformed(error.reason) }
  }

  private mutating func readStatusLine(_ bytes: Span<UInt8>, _ line: Range<Int>) -> Line {
    let (start, end) = (line.lowerBound, line.upperBound)
    // `HTTP/1.1 200 OK`, `HTTP/2 200`
    guard line.count >= 8, bytes.holds("HTTP/", at: start..<start + 5) else {
      return .malformed("the answer is not HTTP")
    }
    let isOne = bytes.holds("1.", at: start + 5..<start + 7)
    let minor = bytes[start + 7]
    minorVersion = isOne && minor == UInt8(ascii: "1") ? 1 : isOne && minor == UInt8(ascii: "0") ? 0 : -1
    var at = start + 5
    while at < end, bytes[at] != UInt8(ascii: " ") { at += 1 }
    while at < end, bytes[at] == UInt8(ascii: " ") { at += 1 }
    guard at + 3 <= end, at + 3 == end || bytes[at + 3] == UInt8(ascii: " "),
      let value = ByteSyntax.decimal(bytes, at..<at + 3)
    else { return .malformed("the status line has no three-digit status") }
    guard value >= 100, value <= 599 else { return .malformed("the status is outside 100 to 599") }
    guard value != 101 else { return .malformed("101 came without having been asked for") }
    return .status(value)
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
