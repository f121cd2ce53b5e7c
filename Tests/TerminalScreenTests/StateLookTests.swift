// Colours of states: in tables the cell alone, with the room of the plain table, and never half of a sequence.
import Testing

@testable import TerminalScreen

@Suite struct StateLookTests {
  private func page(width: Int? = nil, colours: Bool = true) -> ReportPage {
    ReportPage(clock: LocalClock(now: 0) { _ in 0 }, width: width, colours: colours)
  }

  private func table() -> TextTable {
    var table = TextTable(["KEY", "STATE", "REASON"], whole: [1], spare: ["REASON"])
    table.row(["openai/main", "usable", "-"], look: ("STATE", .plain))
    table.row(["openai/spare", "used up", "by hand"], look: ("STATE", .bad))
    return table
  }

  @Test func onlyTheStateIsColoured() {
    let lines = table().text(page()).split(separator: "\n")
    #expect(lines[1] == "openai/main   usable   -")
    #expect(lines[2] == "openai/spare  \u{1B}[0;31mused up\u{1B}[0m  by hand")
    #expect(table().text(page(colours: false)) == table().text())
  }

  @Test(arguments: 1...40) func colouredOrNotTheTextIsTheSame(_ width: Int) {
    let coloured = table().text(page(width: width))
    let plain = coloured.replacing("\u{1B}[0;31m", with: "").replacing("\u{1B}[0m", with: "")
    #expect(plain == table().text(width: width))
    #expect(!plain.contains("\u{1B}"))
  }

  @Test func namesBeyondASCIIKeepTheirPlaces() {
    var table = TextTable(["KEY", "STATE"])
    table.row(["日本e\u{301}", "cooling"], look: ("STATE", .warning))
    table.row(["a", "\u{1B}[31mopen"], look: ("STATE", .bad))
    let lines = table.text(page()).split(separator: "\n")
    #expect(lines[1] == "日本e\u{301}  \u{1B}[0;33mcooling\u{1B}[0m")
    #expect(lines[2].hasSuffix("\u{1B}[0;31m\\u001b[31mopen\u{1B}[0m"))
  }

  @Test func whatTakesNoCallsIsBadAndWhatRestsIsAWarning() {
    #expect(["usable", "cooling", "disabled"].map(StateLook.key) == [.plain, .warning, .bad])
    #expect(["closed", "half_open", "cooling", "open"].map(StateLook.breaker) == [.plain, .warning, .warning, .bad])
  }
}
