// The checks of guide and reference on pages that name what is not there.
import Testing

@Suite struct GuideCheckerTests {
  private let tree = [
    ProjectFile(path: "Sources/A/Door.swift", text: "struct Door {\n  func open() {}\n}\n"),
    ProjectFile(path: "Sources/tollgate/TopCommand.swift", text: "x = CommandConfiguration(commandName: \"top\")\n"),
    ProjectFile(path: "Tests/ATests/DoorTests.swift", text: "@Suite struct DoorTests {}\n"),
    ProjectFile(path: "Tests/EndToEnd/test_a.py", text: "def test_door():\n    assert x\n"),
    ProjectFile(path: "scripts/shut", text: "#!/bin/sh\n# --all\n"),
  ]
  private func found(_ text: String) -> [String] {
    let paths = Set(tree.map(\.path)).union(["Tests/ATests", "README.md"])
    return GuideChecker(tree, paths: paths).findings(in: ProjectFile(path: "GUIDE.md", text: text)).map(\.message)
  }

  @Test(arguments: [
    "`Sources/A/Door.swift`, `Door`, `Door.open`, `DoorTests`, `test_door`",
    "`place`, `?`, `nextDeadline`, `GET /api/v1/x`, `HTTP`",
    "`README.md` and `scripts/shut --all` and `tollgate top`", "    scripts/shut --all 12",
    "    swift test --filter DoorTests",
    "    swift test --filter ATests", "    swift build", "    .build/debug/tollgate top",
  ])
  func whatIsThere(text: String) {
    #expect(found(text) == [])
  }

  @Test(arguments: [
    ("`Sources/A/Gate.swift`", "there is no Sources/A/Gate.swift"),
    ("x `Gate` y", "there is no Gate in Sources or Tests"),
    ("`Door.shut`", "there is no Door.shut in Sources or Tests"), ("`test_gate`", "there is no test test_gate"),
    ("`scripts/shut --some`", "scripts/shut knows no --some"), ("`tollgate bottom`", "tollgate has no command bottom"),
    ("    scripts/open", "there is no script scripts/open"),
    ("    swift test --filter GateTests", "there is no suite GateTests"),
    ("    .build/debug/tollgate top --policy a/b.yaml", "there is no a/b.yaml"),
  ])
  func whatIsGone(text: String, message: String) {
    #expect(found(text) == [message])
  }

  private func references(metrics: String, errors: String = "`completed` `a_b`", cli: String = "top") -> [String] {
    let sources = [
      ProjectFile(
        path: "Sources/AdminConsole/MetricFamilies.swift", text: "page.family(\"tollgate_a_total\", \"tollgate_a\")\n"),
      ProjectFile(
        path: "Sources/AdmissionCore/Vocabulary/Names.swift",
        text: "enum Outcome: String {\n  case completed\n  case aB = \"a_b\"\n}\n"),
      tree[1],
    ]
    let pages = [("metrics", metrics), ("errors", errors), ("cli", cli)].map {
      ProjectFile(path: "docs/reference/\($0.0).md", text: $0.1 + "\n")
    }
    return ReferenceChecker(sources: sources, pages: pages).findings().map(\.message)
  }

  @Test func referenceAndSourcesAgree() {
    #expect(references(metrics: "| `tollgate_a_total`, `tollgate_a` |") == [])
    #expect(references(metrics: "| `tollgate_a_total` |") == ["tollgate_a has no row in docs/reference/metrics.md"])
    #expect(references(metrics: "`tollgate_a_total` `tollgate_a` `tollgate_b`") == ["there is no tollgate_b"])
    let whole = "`tollgate_a_total` `tollgate_a`"
    #expect(references(metrics: whole, errors: "`completed`") == ["the outcome a_b is not told of"])
    #expect(references(metrics: whole, errors: "`a_b`") == ["the outcome completed is not told of"])
    #expect(references(metrics: whole, cli: "none") == ["the command top is not told of"])
    #expect(ReferenceChecker(sources: [], pages: []).findings().count == 3, "pages that are not there are told of")
  }
}
