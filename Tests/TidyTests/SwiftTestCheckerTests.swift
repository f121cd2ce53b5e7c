// Samples of tests in Swift that cannot fail, each of which must be found, and of tests that only look like them.
import Testing

@Suite struct SwiftTestCheckerTests {
  private func findings(_ body: String, product: Set<String> = []) -> [Finding] {
    let file = ProjectFile(path: "Tests/XTests/A.swift", text: body)
    let root = SwiftBlockReader.read(file.swift)
    return SwiftTestChecker(file, root, asserting: AssertingFunctions(in: [root], product: product)).findings()
  }
  private func found(_ body: String) -> [String] { findings(body).map(\.message) }
  /// The body of a test around `lines`.
  private func test(_ lines: String) -> String { "@Test func a() throws {\n\(lines)\n}" }

  @Test(arguments: [
    "f()", "_ = try f()", "// #expect(x)", "let s = \"#expect(x)\"", "checkout(f())", "func inner() { #expect(x) }",
  ])
  func aTestThatAssertsNothing(lines: String) {
    #expect(found(test(lines)).first?.hasPrefix("a test that asserts nothing") == true)
  }

  @Test func findingsHaveTheirLine() {
    #expect(findings("\n\n@Test func a() {\n f()\n}\n\n@Test func b() {\n #expect(f())\n}").map(\.line) == [3])
    #expect(findings(test("f()\nguard let x else {\n  return\n}\n#expect(x)")).map(\.line) == [4])
  }

  @Test(arguments: [
    "if let x { #expect(x > 1) }", "if x {\n  #expect(y)\n} else if z {\n  #expect(y)\n}",
    "for x in list { #expect(x > 1) }",
    "for x in list.filter({ $0 > 1 }) where x > 2 {\n  #expect(x > 1)\n}", "while let x = next() { #expect(x) }",
    "for x in [1, 2] where x > n { #expect(x) }", "for x in 0..<count { #expect(x) }", "for x in [] { #expect(x) }",
    "do { try f() } catch { #expect(error) }", "if x { for y in [1] { #expect(y) } }",
    "for x in names { if let y { try #require(y) } }",
  ])
  func assertionsThatMayBePassedBy(lines: String) {
    #expect(found(test(lines)).first?.hasPrefix("a test whose assertions all stand under a condition") == true)
  }

  @Test(arguments: [
    "#expect(x)", "try #require(x)", "Issue.record()", "let x = try #require(y)\nif x { #expect(z) }",
    "for x in [1, 2] { #expect(x) }", "for x in [\"a\"] { #expect(x) }", "for x in 0..<10 { #expect(x) }",
    "for x in UInt64(1)...last { #expect(x) }", "for (a, b) in zip([1], list) { #expect(a == b) }",
    "let list = [1]\nfor x in list { #expect(x) }",
    "let list: [(Int, Int)] = [(1, 2)]\nfor (x, _) in list { #expect(x) }",
    "for x in Kind.allCases { #expect(x) }", "if x { #expect(y) } else { #expect(z) }",
    "if x { #expect(y) } else if z { #expect(y) } else { try #require(nil) }",
    "switch x { case 1: #expect(y) default: #expect(z) }",
    "do { #expect(try f()) } catch { g() }", "repeat { #expect(x) } while y\nf { g() }", "run { #expect(x) }",
    "func inner() { #expect(x) }\ninner()", "// One of the two is never empty.\nfor x in a + b { }\n#expect(x)",
    "let f = { (x: Int) in #expect(x) }\nf(1)", "withKnownIssue { f() }", "for try x in [1] { #expect(x) }",
  ])
  func assertionsThatAreComeBy(lines: String) {
    #expect(found(test(lines)) == [])
  }

  @Test func aReasonLiftsACondition() {
    let body = "func a() {\n  if x { #expect(y) }\n}"
    #expect(found("@Test \(body)").count == 1)
    #expect(found("// The fixtures are never empty.\n@Test \(body)").count == 0)
    #expect(found("@Test func a() {\n  // The fixtures are never empty.\n  if x { #expect(y) }\n}").count == 0)
    #expect(found("// The fixtures are never empty.\n@Test func a() {\n  f()\n}").count == 1, "nothing to lift")
  }

  @Test func oneWhoAssertsIsKnownByItsName() {
    let asserts = "func proves() { #expect(x) }\nfunc shows() { proves() }\n"
    #expect(found(asserts + test("shows()")).isEmpty)
    #expect(found(asserts + test("other.shows()")).isEmpty)
    #expect(found(asserts + test("shows")).count == 1, "is not called")
    // Where the sources have the name too, a method of that name may be theirs.
    #expect(findings(asserts + test("other.shows()"), product: ["shows"]).count == 1)
    #expect(findings(asserts + test("shows()"), product: ["shows"]).isEmpty)
    let source = ProjectFile(path: "Sources/A/A.swift", text: "  public func shows<T>(_ t: T) {}\n")
    #expect(AssertingFunctions.names(in: [source]) == ["shows"])
  }

  @Test(arguments: [
    "guard let x else { return }\n#expect(x)", "guard let x else {\n  f()\n  return\n}\n#expect(x)",
    "for x in [1] {\n  guard x > 2 else { continue }\n  #expect(x)\n}",
    "for x in [1] {\n  guard x > 2 else { break }\n  if y { #expect(x) }\n}\n#expect(y)",
  ])
  func aGuardThatLeaves(lines: String) {
    #expect(found(test(lines)).contains { $0.hasPrefix("a guard that leaves a test") })
  }

  @Test(arguments: [
    "guard let x else {\n  Issue.record()\n  return\n}\n#expect(x)",
    "for x in [1] {\n  guard x > 2 else {\n    Issue.record()\n    continue\n  }\n  #expect(x)\n}",
  ])
  func aGuardThatRecordsAnIssueAndLeaves(lines: String) {
    #expect(found(test(lines)) == ["a guard that records an issue and leaves is banned here, use try #require"])
  }

  @Test(arguments: [
    "guard let x else {\n  // Nothing came, which is what is wanted.\n  return\n}\n#expect(x)",
    "#expect(x)\nwhile true {\n  guard let x = next() else { break }\n  f(x)\n}",
    "guard let x else { throw E() }\n#expect(x)",
    "#expect(list.map {\n  guard $0 else { return 1 }\n  return 2\n})",
  ])
  func aGuardThatMayLeave(lines: String) {
    #expect(found(test(lines)).isEmpty)
  }

  /// One who cannot throw cannot require; the issue fails the test all the same.
  @Test func outsideOfTestsAGuardMayRecordAnIssue() {
    #expect(found("func a() {\n  guard let x else {\n    Issue.record()\n    return\n  }\n}").isEmpty)
    #expect(found("func a() {\n  guard let x else {\n    return\n  }\n}").count == 1)
  }

  @Test func aCatchThatDoesNothing() {
    #expect(found(test("#expect(x)\ndo { try f() } catch {}")).first?.hasPrefix("a catch that does nothing") == true)
    #expect(found(test("#expect(x)\ndo { try f() } catch { g() }")).isEmpty)
    #expect(found(test("#expect(x)\n// It may be closed already.\ndo { try f() } catch {}")).isEmpty)
    #expect(found(test("#expect(x)\ndo {\n  try f()\n  // It may be closed already.\n} catch {}")).isEmpty)
  }

  @Test(arguments: [
    "true", "!false", "Bool(true)", "x || true", "true || x", "list.count >= 0", "a.b == a.b", "x == x",
    "a[\"k\"] == a[\"k\"]",
    "true, \"why\"",
  ])
  func whatIsAlwaysTrue(condition: String) {
    #expect(found(test("#expect(\(condition))")).count == 1)
    #expect(found(test("let x = try #require(\(condition))")).count == 1)
  }

  @Test(arguments: [
    "f() == f()", "a[\"k\"] == a[\"l\"]", "x == true", "x == true || y", "y || true == x", "list.count >= 10", "x || y",
    "value >= 0", "x == y || x == x.z", "a.b == b.a",
  ])
  func whatMayBeFalse(condition: String) {
    #expect(found(test("#expect(\(condition))")).isEmpty)
  }

  @Test func aTestThatMayNotRun() {
    #expect(found("@Test(.disabled()) func a() { #expect(x) }").count == 1)
    #expect(found("@Test(.enabled(if: y)) func a() { #expect(x) }").count == 1)
    #expect(found("@Suite(.disabled()) struct A {}").count == 1)
    #expect(found("// Asked for by scripts/replay-seed.\n@Test(.enabled(if: y)) func a() { #expect(x) }").isEmpty)
    #expect(found("@Test(arguments: [.disabled, B.enabled]) func a() { #expect(x) }").isEmpty)
    #expect(found("@Test(arguments: [1]) func a() { #expect(x) }").isEmpty)
  }

  @Test(arguments: ["}", "{", "@Test func", "guard else {", "@Test(", "#expect(", "for in {", "func { { } } }"])
  func whatIsNoSwiftIsReadToItsEnd(text: String) {
    #expect(found(text).count <= 2)
  }
}
