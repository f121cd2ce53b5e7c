// Each rule of the policy file (Fixtures/) and of the prices file (Fixtures/prices/) as a text: the file, a line of
// dashes, then `ok` or the mistakes as `tollgate check` prints them. To add a rule, add a file to Fixtures/. Where
// only `?` is expected, the test fills in what came out and fails, so that a person reads it before the next run.
import Foundation
import PolicyFile
import Testing

/// The variables that fixtures may use.
private let environment = [
  "KEY": "sk-0123456789abcdef", "EMPTY": "", "SPACED": "two words", "STORE": "store", "NUMBER": "25", "NULL": "null",
  "MULTI": "a.db\nversion: 2",
]

private let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Fixtures")

private struct Fixture {
  var input: String
  var expected: String

  init(_ url: URL) throws {
    // By scalars: a Windows line end is one character, and would hide the line of dashes.
    let text = try String(decoding: Data(contentsOf: url), as: UTF8.self)
    let parts = text.components(separatedBy: "----------\n")
    try #require(parts.count == 2, "\(url.lastPathComponent) has no line of ten dashes, or more than one")
    input = parts[0]
    expected = parts[1]
  }
}

/// The names of the fixtures in a folder.
private func fixtures(in folder: URL) -> [String] {
  let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path())) ?? []
  return names.filter { $0.hasSuffix(".txt") }.sorted()
}

/// Compares, or fills in what came out where only `?` is expected.
private func check(_ url: URL, _ diagnose: (_ input: String) -> (isAccepted: Bool, diagnostics: [Diagnostic])) throws {
  let fixture = try Fixture(url)
  let (isAccepted, diagnostics) = diagnose(fixture.input)
  #expect(isAccepted == diagnostics.isEmpty)
  let lines = diagnostics.isEmpty ? ["ok"] : diagnostics.map(\.description)
  let found = lines.joined(separator: "\n") + "\n"
  if fixture.expected == "?\n" { try Data((fixture.input + "----------\n" + found).utf8).write(to: url) }
  #expect(found == fixture.expected)
  // Neither values of the environment nor literal secrets may show up in what people paste into tickets.
  #expect(!found.contains("0123456789abcdef") && !found.contains("tg-secret"))
}

@Suite struct PolicyFixtureTests {
  static let names = fixtures(in: folder)
  static let priceNames = fixtures(in: folder.appending(path: "prices"))

  @Test func thereAreFixtures() {
    #expect(Self.names.count >= 80)
    #expect(Self.priceNames.count >= 30)
  }

  @Test(arguments: names) func policyGivesTheExpectedMistakes(_ name: String) throws {
    try check(folder.appending(path: name)) { input in
      let parsing = PolicyParser.parse(
        text: input, file: "policy.yaml", environment: environment, knowsTimeZone: { $0 != "Europe/Atlantis" })
      return (parsing.policy != nil, parsing.diagnostics)
    }
  }

  @Test(arguments: priceNames) func pricesGiveTheExpectedMistakes(_ name: String) throws {
    try check(folder.appending(path: "prices/" + name)) { input in
      let parsing = PriceListParser.parse(text: input, file: "prices.yaml", environment: environment)
      return (parsing.prices != nil, parsing.diagnostics)
    }
  }
}
