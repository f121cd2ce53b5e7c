// The glossary's checks on pages that are wrong in each way.
import Testing

@Suite struct GlossaryCheckerTests {
  private let sources = [
    ProjectFile(
      path: "Sources/A/Door.swift",
      text:
        "struct Door {\n  var lock = \"door_state\"\n  // \"not_said\n}\npublic typealias Way = Int\nenum Key { case lost }\n"
    )
  ]
  private func page(_ rows: String...) -> ProjectFile {
    let head = "# Words\n\n| word | means | in the code | outside |\n|---|---|---|---|\n"
    return ProjectFile(path: "docs/a.md", text: head + rows.joined(separator: "\n") + "\n")
  }
  private func found(_ page: ProjectFile) -> [String] {
    GlossaryChecker(page).findings(declared: HopChecker(sources: sources), strings: StringsOfSources(sources)).map(
      \.description)
  }

  @Test func whatIsThereIsFound() {
    #expect(
      found(page("| door | shuts | `Door`, `Door.lock`; `Way` | `door_state` |", "| key | opens | `Key.lost` | |"))
        == [])
    #expect(GlossaryChecker(page("| a | b | | |", "| c | d | | |")).countOfTerms == 2)
  }

  @Test func whatIsGoneIsTold() {
    #expect(found(page("| door | shuts | `Gate` | |")) == ["docs/a.md:5: error: there is no Gate in Sources"])
    #expect(found(page("| door | shuts | `Door.open` | |")) == ["docs/a.md:5: error: there is no Door.open in Sources"])
    #expect(
      found(page("| door | shuts | | `door_gone` |")) == ["docs/a.md:5: error: no string of Sources has door_gone"])
    #expect(found(page("| door | shuts | | `door` |")).count == 1, "a part of a word is another word")
  }

  @Test func aWordHasOneRowWithItsMeaning() {
    #expect(found(page("| door, way | a | | |", "| way | b | | |")) == ["docs/a.md:6: error: way has a row already"])
    #expect(found(page("| door | | | |")).count == 1)
    #expect(found(page("| door | shuts |")).count == 1)
  }

  @Test func whatIsNotSaidIsFoundWhereItIsSaid() {
    let glossary = GlossaryChecker(
      ProjectFile(
        path: "docs/a.md", text: "| not | but |\n|---|---|\n| `OldDoor` | `Door` |\n| master key, latch-key | key |\n"))
    #expect(glossary.countOfForbidden == 2 && glossary.countOfTerms == 0)
    let findings = { (text: String) in
      glossary.findings(in: ProjectFile(path: "Sources/A/A.swift", text: text)).map(\.description)
    }
    #expect(
      findings("// x\nlet a = OldDoor()\n") == ["Sources/A/A.swift:2: error: “OldDoor” is banned here, use `Door`"])
    #expect(findings("// A Master key\n").count == 1 && findings("let s = \"latch-key\"").count == 1)
    #expect(findings("// oldDoor, OldDoors, master keys, a key of the master\n").isEmpty)
  }

  @Test func oneNameIsOneType() {
    let file = { (path: String, text: String) in ProjectFile(path: "Sources/" + path, text: text) }
    let one = file("A/A.swift", "public final class Door {\n  struct Lock {}\n}\n")
    #expect(
      TypeNames.findings(in: [one, file("B/B.swift", "enum Gate {\n  struct Lock {}\n}\nprivate struct Door {}\n")])
        .isEmpty)
    let findings = TypeNames.findings(in: [one, file("B/B.swift", "// x\nindirect enum Door {\n")])
    #expect(
      findings.map(\.description) == [
        "Sources/B/B.swift:2: error: Sources/A/A.swift has a type Door too: one name, one type"
      ])
    #expect(
      TypeNames.findings(in: [file("A/A.swift", "struct Lease {}\n"), file("B/B.swift", "struct Lease {}\n")]).isEmpty)
    #expect(TypeNames.declared(in: "extension Door {") == nil)
    #expect(TypeNames.declared(in: "  struct Door {") == nil)
    #expect(TypeNames.declared(in: "let door: Door.Type = Door.self // a class of doors") == nil)
  }
}
