// Splits Swift source into code and comments, line by line, so that a ban on a word does not fire on prose or on a string.
// Promises: one entry per line of the file; comments and the contents of string literals are blanked out of `code`, while code
// inside a string's interpolation stays. Nested block comments, raw strings and multi-line strings are understood; regex
// literals are not, as the project writes none.

struct SwiftText {
  struct Line: Equatable {
    /// The line with comments and string contents replaced by spaces.
    var code = ""
    /// What the comments on this line say, without their marks.
    var comment = ""
    var isBlank: Bool { code.allSatisfy(\.isWhitespace) }
  }

  let lines: [Line]

  init(_ text: String) {
    var scanner = Scanner(characters: Array(text))
    lines = scanner.scan()
  }
}

private struct Scanner {
  private enum State {
    /// `parentheses` is the depth inside an interpolation, and is of no interest at the outermost level.
    case code(parentheses: Int)
    case string(hashes: Int, multiline: Bool)
  }

  let characters: [Character]
  private var position = 0
  private var states: [State] = [.code(parentheses: 0)]
  private var line = SwiftText.Line()
  private var lines: [SwiftText.Line] = []

  init(characters: [Character]) { self.characters = characters }

  mutating func scan() -> [SwiftText.Line] {
    while position < characters.count {
      switch states[states.count - 1] {
      case .code(let parentheses): scanCode(parentheses: parentheses)
      case .string(let hashes, let multiline): scanString(hashes: hashes, multiline: multiline)
      }
    }
    lines.append(line)
    if characters.last == "\n" { lines.removeLast() }
    return lines
  }

  private func matches(_ text: String, at offset: Int = 0) -> Bool {
    var index = position + offset
    for character in text {
      guard index < characters.count, characters[index] == character else { return false }
      index += 1
    }
    return true
  }

  private mutating func takeCode(_ count: Int = 1) {
    for _ in 0..<count where position < characters.count {
      let character = characters[position]
      position += 1
      if character == "\n" { endLine() } else { line.code.append(character) }
    }
  }

  private mutating func takeBlank(_ count: Int = 1) {
    for _ in 0..<count where position < characters.count {
      let character = characters[position]
      position += 1
      if character == "\n" { endLine() } else { line.code.append(" ") }
    }
  }

  private mutating func endLine() {
    lines.append(line)
    line = SwiftText.Line()
  }

  private mutating func scanCode(parentheses: Int) {
    if matches("//") {
      while position < characters.count, characters[position] != "\n" {
        line.comment.append(characters[position])
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
    while position + hashes < characters.count, characters[position + hashes] == "#" { hashes += 1 }
    guard matches("\"", at: hashes) else { return nil }
    return (hashes, matches("\"\"\"", at: hashes))
  }

  private mutating func scanString(hashes: Int, multiline: Bool) {
    let marks = String(repeating: "#", count: hashes)
    let end = (multiline ? "\"\"\"" : "\"") + marks
    if matches("\\" + marks + "(") {
      takeBlank(1 + hashes)
      states.append(.code(parentheses: 0))
    } else if matches("\\" + marks) {
      takeBlank(2 + hashes)
    } else if matches(end) {
      takeBlank(end.count)
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
        if characters[position] == "\n" { endLine() } else { line.comment.append(characters[position]) }
        position += 1
      }
    } while depth > 0 && position < characters.count
  }
}
