// Holds the glossary to the sources: what it names is there, no word is explained twice, and what it forbids is said nowhere.

struct GlossaryChecker {
  private let page: ProjectFile
  private let terms: [Row]
  private let forbidden: [Row]

  private struct Row {
    /// From 1.
    let line: Int
    let cells: [Substring]
  }

  init(_ page: ProjectFile) {
    self.page = page
    var (terms, forbidden): ([Row], [Row]) = ([], [])
    var isOfTerms: Bool?
    for (index, line) in page.lines.enumerated() {
      guard line.hasPrefix("|") else {
        isOfTerms = nil
        continue
      }
      let cells = line.dropFirst().split(separator: "|", omittingEmptySubsequences: false).dropLast().map { $0.trimmed }
      switch cells.first {
      case "word": isOfTerms = true
      case "not": isOfTerms = false
      case .some(let cell) where !cell.hasPrefix("---"):
        if isOfTerms == true { terms.append(Row(line: index + 1, cells: cells)) }
        if isOfTerms == false { forbidden.append(Row(line: index + 1, cells: cells)) }
      default: break
      }
    }
    (self.terms, self.forbidden) = (terms, forbidden)
  }

  var countOfTerms: Int { terms.count }
  var countOfForbidden: Int { forbidden.count }

  /// What is wrong with the page itself.
  func findings(declared: HopChecker, strings: StringsOfSources) -> [Finding] {
    var words: Set<Substring> = []
    return terms.flatMap { row -> [Finding] in
      guard row.cells.count == 4, !row.cells[1].isEmpty else {
        return [finding(row, "a row has four cells, and says what the word means")]
      }
      let twice = row.cells[0].split(separator: ",").map(\.trimmed).filter { !words.insert($0).inserted }
      let undeclared = names(row.cells[2]).filter { !declared.declares($0) }
      let unsaid = names(row.cells[3]).filter { !strings.have($0) }
      return twice.map { finding(row, "\($0) has a row already") }
        + undeclared.map { finding(row, "there is no \($0) in Sources") }
        + unsaid.map { finding(row, "no string of Sources has \($0)") }
    }
  }

  /// Where one of the forbidden words stands in `file`, in code, comments or text.
  func findings(in file: ProjectFile) -> [Finding] {
    let text = file.text.lowercased()
    return forbidden.flatMap { row -> [Finding] in
      guard row.cells.count == 2 else { return [] }
      return row.cells[0].split(separator: ",").map(\.trimmed).flatMap { word -> [Finding] in
        // A name in the code is itself in one spelling only; a word is itself in any.
        let isCode = word.hasPrefix("`")
        let ban = Ban(isCode ? String(word.filter { $0 != "`" }) : word.lowercased(), use: String(row.cells[1]))
        guard (isCode ? file.text : text).contains(ban.token) else { return [] }
        return file.lines.enumerated().compactMap { index, line in
          guard ban.occurs(in: Array((isCode ? String(line) : line.lowercased()).utf8)) else { return nil }
          return .banned("\u{201C}\(ban.token)\u{201D}", use: ban.use, path: file.path, line: index + 1)
        }
      }
    }
  }

  private func finding(_ row: Row, _ message: String) -> Finding {
    Finding(path: page.path, line: row.line, message: message)
  }

  /// What stands in backquotes.
  private func names(_ cell: Substring) -> [Substring] {
    cell.split(separator: "`", omittingEmptySubsequences: false).enumerated().filter { $0.offset % 2 == 1 }.map(
      \.element)
  }
}

/// The words that stand in the strings of the sources.
struct StringsOfSources {
  private var words: Set<String> = []

  init(_ files: [ProjectFile]) {
    for file in files {
      for line in file.lines where line.contains("\"") {
        for part in line.split(separator: "\"", omittingEmptySubsequences: false).dropFirst() {
          let isPart = { (character: Character) in
            character.isLetter || character.isNumber || character == "_" || character == "-"
          }
          words.formUnion(part.split { !isPart($0) }.map(String.init))
        }
      }
    }
  }

  func have(_ word: Substring) -> Bool { words.contains(String(word)) }
}

/// Types of one name: only what the glossary says may be there twice.
enum TypeNames {
  static let twice: Set<String> = ["Lease", "Route"]

  static func findings(in sources: [ProjectFile]) -> [Finding] {
    var first: [String: String] = [:]
    return sources.flatMap { file in
      file.lines.enumerated().compactMap { index, line -> Finding? in
        guard let name = declared(in: line), !twice.contains(name) else { return nil }
        guard let other = first.updateValue(file.path, forKey: name) else { return nil }
        return Finding(path: file.path, line: index + 1, message: "\(other) has a type \(name) too: one name, one type")
      }
    }
  }

  /// The name of the type that a line at the margin declares for others to use.
  static func declared(in line: Substring) -> String? {
    // Most lines are indented.
    guard let first = line.utf8.first, Ban.isWord(first) else { return nil }
    let words = line.words
    guard
      let keyword = words.firstIndex(where: {
        ["class", "struct", "enum", "protocol", "actor", "typealias"].contains($0)
      }),
      words[..<keyword].allSatisfy({ ["public", "package", "internal", "final", "indirect"].contains($0) }),
      keyword + 1 < words.count
    else { return nil }
    return String(words[keyword + 1])
  }
}

extension Substring {
  var trimmed: Substring {
    let start = drop(while: \.isWhitespace)
    return start.lastIndex { !$0.isWhitespace }.map { start[...$0] } ?? start
  }
}
