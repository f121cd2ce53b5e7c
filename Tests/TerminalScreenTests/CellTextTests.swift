// Text in cells: widths, cutting, wrapping, and that no name reaches out of its place.
import Testing

@testable import TerminalScreen

@Suite struct CellTextTests {
  @Test(
    arguments: [
      ("", 0), ("abc", 3), ("é", 1), ("e\u{301}", 1), ("日本", 4), ("🚦x", 3), ("\u{301}a", 1), ("한", 2), ("العربية", 7),
      ("\u{1B}[2J", 9), ("a\u{202E}b", 8), ("❤\u{FE0F}", 1), ("🇩🇪", 2),
    ] as [(String, Int)])
  func widths(_ text: String, _ width: Int) {
    #expect(CellText.width(text) == width)
  }

  @Test(
    arguments: [
      ("abc", 3, "abc"), ("abcd", 3, "ab…"), ("日本語", 5, "日本…"), ("日本語", 4, "日…"), ("日本語", 6, "日本語"), ("abc", 0, ""),
      ("abc", 1, "…"), ("日", 1, "…"),
    ] as [(String, Int, String)])
  func cuts(_ text: String, _ width: Int, _ expected: String) {
    #expect(CellText.cut(text, to: width) == expected)
    #expect(CellText.width(CellText.fitted(text, to: width)) == width)
  }

  /// A tower of marks would be drawn over the lines above it.
  @Test func aGlyphHasTwoMarksAtMost() {
    let tower = "a" + String(repeating: "\u{300}", count: 4000) + "b"
    let glyphs = CellText.glyphs(of: tower)
    #expect(glyphs.map(\.width) == [1, 1])
    #expect(glyphs[0].text.unicodeScalars.count == 3)
  }

  @Test func kilobytesAreCutToAFewCells() {
    for name in [String(repeating: "x", count: 1 << 20), String(repeating: "語", count: 1 << 16)] {
      #expect(CellText.width(CellText.cut(name, to: 20)) <= 20)
    }
  }

  @Test func linesBreakBetweenWords() {
    #expect(CellText.wrapped("one two three", to: 8) == ["one two", "three"])
    #expect(CellText.wrapped("a\nb", to: 8) == ["a", "b"])
    #expect(CellText.wrapped("", to: 8) == [""])
    #expect(CellText.wrapped("one two three", to: 8, indent: "  ") == ["one two", "  three"])
    #expect(CellText.wrapped("abcdefghij", to: 4) == ["abcd", "efgh", "ij"])
  }

  @Test(arguments: 2...12) func noLineIsWiderThanItsPlace(_ width: Int) {
    let text = "日本 a\u{301}bc defghijklmnopqrstu 🚦🚦 x"
    for indent in ["", "  ", "      "] {
      let lines = CellText.wrapped(text, to: width, indent: indent)
      #expect(lines.count > 1 && lines.allSatisfy { CellText.width($0) <= width })
    }
  }
}
