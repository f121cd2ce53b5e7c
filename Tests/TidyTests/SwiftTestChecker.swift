// Finds tests in Swift that cannot fail: those that assert nothing, that may pass all of their assertions by, that leave where something
// is missing, or whose assertion is always true.
//
// A reason beside the line lifts a finding where the kind has right uses; an assertion that is always true has none.

struct SwiftTestChecker {
  private let file: ProjectFile
  private let text: SwiftText
  private let root: SwiftBlock
  /// The functions of the tests whose call is an assertion, since they assert.
  private let asserting: AssertingFunctions

  /// - Parameters:
  ///   - root: the file's blocks.
  ///   - asserting: the functions of the file's target whose call asserts.
  init(_ file: ProjectFile, _ root: SwiftBlock, asserting: AssertingFunctions) {
    self.file = file
    self.asserting = asserting
    text = file.swift
    self.root = root
  }

  func findings() -> [Finding] {
    (assertionsThatMayBePassedBy() + departures() + emptyRescues() + foregoneAssertions() + idleTraits())
      .sorted { $0.line < $1.line }
  }

  // MARK: - Tests that assert nothing for sure

  private func assertionsThatMayBePassedBy() -> [Finding] {
    root.functions.filter(\.isTest).compactMap { function in
      let body = function.body
      if runsAnAssertion(body) { return nil }
      if !body.own.contains(where: { asserting.assert(in: $0.tokens) }) {
        return .banned("a test that asserts nothing", use: "#expect", path: file.path, line: body.line + 1)
      }
      if text.hasReason(at: body.line) { return nil }
      return .banned(
        "a test whose assertions all stand under a condition, or in a loop over what may be empty",
        use: "try #require for the condition, or #expect of how many there are", path: file.path, line: body.line + 1)
    }
  }

  /// True where each run of the block comes by an assertion. A closure is taken to run: who hands it over is asked by other means.
  private func runsAnAssertion(_ block: SwiftBlock) -> Bool {
    if asserting.assert(in: block.tokens) { return true }
    var branchesAssert = false
    for child in block.children {
      let asserts = { runsAnAssertion(child) }
      switch child.kind {
      case .closure, .choice, .attempt, .loop(runs: true): if asserts() { return true }
      case .guardElse: if asserts() { return true }
      case .branch: branchesAssert = asserts()
      case .otherBranch: branchesAssert = branchesAssert && asserts()
      case .lastBranch: if branchesAssert && asserts() { return true }
      case .loop(runs: false), .rescue, .function, .type, .file: break
      }
    }
    return false
  }

  // MARK: - Tests that leave

  /// A guard that leaves for nothing, wherever it stands, and one that records an issue and leaves its test: what is missing is required.
  /// In a loop it is looked at where it passes an assertion by.
  private func departures() -> [Finding] {
    let tests = root.functions.filter(\.isTest).flatMap { $0.body.own }
    return root.all.flatMap { block in
      let isInTest = tests.contains { $0 === block }
      return block.children.filter { $0.kind == .guardElse }.compactMap { exit -> Finding? in
        guard let leaving = exit.tokens.indices.first(where: { leaves(exit.tokens, at: $0) }) else { return nil }
        let line = exit.tokens[leaving].line
        if (exit.line...line).contains(where: text.hasReason) { return nil }
        if asserting.assert(in: exit.tokens) {
          if !isInTest { return nil }
          return .banned(
            "a guard that records an issue and leaves", use: "try #require", path: file.path, line: line + 1)
        }
        let passesBy = block.own.contains { asserting.assert(in: $0.tokens.filter { $0.line > line }) }
        if exit.tokens[leaving].text != "return" && !passesBy { return nil }
        return .banned(
          "a guard that leaves a test", use: "try #require, or say beside it why nothing is left to look at",
          path: file.path, line: line + 1)
      }
    }
  }

  private func leaves(_ tokens: [SwiftToken], at index: Int) -> Bool {
    switch tokens[index].text {
    case "return": index + 1 == tokens.count || tokens[index + 1].line > tokens[index].line
    case "continue", "break": true
    default: false
    }
  }

  private func emptyRescues() -> [Finding] {
    root.all.filter { $0.kind == .rescue && $0.tokens.isEmpty && $0.children.isEmpty }.compactMap { block in
      if text.hasReason(at: block.line) { return nil }
      return .banned("a catch that does nothing", use: "#expect(throws:)", path: file.path, line: block.line + 1)
    }
  }

  // MARK: - Assertions that are always true

  private func foregoneAssertions() -> [Finding] {
    root.all.flatMap { block in
      block.tokens.indices.compactMap { index -> Finding? in
        guard ["#expect", "#require"].contains(block.tokens[index].text) else { return nil }
        guard let why = whatIsForegone(condition(in: block.tokens, after: index)) else { return nil }
        return .banned(why, use: "a condition that can be false", path: file.path, line: block.tokens[index].line + 1)
      }
    }
  }

  /// The first argument of the macro at `index`.
  private func condition(in tokens: [SwiftToken], after index: Int) -> ArraySlice<SwiftToken> {
    var depth = 0
    for end in (index + 1)..<max(index + 1, tokens.count) {
      switch tokens[end].text {
      case "(", "[": depth += 1
      case ")", "]": depth -= 1
      default: break
      }
      if depth == 0 || (depth == 1 && tokens[end].text == ",") { return tokens[(index + 2)..<max(index + 2, end)] }
    }
    return []
  }

  private func whatIsForegone(_ condition: ArraySlice<SwiftToken>) -> String? {
    let words = condition.map(\.text)
    if words == ["true"] || words == ["!", "false"] || words == ["Bool", "(", "true", ")"] {
      return "an assertion of true"
    }
    for index in words.indices where words[index] == "||" {
      // A whole side, and not the end of a comparison with true.
      let before = index == 1 || (index > 1 && ["(", "||"].contains(words[index - 2])) ? words[index - 1] : ""
      let next =
        index + 2 == words.count || (index + 2 < words.count && [")", "||"].contains(words[index + 2]))
        ? words[index + 1] : ""
      if before == "true" || next == "true" { return "an assertion of 'or true'" }
    }
    if words.count >= 3, words.suffix(2) == [">=", "0"], words[words.count - 3] == "count" {
      return "an assertion that a count is not negative"
    }
    if isComparedWithItself(condition) { return "an assertion that something equals itself" }
    return nil
  }

  /// Two calls may differ; two names do not.
  private func isComparedWithItself(_ condition: ArraySlice<SwiftToken>) -> Bool {
    guard let equals = condition.firstIndex(where: { $0.text == "==" }), let first = condition.first,
      let last = condition.last,
      !condition.contains(where: { $0.text == "(" || $0.text == "&&" || $0.text == "||" }), first.line == last.line,
      equals > condition.startIndex, equals < condition.endIndex - 1
    else { return false }
    // In the file's own line, since text in quotes is blank in the code.
    let line = Array(file.lines[first.line].utf8)
    let left = line[first.column..<condition[equals - 1].end]
    let right = line[condition[equals + 1].column..<last.end]
    return left.elementsEqual(right)
  }

  // MARK: - Tests that do not run

  private func idleTraits() -> [Finding] {
    root.all.flatMap { block in
      block.tokens.indices.compactMap { index -> Finding? in
        guard ["@Test", "@Suite"].contains(block.tokens[index].text) else { return nil }
        let arguments = arguments(in: block.tokens, at: index)
        let line = block.tokens[index].line
        var depth = 0
        for (token, next) in zip(arguments, arguments.dropFirst()) {
          if ["(", "["].contains(token.text) { depth += 1 }
          if [")", "]"].contains(token.text) { depth -= 1 }
          guard depth == 0, token.text == ".", ["disabled", "enabled"].contains(next.text) else { continue }
          if text.hasReason(at: line) { return nil }
          let use = "a test that runs, or say beside it when it does"
          return .banned("a test that may not run", use: use, path: file.path, line: line + 1)
        }
        return nil
      }
    }
  }

  /// All arguments of the attribute at `index`.
  private func arguments(in tokens: [SwiftToken], at index: Int) -> ArraySlice<SwiftToken> {
    guard index + 1 < tokens.count, tokens[index + 1].text == "(" else { return [] }
    var depth = 0
    for end in (index + 1)..<tokens.count {
      if tokens[end].text == "(" { depth += 1 }
      if tokens[end].text == ")" { depth -= 1 }
      if depth == 0 { return tokens[(index + 2)..<max(index + 2, end)] }
    }
    return []
  }
}

extension SwiftToken {
  /// The byte behind it in its line.
  var end: Int { column + text.utf8.count }
}

/// The functions of a target of tests that assert, or call one that does: to call one is to assert.
struct AssertingFunctions {
  private var names: Set<String> = []
  /// What the sources call so too: as somebody's method it says nothing.
  private let product: Set<String>
  private static let macros: Set<String> = ["#expect", "#require", "confirmation", "withKnownIssue"]

  /// - Parameters:
  ///   - files: the blocks of each file of one target of tests.
  ///   - product: the names of all functions in the sources (``names(in:)``).
  init(in files: [SwiftBlock], product: Set<String> = []) {
    self.product = product
    let functions = files.flatMap(\.functions)
    var known: Int
    repeat {
      known = names.count
      for function in functions where !names.contains(function.name) {
        if function.body.own.contains(where: { assert(in: $0.tokens) }) { names.insert(function.name) }
      }
    } while names.count > known
  }

  /// The names of all functions in the sources.
  static func names(in sources: [ProjectFile]) -> Set<String> {
    var names: Set<String> = []
    for line in sources.flatMap(\.lines) {
      guard let keyword = line.firstRange(of: "func ") else { continue }
      names.insert(String(line[keyword.upperBound...].prefix { $0.isLetter || $0.isNumber || $0 == "_" }))
    }
    return names
  }

  func assert(in tokens: [SwiftToken]) -> Bool {
    tokens.indices.contains { index in
      let word = tokens[index].text
      if Self.macros.contains(word) { return true }
      if word == "Issue" { return index + 2 < tokens.count && tokens[index + 2].text == "record" }
      guard names.contains(word), index + 1 < tokens.count, tokens[index + 1].text == "(" else { return false }
      if index > 0, tokens[index - 1].text == "func" { return false }
      return !product.contains(word) || index == 0 || tokens[index - 1].text != "."
    }
  }
}
