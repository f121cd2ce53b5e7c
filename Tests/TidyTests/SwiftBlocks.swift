// Reads a Swift file as blocks: which statement opened a pair of braces, what stands in it, and which blocks lie inside.
//
// This is no parser of Swift. It knows the statements that decide whether code runs (if, guard, loops, switch, do, functions) and takes all
// other braces for closures. That is enough for the questions that SwiftTestChecker asks, and it needs no package.

/// A word, a run of operator characters or one other character of the code, and where it stands.
struct SwiftToken {
  let text: String
  /// From 0, as in `SwiftText.lines`.
  let line: Int
  /// The first byte's place in its line.
  let column: Int
}

/// What stands between two braces, or in the whole file.
final class SwiftBlock {
  enum Kind: Equatable {
    case file, type, closure, branch, otherBranch, lastBranch, guardElse, choice, attempt, rescue
    /// `runs`: true where what is walked cannot be empty.
    case loop(runs: Bool)
    case function(name: String, isTest: Bool)
  }

  let kind: Kind
  /// Of the statement that opened the block.
  let line: Int
  /// What stands in the block itself; `children` stand where their index says.
  fileprivate(set) var tokens: [SwiftToken] = []
  fileprivate(set) var children: [SwiftBlock] = []

  init(_ kind: Kind, line: Int) {
    self.kind = kind
    self.line = line
  }

  /// This block and all inside of it, outermost first.
  var all: [SwiftBlock] { [self] + children.flatMap(\.all) }

  /// The functions of a file, those within others too.
  var functions: [(name: String, isTest: Bool, body: SwiftBlock)] {
    all.compactMap { block in
      if case .function(let name, let isTest) = block.kind { (name, isTest, block) } else { nil }
    }
  }

  /// The blocks of the function itself: those of functions inside of it are theirs.
  var own: [SwiftBlock] {
    [self]
      + children.flatMap { child -> [SwiftBlock] in if case .function = child.kind { [] } else { child.own } }
  }
}

/// Makes blocks of tokens. Promises: each token is in one block; braces that do not match end the reading without a trap.
struct SwiftBlockReader {
  private let tokens: [SwiftToken]
  private var position = 0

  static func read(_ text: SwiftText) -> SwiftBlock {
    var reader = SwiftBlockReader(tokens: SwiftBlockReader.tokens(of: text))
    let file = SwiftBlock(.file, line: 0)
    reader.fill(file)
    return file
  }

  private init(tokens: [SwiftToken]) { self.tokens = tokens }

  static func tokens(of text: SwiftText) -> [SwiftToken] {
    var tokens: [SwiftToken] = []
    for (number, line) in text.lines.enumerated() where !line.isBlank {
      let bytes = Array(line.code.utf8)
      var index = 0
      while index < bytes.count {
        let start = index
        let kind = Sort.all[Int(bytes[index])]
        index += 1
        if kind == .blank { continue }
        if kind == .other, bytes[start] == UInt8(ascii: "."), index < bytes.count, bytes[index] == bytes[start] {
          // A range's sign, and not two members' dots.
          while index < bytes.count, [UInt8(ascii: "."), UInt8(ascii: "<")].contains(bytes[index]) { index += 1 }
        } else {
          while index < bytes.count, kind.goesOn(with: Sort.all[Int(bytes[index])]) { index += 1 }
        }
        tokens.append(
          SwiftToken(text: String(decoding: bytes[start..<index], as: UTF8.self), line: number, column: start))
      }
    }
    return tokens
  }

  private enum Sort {
    case word, mark, sign, other, blank
    init(_ byte: UInt8) {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), 0x80...:
        self = .word
      case UInt8(ascii: "#"), UInt8(ascii: "@"): self = .mark
      case UInt8(ascii: " "), 9...13: self = .blank
      default: self = "=<>!&|+-*/%^~?".utf8.contains(byte) ? .sign : .other
      }
    }
    /// By byte: each byte of the sources is asked for.
    static let all = (0...255).map { Sort(UInt8($0)) }
    func goesOn(with next: Sort) -> Bool {
      switch self {
      case .word, .mark: next == .word
      case .sign: next == .sign
      case .other, .blank: false
      }
    }
  }

  /// A statement whose block has not been opened yet.
  private struct Opening {
    var kind: SwiftBlock.Kind
    let start: Int
  }

  /// Reads to the end of `block`.
  private mutating func fill(_ block: SwiftBlock) {
    var depth = 0
    var opening: Opening?
    var isTest = false
    while position < tokens.count {
      let token = tokens[position]
      position += 1
      switch token.text {
      case "(", "[": depth += 1
      case ")", "]": depth -= 1
      case "}": return
      case "{":
        let statement = depth == 0 ? opening : nil
        if statement != nil { opening = nil }
        let child = SwiftBlock(
          statement.map { kind(of: $0, in: block) } ?? .closure,
          line: statement.map { tokens[$0.start].line } ?? token.line)
        block.children.append(child)
        fill(child)
        continue
      case "@Test": isTest = true
      default:
        if depth == 0, let kind = opened(by: token.text, after: opening?.kind, isTest: isTest) {
          // `else` goes on with the guard that it belongs to, `if` with its `else`.
          if case .function = kind { isTest = false }
          opening = Opening(
            kind: kind, start: opening.map { kind == .guardElse ? $0.start : position - 1 } ?? position - 1)
        }
      }
      block.tokens.append(token)
    }
  }

  private func opened(by word: String, after opening: SwiftBlock.Kind?, isTest: Bool) -> SwiftBlock.Kind? {
    if case .function = opening { return nil }
    let before = position >= 2 ? tokens[position - 2].text : ""
    let next = position < tokens.count ? tokens[position].text : ""
    if before == "." || next == ":" { return nil }
    switch word {
    case "if": return opening == .lastBranch ? .otherBranch : .branch
    case "else": return opening == .guardElse ? .guardElse : .lastBranch
    case "guard": return .guardElse
    case "for": return .loop(runs: false)
    case "while": return before == "}" && isEndOfRepeat ? nil : .loop(runs: false)
    case "repeat": return .loop(runs: true)
    case "switch": return .choice
    case "do": return .attempt
    case "catch": return .rescue
    case "struct", "class", "enum", "protocol", "extension", "actor": return .type
    case "func": return .function(name: next, isTest: isTest)
    default: return nil
    }
  }

  /// A `while` right behind a block is the end of a `repeat`, unless it begins a line.
  private var isEndOfRepeat: Bool { tokens[position - 1].line == tokens[position - 2].line }

  private func kind(of opening: Opening, in block: SwiftBlock) -> SwiftBlock.Kind {
    guard case .loop(runs: false) = opening.kind, tokens[opening.start].text == "for" else { return opening.kind }
    let header = tokens[opening.start..<(position - 1)]
    guard let within = header.firstIndex(where: { $0.text == "in" }) else { return opening.kind }
    return .loop(runs: isNeverEmpty(header[(within + 1)...]))
  }

  /// True where the tokens are a list with something in it, a range that has at least one number, all cases of an enum, or a name that
  /// the file gives to such a list.
  private func isNeverEmpty(_ walked: ArraySlice<SwiftToken>) -> Bool {
    guard let first = walked.first, !walked.contains(where: { $0.text == "where" }) else { return false }
    if first.text == "[" { return opensAList(at: walked.startIndex) }
    if first.text == "zip" || first.text == "(" { return isNeverEmpty(walked.dropFirst(first.text == "zip" ? 2 : 1)) }
    // A closed range that would be empty traps.
    if walked.contains(where: { $0.text == "..." }) { return true }
    if let sign = walked.firstIndex(where: { $0.text == "..<" }) {
      return isNumber(walked[..<sign].last { $0.text != ")" }) && isNumber(walked[(sign + 1)...].first)
    }
    if first.text == "stride" || walked.suffix(3).contains(where: { $0.text == "allCases" }) { return true }
    let isMember =
      walked.count > 2 && first.text.first?.isUppercase == true && walked[walked.startIndex + 1].text == "."
    return isListed(isMember ? walked[walked.startIndex + 2].text : first.text)
  }

  private func isNumber(_ token: SwiftToken?) -> Bool { token?.text.first?.isNumber == true }

  /// `let name = [`, or with its type between, and something in the brackets; or a function that is nothing but such a list.
  private func isListed(_ name: String) -> Bool {
    tokens.indices.dropLast(3).contains { index in
      if tokens[index].text == "func", tokens[index + 1].text == name {
        guard let body = tokens[(index + 2)...].firstIndex(where: { $0.text == "{" }), body + 1 < tokens.count else {
          return false
        }
        return tokens[body + 1].text == "[" && opensAList(at: body + 1)
      }
      guard ["let", "var"].contains(tokens[index].text), tokens[index + 1].text == name else { return false }
      guard let equals = tokens[(index + 2)...].prefix(60).firstIndex(where: { $0.text == "=" }) else { return false }
      guard equals + 1 < tokens.count, tokens[index].line == tokens[equals].line else { return false }
      return tokens[equals + 1].text == "[" && opensAList(at: equals + 1)
    }
  }

  /// Text in quotes is blank here, so that something stands in brackets where their places are apart.
  private func opensAList(at index: Int) -> Bool {
    guard index + 1 < tokens.count else { return false }
    let (open, next) = (tokens[index], tokens[index + 1])
    return next.text != "]" || next.line != open.line || next.column > open.column + 1
  }
}
