// Settings files of other programs: what is set, what stays, what is refused.
import Testing
import TextForms

@Suite struct SettingsTextTests {
  private func json(_ text: String, keeping kept: Set<String> = []) throws(SettingsMistake) -> String {
    try JSONMembers.setting([("A", "1"), ("B", "2")], keeping: kept, inObject: "env", of: text)
  }

  @Test func membersAreAddedAndTheRestStays() throws {
    #expect(try json("") == "{\n  \"env\": {\n    \"A\": \"1\",\n    \"B\": \"2\"\n  }\n}\n")
    let odd = "{ \"hooks\" : [1, {\"x\": \"}\\\"\"}],\n\t\"env\": {\"C\": \"3\"} }"
    #expect(
      try json(odd)
        == "{ \"hooks\" : [1, {\"x\": \"}\\\"\"}],\n\t\"env\": {\"C\": \"3\",\n    \"A\": \"1\",\n    \"B\": \"2\"} }")
  }

  @Test func aSecondTimeChangesNothing() throws {
    for text in ["", "{}", "{\"env\": {\"A\": \"x\"}, \"z\": null}\n"] {
      let once = try json(text)
      #expect(try json(once) == once)
    }
  }

  @Test func aValueThatIsThereIsReplacedOrKept() throws {
    let text = "{\"env\": {\"A\": \"old\", \"B\": 7}}"
    #expect(try json(text) == "{\"env\": {\"A\": \"1\", \"B\": \"2\"}}")
    #expect(try json(text, keeping: ["A"]) == "{\"env\": {\"A\": \"old\", \"B\": \"2\"}}")
  }

  @Test(arguments: [
    ("[]", 1, 1), ("{\"a\": }", 1, 7), ("{\n  \"a\": 1\n  \"b\": 2\n}", 3, 3), ("{\"a\": tru}", 1, 7),
    ("{\"a\": \"b", 1, 7), ("{} {}", 1, 4), ("{\"env\": 3}", 1, 9), ("{\"a\": [1, 2", 1, 12), ("{ // no\n}", 1, 3),
  ])
  func brokenJSONIsRefusedWithItsPlace(text: String, line: Int, column: Int) throws {
    let mistake = #expect(throws: SettingsMistake.self) { _ = try json(text) }
    #expect(mistake?.line == line && mistake?.column == column, "\(String(describing: mistake))")
  }

  @Test func deepJSONIsRefused() {
    let text = "{\"a\": " + String(repeating: "[", count: 100_000)
    #expect(throws: SettingsMistake.self) { _ = try json(text) }
  }

  private func toml(_ text: String) throws(SettingsMistake) -> String {
    let top = try TOMLTables.setting([("p", "\"t\"")], inTable: "", of: text)
    return try TOMLTables.setting([("u", "\"v\""), ("w", "\"x\"")], inTable: "m.t", of: top)
  }

  @Test func keysAreAddedToTheirTables() throws {
    #expect(try toml("") == "p = \"t\"\n\n[m.t]\nu = \"v\"\nw = \"x\"\n")
    let text =
      "# mine\nq = 1\n\n# of b\n[b]\np = 2\n\n[m.t]\nw = \"x\" # kept\n\n# of c\n[c]\nlong = \"\"\"\n[not a table]\n\"\"\"\n"
    #expect(
      try toml(text)
        == "# mine\nq = 1\np = \"t\"\n\n# of b\n[b]\np = 2\n\n[m.t]\nw = \"x\" # kept\nu = \"v\"\n\n# of c\n[c]\nlong = \"\"\"\n[not a table]\n\"\"\"\n"
    )
    #expect(try toml("[b]\np = 2") == "p = \"t\"\n\n[b]\np = 2\n\n[m.t]\nu = \"v\"\nw = \"x\"\n")
    #expect(try toml("p = \"o\" # was\n") == "p = \"t\"\n\n[m.t]\nu = \"v\"\nw = \"x\"\n")
  }

  @Test func aSecondTimeChangesNoTOML() throws {
    for text in ["", "[b]\nx = [\n  1,\n]\n", "p = 'o'\n[[l]]\na = \"]\"\n"] {
      let once = try toml(text)
      #expect(try toml(once) == once)
    }
  }

  @Test(arguments: [
    ("a\n", 1), ("a = 1\n[b\n", 2), ("a =\n", 1), ("a = \"x\n", 1), ("a = 1\na = 2\n", 2), ("\na = [1,\n2\n", 2),
    ("a = ]\n", 1),
  ])
  func brokenTOMLIsRefusedWithItsLine(text: String, line: Int) {
    let mistake = #expect(throws: SettingsMistake.self) { _ = try toml(text) }
    #expect(mistake?.line == line, "\(String(describing: mistake))")
  }
}
