// Finds tests in Python that cannot fail, or that nobody runs: those without an assertion that is come by for sure, those that leave, swallow
// an exception or assert what is always true, and those that pytest does not collect.
//
// A comment beside the line lifts a finding where the kind has right uses.

struct PythonTestChecker {
  private let file: ProjectFile
  private let statements: [PythonStatement]
  private let asserting: Set<String>

  /// - Parameters:
  ///   - text: the file's, read.
  ///   - asserting: functions whose call asserts (``asserting(in:)``).
  init(_ file: ProjectFile, _ text: PythonText, asserting: Set<String>) {
    self.file = file
    // Of a name that several files use, the file's own meaning counts.
    self.asserting = Self.asserting(in: [text], known: asserting)
    statements = text.statements
  }

  /// The names of functions that assert, or call one that does. A name counts where each function of that name asserts, since nobody
  /// knows here whose method is called.
  /// - Parameter known: names that count already.
  static func asserting(in texts: [PythonText], known: Set<String> = []) -> Set<String> {
    let functions = texts.flatMap { $0.statements.flatMap(\.all) }.filter { $0.keyword == "def" }
    let byName = Dictionary(grouping: functions) { $0.name ?? "" }.filter {
      !$0.key.hasPrefix("test_") && !$0.key.hasPrefix("__")
    }
    var names = known
    var count: Int
    repeat {
      count = names.count
      for (name, functions) in byName where !names.contains(name) {
        if functions.allSatisfy({ $0.own.dropFirst().contains { isAssertion($0, names) } }) { names.insert(name) }
      }
    } while names.count > count
    return names
  }

  func findings() -> [Finding] {
    let all = statements.flatMap(\.all)
    return (tests.flatMap(checkTest) + all.flatMap(checkStatement) + uncollected() + shadowed()).sorted {
      $0.line < $1.line
    }
  }

  private func banned(_ what: String, use: String, at statement: PythonStatement) -> Finding {
    .banned(what, use: use, path: file.path, line: statement.line + 1)
  }

  // MARK: - Tests

  private var tests: [PythonStatement] {
    (statements + statements.filter { $0.keyword == "class" }.flatMap(\.body)).filter(isTest)
  }

  private func isTest(_ statement: PythonStatement) -> Bool {
    statement.keyword == "def" && statement.name?.hasPrefix("test_") == true
  }

  private func checkTest(_ test: PythonStatement) -> [Finding] {
    let own = test.own.dropFirst()
    let leaves = own.filter { $0.code == "return" && !$0.hasReason }.map {
      banned(
        "a return from a test", use: "an assertion of what is missing, or say beside it why nothing is left to look at",
        at: $0)
    }
    if runsAnAssertion(test.body) { return leaves }
    if !own.contains(where: { Self.isAssertion($0, asserting) }) {
      return leaves + [banned("a test that asserts nothing", use: "assert", at: test)]
    }
    if test.hasReason { return leaves }
    return leaves + [
      banned(
        "a test whose assertions all stand under a condition, or in a loop over what may be empty",
        use: "an assertion of the condition, or of how many there are", at: test)
    ]
  }

  /// True where each run of the statements comes by an assertion.
  private func runsAnAssertion(_ body: [PythonStatement]) -> Bool {
    var branchesAssert = false
    for statement in body {
      if !["def", "class"].contains(statement.keyword), Self.isAssertion(statement, asserting) { return true }
      switch statement.keyword {
      case "with", "try", "finally": if runsAnAssertion(statement.body) { return true }
      case "for": if isNeverEmpty(statement), runsAnAssertion(statement.body) { return true }
      case "while": if statement.code.hasPrefix("while True"), runsAnAssertion(statement.body) { return true }
      case "if": branchesAssert = runsAnAssertion(statement.body)
      case "elif": branchesAssert = branchesAssert && runsAnAssertion(statement.body)
      case "else": if branchesAssert, runsAnAssertion(statement.body) { return true }
      default: break
      }
    }
    return false
  }

  private static func isAssertion(_ statement: PythonStatement, _ names: Set<String>) -> Bool {
    if statement.keyword == "assert" { return true }
    // What a block's own statement calls counts where it is; what its body calls is looked at by itself.
    if statement.calls.contains(where: names.contains) { return true }
    let words = ["pytest.raises(", "pytest.fail(", "raise_for_status(", "raise AssertionError"]
    return words.contains(where: statement.code.contains)
  }

  /// A loop over a list or a tuple that stands there with something in it, over a name that the file gives to one, or over a range of a number.
  private func isNeverEmpty(_ loop: PythonStatement) -> Bool {
    guard let within = loop.code.firstRange(of: " in ") else { return false }
    var walked = loop.code[within.upperBound...].drop(while: \.isWhitespace)
    for wrapper in ["enumerate(", "zip(", "reversed(", "sorted("] where walked.hasPrefix(wrapper) {
      walked = walked.dropFirst(wrapper.count)
    }
    if walked.hasPrefix("range(") {
      return walked.dropFirst(6).first?.isNumber == true && !walked.hasPrefix("range(0)")
    }
    if let first = walked.first, "([{".contains(first) { return Self.holdsSomething(walked) }
    let name = walked.prefix { $0.isLetter || $0.isNumber || $0 == "_" }
    guard !name.isEmpty, walked.dropFirst(name.count).first != "(" else { return false }
    return statements.flatMap(\.all).contains { statement in
      guard statement.code.hasPrefix(name + " = ") else { return false }
      return Self.holdsSomething(statement.code.dropFirst(name.count + 3))
    }
  }

  private static func holdsSomething(_ text: Substring) -> Bool {
    guard let first = text.first, "([{".contains(first) else { return false }
    return text.dropFirst().first { !$0.isWhitespace }.map { !")]}".contains($0) } ?? false
  }

  // MARK: - Statements

  private func checkStatement(_ statement: PythonStatement) -> [Finding] {
    switch statement.keyword {
    case "assert": return checkAssertion(statement)
    case "except": return checkExcept(statement)
    default: break
    }
    let skips = ["pytest.skip(", "mark.skip", "mark.xfail"].filter(statement.code.contains)
    if let skip = skips.first, !statement.hasReason {
      return [banned("\(skip)", use: "a test that runs, or say beside it when it does", at: statement)]
    }
    if statement.code.hasPrefix("@pytest.mark.parametrize"), statement.code.contains(", [])") {
      return [banned("a test without parameters", use: "some", at: statement)]
    }
    return []
  }

  private func checkExcept(_ statement: PythonStatement) -> [Finding] {
    if statement.code.hasPrefix("except:") || statement.code == "except" {
      return [banned("a bare except", use: "the exceptions that are meant", at: statement)]
    }
    let isIdle = !statement.body.isEmpty && statement.body.allSatisfy { ["pass", "continue", "..."].contains($0.code) }
    // Only a test may not swallow: a double that closes a socket twice is none.
    guard isIdle, file.name.hasPrefix("test_"), !statement.hasReason, !statement.body.contains(where: \.hasReason)
    else { return [] }
    return [
      banned("an except that does nothing", use: "pytest.raises, or say beside it why nothing follows", at: statement)
    ]
  }

  private func checkAssertion(_ statement: PythonStatement) -> [Finding] {
    let text = statement.code.dropFirst("assert".count).drop(while: \.isWhitespace)
    // What is compared is looked at as it is written, since strings are blank here.
    let condition = Self.upToComma(text)
    let what: String? =
      if condition == "True" || condition == "not False" {
        "an assertion of true"
      } else if condition.hasSuffix(" or True") || condition.hasPrefix("True or ") {
        "an assertion of 'or True'"
      } else if condition.hasPrefix("len("), condition.hasSuffix(") >= 0") {
        "an assertion that a length is not negative"
      } else if Self.isTuple(condition) {
        "an assertion of a tuple"
      } else if Self.isComparedWithItself(condition) {
        "an assertion that something equals itself"
      } else {
        nil
      }
    return what.map { [banned($0, use: "a condition that can be false", at: statement)] } ?? []
  }

  private static func upToComma(_ text: Substring) -> Substring {
    var depth = 0
    for index in text.indices {
      if "([{".contains(text[index]) { depth += 1 }
      if ")]}".contains(text[index]) { depth -= 1 }
      if depth == 0, text[index] == "," { return text[..<index] }
    }
    return text
  }

  private static func isTuple(_ condition: Substring) -> Bool {
    guard condition.first == "(", condition.last == ")" else { return false }
    let inner = condition.dropFirst().dropLast()
    var depth = 0
    for character in inner {
      if "([{".contains(character) { depth += 1 }
      if ")]}".contains(character) { depth -= 1 }
      if depth < 0 { return false }
    }
    let first = upToComma(inner)
    return first.count < inner.count && !first.contains(" for ")
  }

  /// Two calls may differ, and so may two strings, which are blank here.
  private static func isComparedWithItself(_ condition: Substring) -> Bool {
    guard let equals = condition.firstRange(of: " == "), !condition.contains("("), !condition.contains("\""),
      !condition.contains("'")
    else {
      return false
    }
    return condition[..<equals.lowerBound] == condition[equals.upperBound...]
  }

  // MARK: - Tests that nobody runs

  private func uncollected() -> [Finding] {
    let isTestFile = file.name.hasPrefix("test_")
    let outside = isTestFile ? [] : tests
    let inside = statements.filter { $0.keyword == "class" && $0.name?.hasPrefix("Test") == false && isTestFile }
      .flatMap(\.body).filter(isTest)
    return (outside + inside).map {
      banned("a test where pytest does not look", use: "a file test_*.py, and a class Test* if any", at: $0)
    }
  }

  private func shadowed() -> [Finding] {
    ([statements] + statements.filter { $0.keyword == "class" }.map(\.body)).flatMap { scope -> [Finding] in
      var seen: Set<String> = []
      return scope.filter(isTest).compactMap { test in
        guard let name = test.name, !seen.insert(name).inserted else { return nil }
        return banned("a second \(name), which takes the place of the first,", use: "a name of its own", at: test)
      }
    }
  }
}
