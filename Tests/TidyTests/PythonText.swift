// Reads a Python file as statements and the blocks that they open, so that a check can ask what runs for sure.
//
// Comments are kept apart and the contents of strings are blank, one space for each byte. Lines that brackets or a backslash hold together
// are one statement.

/// A statement with what is indented below it.
final class PythonStatement {
  /// Without its comments, strings blank, ends of lines as spaces.
  let code: String
  /// From 0; the first of the statement.
  let line: Int
  fileprivate let indent: Int
  /// What stands in comments on its lines or right above it.
  fileprivate(set) var comment: String
  let words: [Substring]
  /// `if`, `for`, `def` ...; `async` is passed over.
  let keyword: Substring
  /// The function's or class's name.
  let name: String?
  /// What it calls, without the dots before.
  let calls: Set<String>
  fileprivate(set) var body: [PythonStatement] = []

  fileprivate init(code: String, line: Int, indent: Int, comment: String) {
    self.code = code
    self.line = line
    self.indent = indent
    self.comment = comment
    words = code.words
    let told = words.drop { $0 == "async" }
    keyword = told.first ?? ""
    name = keyword == "def" || keyword == "class" ? told.dropFirst().first.map(String.init) : nil
    let bytes = code.utf8
    calls = Set(
      words.filter { $0.endIndex < bytes.endIndex && bytes[$0.endIndex] == UInt8(ascii: "(") }.map(String.init))
  }

  var hasReason: Bool { comment.filter(\.isLetter).count >= 10 }
  /// This statement and all below it, first line first.
  var all: [PythonStatement] { [self] + body.flatMap(\.all) }
  /// The same without what functions inside of it hold.
  var own: [PythonStatement] { [self] + body.filter { $0.keyword != "def" }.flatMap(\.own) }
}

struct PythonText {
  /// The statements that stand at the margin.
  let statements: [PythonStatement]

  init(_ text: String) {
    var reader = PythonReader(bytes: Array(text.utf8))
    let root = PythonStatement(code: "", line: 0, indent: -1, comment: "")
    var open = [root]
    for statement in reader.statements() {
      while open.count > 1, open[open.count - 1].indent >= statement.indent { open.removeLast() }
      open[open.count - 1].body.append(statement)
      open.append(statement)
      // `if x: return` holds its body on its own line.
      if let inline = PythonText.inline(in: statement) { statement.body.append(inline) }
    }
    statements = root.body
  }

  private static let openers: Set<Substring> = [
    "if", "elif", "else", "for", "while", "with", "try", "except", "finally", "def", "class",
  ]

  private static func inline(in statement: PythonStatement) -> PythonStatement? {
    guard openers.contains(statement.keyword) else { return nil }
    var depth = 0
    let code = Array(statement.code)
    for (index, character) in code.enumerated() {
      if "([{".contains(character) { depth += 1 }
      if ")]}".contains(character) { depth -= 1 }
      guard depth == 0, character == ":", index + 1 < code.count, code[index + 1] != "=" else { continue }
      let rest = String(code[(index + 1)...]).drop(while: \.isWhitespace)
      if rest.isEmpty { return nil }
      return PythonStatement(
        code: String(rest), line: statement.line, indent: statement.indent + 1, comment: statement.comment)
    }
    return nil
  }
}

private struct PythonReader {
  let bytes: [UInt8]
  private var position = 0
  private var line = 0

  init(bytes: [UInt8]) { self.bytes = bytes }

  mutating func statements() -> [PythonStatement] {
    var found: [PythonStatement] = []
    var above = ""
    while position < bytes.count {
      let start = line
      let (code, comment) = statement()
      let text = code.drop(while: \.isWhitespace)
      if text.isEmpty {
        // A comment of its own belongs to what follows it at once.
        above = comment
        continue
      }
      let trimmed = String(text.reversed().drop(while: \.isWhitespace).reversed())
      found.append(
        PythonStatement(code: trimmed, line: start, indent: code.count - text.count, comment: above + comment))
      above = ""
    }
    return found
  }

  /// To the end of the line at which no bracket is open.
  private mutating func statement() -> (code: String, comment: String) {
    var (code, comment): ([UInt8], [UInt8]) = ([], [])
    var depth = 0
    while position < bytes.count {
      let byte = bytes[position]
      switch byte {
      case UInt8(ascii: "#"):
        while position < bytes.count, bytes[position] != UInt8(ascii: "\n") {
          comment.append(bytes[position])
          position += 1
        }
      case UInt8(ascii: "\""), UInt8(ascii: "'"): string(into: &code)
      case UInt8(ascii: "\n"):
        position += 1
        line += 1
        if depth <= 0 { return text(code, comment) }
        code.append(UInt8(ascii: " "))
      case UInt8(ascii: "\\") where position + 1 < bytes.count && bytes[position + 1] == UInt8(ascii: "\n"):
        position += 2
        line += 1
        code.append(UInt8(ascii: " "))
      default:
        if "([{".utf8.contains(byte) { depth += 1 }
        if ")]}".utf8.contains(byte) { depth -= 1 }
        code.append(byte)
        position += 1
      }
    }
    return text(code, comment)
  }

  private func text(_ code: [UInt8], _ comment: [UInt8]) -> (code: String, comment: String) {
    (String(decoding: code, as: UTF8.self), String(decoding: comment, as: UTF8.self))
  }

  private mutating func string(into code: inout [UInt8]) {
    let quote = bytes[position]
    let isLong = position + 2 < bytes.count && bytes[position + 1] == quote && bytes[position + 2] == quote
    let marks = isLong ? 3 : 1
    // The quotes stay, so that a string is not nothing.
    code.append(quote)
    position += marks
    while position < bytes.count {
      let byte = bytes[position]
      if byte == UInt8(ascii: "\\") {
        if position + 1 < bytes.count, bytes[position + 1] == UInt8(ascii: "\n") { line += 1 }
        code.append(UInt8(ascii: " "))
        position += 2
        continue
      }
      if byte == UInt8(ascii: "\n") {
        if !isLong { break }
        line += 1
      }
      let ends = byte == quote && (!isLong || bytes[position...].prefix(3).elementsEqual([quote, quote, quote]))
      if ends {
        position += marks
        break
      }
      code.append(UInt8(ascii: " "))
      position += 1
    }
    code.append(quote)
  }
}
