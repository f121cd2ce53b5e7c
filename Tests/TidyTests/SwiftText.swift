// Splits Swift source into code and comments, line by line, so that a ban on a word does not fire on prose or on a string.
// Promises: one entry per line of the file; comments and the contents of string literals are blanked out of `code`, while code
// inside a string's interpolation stays. Nested block comments, raw strings and multi-line strings are understood; regex
// literals are not, as the project writes none.

struct SwiftText: Sendable {
  struct Line: Equatable, Sendable {
    /// The line with comments and string contents replaced by spaces, one for each byte.
    var code = ""
    /// What the comments on this line say, without their marks.
    var comment = ""
    /// Without code.
    var isBlank = true
  }

  let lines: [Line]

  init(lines: [Line]) { self.lines = lines }

  init(_ text: String) {
    var scanner = Scanner(bytes: Array(text.utf8))
    lines = scanner.scan()
  }

  /// A comment on the line, right above it, or, where the line opens a block, right below it.
  func hasReason(at index: Int) -> Bool {
    let isProse = { (line: SwiftText.Line) in line.comment.filter(\.isLetter).count >= 10 }
    if isProse(lines[index]) { return true }
    let below = index + 1
    if lines[index].code.last(where: { !$0.isWhitespace }) == "{", below < lines.count,
      lines[below].isBlank, isProse(lines[below])
    {
      return true
    }
    return index > 0 && lines[index - 1].isBlank && isProse(lines[index - 1])
  }
}

private struct Scanner {
  private enum State {
    /// `parentheses` is the depth inside an interpolation, and is of no interest at the outermost level.
    case code(parentheses: Int)
    case string(hashes: Int, multiline: Bool)
  }

  let bytes: [UInt8]
  private var position = 0
  private var code: [UInt8] = []
  private var comment: [UInt8] = []
  private var states: [State] = [.code(parentheses: 0)]
  private var lines: [SwiftText.Line] = []

  init(bytes: [UInt8]) { self.bytes = bytes }

  mutating func scan() -> [SwiftText.Line] {
    while position < bytes.count {
      switch states[states.count - 1] {
      case .code(let parentheses): scanCode(parentheses: parentheses)
      case .string(let hashes, let multiline): scanString(hashes: hashes, multiline: multiline)
      }
    }
    endLine()
    if bytes.last == UInt8(ascii: "\n") { lines.removeLast() }
    return lines
  }

  private func matches(_ text: StaticString, at offset: Int = 0) -> Bool {
    let start = position + offset
    guard start + text.utf8CodeUnitCount <= bytes.count else { return false }
    for index in 0..<text.utf8CodeUnitCount where bytes[start + index] != text.utf8Start[index] { return false }
    return true
  }

  /// True where so many number signs follow at `offset`.
  private func hasHashes(_ count: Int, at offset: Int) -> Bool {
    let start = position + offset
    guard start + count <= bytes.count else { return false }
    for index in 0..<count where bytes[start + index] != UInt8(ascii: "#") { return false }
    return true
  }

  private mutating func takeCode() {
    let byte = bytes[position]
    position += 1
    if byte == UInt8(ascii: "\n") { endLine() } else { code.append(byte) }
  }

  /// Takes all bytes up to the next one that may mean something here: most of a file is such a run.
  private mutating func takeRun(endingAt marks: [Bool], blank: Bool) {
    let start = position
    while position < bytes.count, !marks[Int(bytes[position])] { position += 1 }
    if blank {
      code.append(contentsOf: repeatElement(UInt8(ascii: " "), count: position - start))
    } else {
      code.append(contentsOf: bytes[start..<position])
    }
  }

  private static func marks(_ text: String) -> [Bool] {
    var marks = [Bool](repeating: false, count: 256)
    for byte in text.utf8 { marks[Int(byte)] = true }
    return marks
  }
  private static let marksOfCode = marks("/\"#()\n")
  private static let marksOfStrings = marks("\\\"\n")

  private mutating func takeBlank(_ count: Int = 1) {
    for _ in 0..<count where position < bytes.count {
      let byte = bytes[position]
      position += 1
      if byte == UInt8(ascii: "\n") { endLine() } else { code.append(UInt8(ascii: " ")) }
    }
  }

  private mutating func endLine() {
    let isBlank = !code.contains { $0 != UInt8(ascii: " ") && !(9...13).contains($0) }
    lines.append(
      SwiftText.Line(
        code: String(decoding: code, as: UTF8.self), comment: String(decoding: comment, as: UTF8.self), isBlank: isBlank
      )
    )
    code.removeAll(keepingCapacity: true)
    comment.removeAll(keepingCapacity: true)
  }

  private mutating func scanCode(parentheses: Int) {
    if !Self.marksOfCode[Int(bytes[position])] {
      takeRun(endingAt: Self.marksOfCode, blank: false)
    } else if matches("//") {
      while position < bytes.count, bytes[position] != UInt8(ascii: "\n") {
        comment.append(bytes[position])
        position += 1
      }
    } else if matches("/*") {
      scanBlockComment()
    } else if let (hashes, multiline) = stringOpening() {
      takeBlank(hashes + (multiline ? 3 : 1))
      states.append(.string(hashes: hashes, multiline: multiline))
    } else if states.count > 1, matches("(") {
      states[states.count - 1] = .code(parentheses: parentheses + 1)
      takeCode()
    } else if states.count > 1, matches(")") {
      if parentheses == 1 {
        states.removeLast()
      } else {
        states[states.count - 1] = .code(parentheses: parentheses - 1)
      }
      takeCode()
    } else {
      takeCode()
    }
  }

  private func stringOpening() -> (hashes: Int, multiline: Bool)? {
    var hashes = 0
    while position + hashes < bytes.count, bytes[position + hashes] == UInt8(ascii: "#") { hashes += 1 }
    guard matches("\"", at: hashes) else { return nil }
    return (hashes, matches("\"\"\"", at: hashes))
  }

  private mutating func scanString(hashes: Int, multiline: Bool) {
    let quotes = multiline ? 3 : 1
    if !Self.marksOfStrings[Int(bytes[position])] {
      takeRun(endingAt: Self.marksOfStrings, blank: true)
    } else if matches("\\"), hasHashes(hashes, at: 1) {
      if matches("(", at: 1 + hashes) {
        takeBlank(1 + hashes)
        states.append(.code(parentheses: 0))
      } else {
        takeBlank(2 + hashes)
      }
    } else if multiline ? matches("\"\"\"") : matches("\""), hasHashes(hashes, at: quotes) {
      takeBlank(quotes + hashes)
      states.removeLast()
    } else if !multiline, matches("\n") {
      states.removeLast()
    } else {
      takeBlank()
    }
  }

  private mutating func scanBlockComment() {
    var depth = 0
    repeat {
      if matches("/*") {
        depth += 1
        position += 2
      } else if matches("*/") {
        depth -= 1
        position += 2
      } else {
        if bytes[position] == UInt8(ascii: "\n") { endLine() } else { comment.append(bytes[position]) }
        position += 1
      }
    } while depth > 0 && position < bytes.count
  }
}
