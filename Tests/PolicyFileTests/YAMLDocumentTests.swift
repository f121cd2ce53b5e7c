// Places, repeated keys, variables, and the bounds that keep hostile texts harmless.
import Testing

@testable import PolicyFile

@Suite struct YAMLDocumentTests {
  private func fields(_ text: String, _ environment: [String: String] = [:]) -> [YAMLField] {
    guard case .mapping(let fields)? = YAMLDocument(text: text, environment: environment).root?.content else {
      return []
    }
    return fields
  }

  private func scalar(_ text: String, _ environment: [String: String] = [:]) -> String? {
    guard case .scalar(let value, _)? = fields("a: " + text, environment).first?.value.content else { return nil }
    return value
  }

  @Test func keepsOrderAndPlaces() throws {
    let fields = fields("b: 1\n\"a\": [x,\n  é, y]\n")
    #expect(fields.map(\.key) == ["b", "a"])
    #expect(fields.map(\.position) == [Position(line: 1, column: 1), Position(line: 2, column: 1)])
    let list: [YAMLNode]? = if case .sequence(let items) = fields[1].value.content { items } else { nil }
    let items = try #require(list)
    #expect(items.map(\.position) == [(2, 7), (3, 3), (3, 6)].map { Position(line: $0.0, column: $0.1) })
  }

  @Test func everyRepeatedKeyComesOutInItsPlace() throws {
    let fields = fields("a: 1\n'a': 2\n\"a\": 3\na : {b: 1, b: 2, c: 3}\n")
    #expect(fields.map(\.key) == ["a", "a", "a", "a"])
    #expect(fields.map(\.position.line) == [1, 2, 3, 4])
    let keys: [String?]? = if case .mapping(let inner)? = fields.last?.value.content { inner.map(\.key) } else { nil }
    #expect(keys == ["b", "b", "c"])
  }

  @Test func repeatedKeysThatAreNotPlainAreStillReported() {
    for text in [
      "\"a\\u0062\": 1\n\"a\\u0062\": 2\n", "? [a]\n: 1\n? [a]\n: 2\n", "&x k: 1\n*x : 2\n", "a b: 1\na b: 2\n",
    ] {
      let document = YAMLDocument(text: text, environment: [:])
      #expect(document.mistakes.count == 1 || fields(text).count == 2, "\(text)")
    }
  }

  @Test func variablesAreReplacedAfterParsing() {
    #expect(scalar("${X}", ["X": "v"]) == "v")
    #expect(scalar("\"p${X}q${Y_1}r\"", ["X": "1", "Y_1": "2"]) == "p1q2r")
    #expect(scalar("'${X}'", ["X": "${Y}", "Y": "no"]) == "${Y}")
    #expect(scalar("${X}", ["X": "a: b\n- c"]) == "a: b\n- c")
    #expect(scalar("\"$${X}\"", ["X": "v"]) == "${X}")
    #expect(scalar("\"$$$X$\"") == "$$$X$")
    #expect(scalar("${X}", ["X": ""]) == "")
    #expect(fields("a: ${X}", ["X": "null"]).first?.value.isNull == false)
  }

  @Test func variablesInNamesStayAsTheyAre() {
    #expect(fields("${X}: 1", ["X": "v"]).map(\.key) == ["${X}"])
  }

  @Test(arguments: ["", "~", "null", "Null", "NULL"]) func nulls(_ text: String) {
    #expect(fields("a: \(text)\n").first?.value.isNull == true)
  }

  @Test(arguments: ["\"\"", "''", "\"null\"", "'~'", "nil", "0", "false", "[]", "{}"]) func notNulls(_ text: String) {
    #expect(fields("a: \(text)\n").first?.value.isNull == false)
  }

  @Test func depthAndAliasesAreBounded() {
    #expect(YAMLDocument(text: String(repeating: "[", count: 100_000), environment: [:]).mistakes.count == 1)
    #expect(YAMLDocument(text: String(repeating: "- ", count: 100_000), environment: [:]).mistakes.count == 1)
    var bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for level in 1...9 {
      let alias = Array(repeating: "*a\(level - 1)", count: 10).joined(separator: ", ")
      bomb += "a\(level): &a\(level) [\(alias)]\n"
    }
    let document = YAMLDocument(text: bomb, environment: [:])
    #expect(document.root == nil)
    #expect(document.mistakes.map(\.message) == ["more than 100000 values, aliases counted"])
  }

  @Test func repeatedKeysWithoutEndAreGivenUp() {
    let few = YAMLDocument(text: String(repeating: "a: 1\n", count: 30), environment: [:])
    #expect(few.mistakes.isEmpty && few.root != nil)
    let filler = "#" + String(repeating: "x", count: YAMLDocument.rereadLimit / 8) + "\n"
    let many = YAMLDocument(text: filler + String(repeating: "a: 1\n", count: 30), environment: [:])
    #expect(many.root == nil)
    #expect(many.mistakes.map(\.message) == ["given more than once, allowed: once"])
  }

  @Test func sizeIsBounded() {
    let limit = YAMLDocument.byteLimit
    #expect(YAMLDocument(text: "#" + String(repeating: "x", count: limit - 1), environment: [:]).mistakes.isEmpty)
    #expect(YAMLDocument(text: "#" + String(repeating: "x", count: limit), environment: [:]).mistakes.count == 1)
  }

  @Test func placesOfBrokenText() {
    let document = YAMLDocument(text: "ok: 1\né: \"\u{1}\"\n", environment: [:])
    #expect(document.mistakes.map(\.position) == [Position(line: 2, column: 5)])
  }

  @Test func quotingShowsControlCharactersAndCuts() {
    #expect(quoted("a\nb\u{7F}") == "\"a\\u{a}b\\u{7f}\"")
    #expect(quoted(String(repeating: "x", count: 60)) == "\"" + String(repeating: "x", count: 60) + "\"")
    #expect(quoted(String(repeating: "x", count: 61)) == "\"" + String(repeating: "x", count: 60) + "…\"")
  }
}
