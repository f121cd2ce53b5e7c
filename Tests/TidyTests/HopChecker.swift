// Checks that what the documentation names as `Type.member` in the tables of a page is there in the sources.
//
// A member counts for every type that its file declares or extends: that finds what was renamed, moved or taken away, without a
// parser. Names without a dot, and those that begin with a small letter, are not looked at.

struct HopChecker {
  /// By type, what the files that declare or extend it declare in all.
  private let members: [String: Set<String>]
  private static let types: Set<Substring> = ["class", "struct", "enum", "protocol", "extension", "typealias"]
  private static let declarations: Set<Substring> = ["func", "var", "let", "case", "init"]

  /// - Parameter sources: files in Swift, tests aside.
  init(sources: [ProjectFile]) {
    var members: [String: Set<String>] = [:]
    for file in sources {
      var types: Set<String> = []
      var names: Set<String> = []
      for line in file.swift.lines {
        let words = line.code.words
        for (index, word) in words.enumerated() {
          if word == "init" { names.insert("init") }
          guard index + 1 < words.count else { continue }
          if Self.types.contains(word) {
            types.insert(String(words[index + 1]))
            names.insert(String(words[index + 1]))
          }
          if Self.declarations.contains(word) { names.insert(String(words[index + 1])) }
        }
      }
      for type in types { members[type, default: []].formUnion(names) }
    }
    self.members = members
  }

  /// The names in a page's tables, with the line of each.
  static func hops(of page: ProjectFile) -> [(line: Int, type: String, member: String)] {
    page.lines.enumerated().filter { $0.element.hasPrefix("|") }.flatMap { index, line in
      line.split(separator: "`", omittingEmptySubsequences: false).enumerated().filter { $0.offset % 2 == 1 }
        .compactMap { _, name -> (line: Int, type: String, member: String)? in
          let parts = name.split(separator: ".", omittingEmptySubsequences: false)
          guard parts.count == 2, parts[0].first?.isUppercase == true else { return nil }
          return (index + 1, String(parts[0]), String(parts[1]))
        }
    }
  }

  /// True for a `Type`, and for a `Type.member`, that is there.
  func declares(_ name: Substring) -> Bool {
    let parts = name.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
    guard let known = members[parts[0]] else { return false }
    return parts.count == 1 || (parts.count == 2 && known.contains(parts[1]))
  }

  func findings(in page: ProjectFile) -> [Finding] {
    HopChecker.hops(of: page).compactMap { line, type, member in
      guard let known = members[type] else {
        return Finding(path: page.path, line: line, message: "there is no type \(type) in Sources")
      }
      if known.contains(member) { return nil }
      return Finding(path: page.path, line: line, message: "\(type) has no \(member) in Sources")
    }
  }
}
