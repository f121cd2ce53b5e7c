// Samples of tests in Python that cannot fail, or that nobody runs, each of which must be found, and of tests that only look like them.
import Testing

@Suite struct PythonTestCheckerTests {
  private func found(_ text: String, name: String = "test_a.py", others: [String] = []) -> [String] {
    let file = ProjectFile(path: "Tests/EndToEnd/\(name)", text: "\"\"\"A sample.\"\"\"\n\n" + text + "\n")
    let read = PythonText(file.text)
    let asserting = PythonTestChecker.asserting(in: others.map { PythonText($0) } + [read])
    return PythonTestChecker(file, read, asserting: asserting).findings().map(\.message)
  }
  private func test(_ lines: String) -> String {
    "def test_a():\n" + lines.split(separator: "\n").map { "    " + $0 }.joined(separator: "\n")
  }

  @Test(arguments: [
    "f()", "x = f()", "# assert x", "'assert x'", "assertion(f)", "x = '''\nassert y\n'''", "pass",
    "def inner():\n    assert x",
  ])
  func aTestThatAssertsNothing(lines: String) {
    #expect(found(test(lines)) == ["a test that asserts nothing is banned here, use assert"])
  }

  @Test func findingsHaveTheirLine() {
    let file = ProjectFile(
      path: "Tests/EndToEnd/test_a.py", text: "\"\"\"A\nsample.\"\"\"\nx = (1,\n     2)\n\ndef test_a():\n    f()\n")
    #expect(PythonTestChecker(file, PythonText(file.text), asserting: []).findings().map(\.line) == [6])
  }

  @Test(arguments: [
    "if x:\n    assert y", "if x: assert y", "if x:\n    assert y\nelif z:\n    assert y",
    "for x in f():\n    assert x",
    "for x in names:\n    assert x", "for x in []:\n    assert x", "while x:\n    assert x",
    "for x in range(n):\n    assert x",
    "try:\n    f()\nexcept OSError:\n    assert x", "for x in names:\n    with f():\n        assert x",
  ])
  func assertionsThatMayBePassedBy(lines: String) {
    #expect(found(test(lines)).first?.hasPrefix("a test whose assertions all stand under a condition") == true)
    #expect(found(test(lines)).count == 1)
  }

  @Test(arguments: [
    "assert x", "assert x, 'why'", "with f():\n    assert x", "with pytest.raises(E):\n    f()",
    "for x in [1, 2]:\n    assert x",
    "for x in ('a',):\n    assert x", "names = [1]\nfor x in names:\n    assert x", "for x in range(3):\n    assert x",
    "for x, y in enumerate([1]):\n    assert x", "if x:\n    assert y\nelse:\n    assert z",
    "while True:\n    assert x",
    "try:\n    assert x\nfinally:\n    f()", "def inner():\n    assert x\ninner()",
    "async def inner():\n    assert x\nrun(inner())",
    "f(\n    1,\n)\nassert (x\n        == y)", "x = '\\''\nassert x", "f\"{x['a']}\"\nassert x",
    "with f() as x: assert x",
    "f(x)  # it's\nassert x",
  ])
  func assertionsThatAreComeBy(lines: String) {
    #expect(found(test(lines)) == [])
  }

  @Test func oneWhoAssertsIsKnownByItsName() {
    let asserts = "def proves():\n    assert x\n\ndef shows():\n    proves()\n"
    #expect(found(test("shows()"), others: [asserts]).isEmpty)
    #expect(found(test("bench.shows()"), others: [asserts]).isEmpty)
    #expect(found(test("shows()")).count == 1)
    // Where another of that name does not assert, nobody knows whose is called; the file's own is known.
    #expect(found(test("shows()"), others: [asserts, "def shows():\n    pass\n"]).count == 1)
    #expect(found(asserts + "\n" + test("shows()"), others: ["def shows():\n    pass\n"]).isEmpty)
  }

  @Test func aReturnFromATest() {
    #expect(found(test("if x:\n    return\nassert y")).first?.hasPrefix("a return from a test") == true)
    #expect(found(test("if x: return\nassert y")).count == 1)
    #expect(found(test("if x:\n    return  # Nothing came, as is wanted.\nassert y")).isEmpty)
    #expect(found(test("def serve():\n    return\nassert y")).isEmpty, "another's")
  }

  @Test func anExceptThatSwallows() {
    let body = { (line: String, end: String) in test("assert x\ntry:\n    f()\n\(line)\n    \(end)") }
    #expect(found(body("except:", "pass")).first?.hasPrefix("a bare except") == true)
    #expect(found(body("except:", "g()")).first?.hasPrefix("a bare except") == true)
    #expect(found(body("except OSError:", "pass")).first?.hasPrefix("an except that does nothing") == true)
    #expect(found(body("except OSError:", "continue")).count == 1)
    #expect(found(body("except OSError:", "pass  # It may be closed already.")).isEmpty)
    #expect(found(body("# It may be closed already.\nexcept OSError:", "pass")).isEmpty)
    #expect(found(body("except OSError:", "g()")).isEmpty)
    let double = "def serve():\n    try:\n        f()\n    except OSError:\n        pass"
    #expect(found(double, name: "scripted.py").isEmpty)
    #expect(found(double.replacing("except OSError", with: "except"), name: "scripted.py").count == 1)
  }

  @Test(arguments: [
    "True", "not False", "x or True", "True or x", "len(x) >= 0", "(x, 'why')", "(x == 1, y == 2)", "x == x",
    "a.b == a.b",
    "True, 'why'",
  ])
  func whatIsAlwaysTrue(condition: String) {
    #expect(found(test("assert " + condition)).count == 1)
  }

  @Test(arguments: [
    "x == True", "x or y", "len(x) >= 1", "(x == 1)", "(x), 'why'", "(x, 1) == (y, 1)", "f() == f()",
    "a['k'] == a['l']",
    "(x for x in y)", "any(x or True for x in y) is y",
  ])
  func whatMayBeFalse(condition: String) {
    #expect(found(test("assert " + condition)).isEmpty)
  }

  @Test func testsThatDoNotRun() {
    #expect(found(test("assert x"), name: "scripted.py").first?.hasPrefix("a test where pytest does not look") == true)
    #expect(found("class Setting:\n    def test_a(self):\n        assert x").count == 1)
    #expect(found("class TestSetting:\n    def test_a(self):\n        assert x").isEmpty)
    #expect(found(test("assert x") + "\n\n" + test("assert y")).first?.hasPrefix("a second test_a") == true)
    #expect(found("@pytest.mark.skip\n" + test("assert x")).count == 1)
    #expect(found("# Where there is no Docker.\n@pytest.mark.skipif(x)\n" + test("assert x")).isEmpty)
    #expect(found(test("pytest.skip('no')\nassert x")).count == 1)
    #expect(found("@pytest.mark.parametrize('x', [])\n" + test("assert x")).count == 1)
    #expect(found("@pytest.mark.parametrize('x', [1])\n" + test("assert x")).isEmpty)
  }

  @Test(arguments: ["def", "def (", "'", "\"\"\"", "assert", "except", "if x", "(", ")", "\\", "class", "for x in"])
  func whatIsNoPythonIsReadToItsEnd(text: String) {
    #expect(found(text).count <= 1)
  }
}
