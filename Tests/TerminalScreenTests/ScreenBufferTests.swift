// The screen: what is written changes one picture into the next, and only that.
import Testing
import TextForms

@testable import TerminalScreen

/// The least of a terminal that the screen's bytes need.
private struct Glass {
  var cells: [[String]]
  private var row = 0
  private var column = 0

  init(columns: Int, rows: Int) { cells = Array(repeating: Array(repeating: "?", count: columns), count: rows) }

  var lines: [String] { cells.map { $0.joined() } }

  mutating func write(_ bytes: [UInt8]) {
    var rest = Substring(String(decoding: bytes, as: UTF8.self))
    while let first = rest.first {
      guard first == "\u{1B}" else {
        rest.removeFirst()
        let width = CellText.width(String(first))
        cells[row][column] = String(first)
        if width == 2 { cells[row][column + 1] = "" }
        column += width
        continue
      }
      let body = rest.dropFirst(2).prefix { !$0.isLetter }
      let final = rest.dropFirst(2 + body.count).first
      if final == "H" {
        let numbers = body.split(separator: ";").compactMap { Int($0) }
        (row, column) = (numbers[0] - 1, numbers[1] - 1)
      } else if final == "J" {
        cells = cells.map { $0.map { _ in " " } }
      }
      rest = rest.dropFirst(3 + body.count)
    }
  }
}

@Suite struct ScreenBufferTests {
  private static let names = [
    "plain", "日本語", "e\u{301}clair", "🚦🚦", "\u{1B}[31mred", "a\u{202E}b", "x", "", "العربية",
    String(repeating: "long", count: 30),
  ]

  @Test func onlyWhatHasChangedIsWritten() {
    var first = ScreenBuffer(columns: 20, rows: 3)
    first.put("running 12", row: 1, column: 0)
    var second = ScreenBuffer(columns: 20, rows: 3)
    second.put("running 13", row: 1, column: 0)
    let bytes = second.changes(since: first, colours: true)
    #expect(String(decoding: bytes, as: UTF8.self) == "\u{1B}[?2026h\u{1B}[2;10H\u{1B}[0m3\u{1B}[?2026l")
    #expect(second.changes(since: second, colours: true).isEmpty)
  }

  /// Whatever stood there, and however wide it was.
  @Test func aTerminalShowsWhatWasPut() {
    var random = Dice(seed: 7)
    var glass = Glass(columns: 12, rows: 4)
    var shown: ScreenBuffer?
    for _ in 0..<300 {
      var next = ScreenBuffer(columns: 12, rows: 4)
      for _ in 0..<5 {
        let name = ScreenBufferTests.names.randomElement(using: &random) ?? ""
        next.put(
          name, row: Int.random(in: -1...4, using: &random), column: Int.random(in: -1...12, using: &random),
          style: Bool.random(using: &random) ? .bad : .plain)
      }
      glass.write(next.changes(since: shown, colours: true))
      shown = next
      for row in 0..<4 {
        var line = glass.lines[row]
        while line.last == " " { line.removeLast() }
        #expect(line == next.text(row: row))
      }
    }
  }

  @Test func nothingLeavesItsPlace() {
    for name in ScreenBufferTests.names {
      var screen = ScreenBuffer(columns: 10, rows: 1)
      screen.put("0123456789", row: 0, column: 0)
      let end = screen.put(name, row: 0, column: 2, width: 4)
      #expect(end <= 6)
      #expect(screen.text(row: 0).hasSuffix("6789") && screen.text(row: 0).hasPrefix("01"))
      let bytes = screen.changes(since: nil, colours: true)
      // No control character but those of the screen's own sequences.
      #expect(bytes.split(separator: 0x1B).dropFirst().allSatisfy { $0.first == UInt8(ascii: "[") })
      #expect(bytes.allSatisfy { $0 >= 0x20 || $0 == 0x1B })
    }
  }

  @Test func withoutColoursTheRestStays() {
    let style = ScreenStyle(.red, bold: true, reversed: true)
    #expect(style.sequence(colours: true) == "\u{1B}[0;1;7;31m")
    #expect(style.sequence(colours: false) == "\u{1B}[0;1;7m")
  }

  @Test func anotherSizeIsWrittenWhole() {
    var small = ScreenBuffer(columns: 4, rows: 1)
    small.put("ab", row: 0, column: 0)
    var large = ScreenBuffer(columns: 8, rows: 2)
    large.put("ab", row: 0, column: 0)
    #expect(String(decoding: large.changes(since: small, colours: false), as: UTF8.self).contains("\u{1B}[2J"))
    #expect(ScreenBuffer(columns: 0, rows: -4) == ScreenBuffer(columns: 1, rows: 1))
  }
}
