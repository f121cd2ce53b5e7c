// A report that is drawn in the place of the last one, again and again: in the rows that the terminal has.
//
// Promise: no line is wider than the terminal, so that it takes one row; what has no room is counted, not scrolled away.
import TextForms

public enum WatchedPage {
  /// The rows to draw, at most one fewer than the terminal has, since the last one is for the cursor.
  /// - Parameter text: may have sequences that give it a look, which take no cell.
  public static func rows(_ text: String, columns: Int, rows: Int) -> [String] {
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false).flatMap { wrapped($0, to: columns) }
    guard lines.count > rows - 1 else { return lines }
    let kept = max(1, rows - 2)
    let isStyled = text.utf8.contains(0x1B)
    let more = "and \(lines.count - kept) more lines"
    return lines.prefix(kept) + [
      (isStyled ? ScreenStyle.plain.sequence(colours: true) : "") + CellText.cut(more, to: columns)
    ]
  }

  /// The text with lines that no terminal of that width breaks in the middle of a word.
  public static func broken(_ text: String, columns: Int) -> String {
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    return lines.flatMap { wrapped($0, to: columns) }.joined(separator: "\n")
  }

  /// The bytes that draw a row and clear what stood behind it. Nothing stands behind a row that fills the line, and
  /// clearing would take its last cell on many terminals.
  public static func drawn(_ row: String, columns: Int) -> String {
    width(row) < columns ? row + "\u{1B}[K\n" : row + "\n"
  }

  /// A glyph, or a sequence without width.
  private struct Piece {
    var text: String
    var width: Int
  }

  static func width(_ line: String) -> Int { pieces(line[...]).reduce(0) { $0 + $1.width } }

  private static func pieces(_ line: Substring) -> [Piece] {
    var pieces: [Piece] = []
    var rest = line
    while let escape = rest.firstIndex(of: "\u{1B}") {
      pieces += glyphs(rest[..<escape])
      let end = rest[escape...].firstIndex { $0.isLetter } ?? rest.index(before: rest.endIndex)
      pieces.append(Piece(text: String(rest[escape...end]), width: 0))
      rest = rest[rest.index(after: end)...]
    }
    return pieces + glyphs(rest)
  }

  private static func glyphs(_ text: Substring) -> [Piece] {
    CellText.glyphs(of: String(text)).map { Piece(text: $0.text, width: $0.width) }
  }

  /// Broken between words where one ends in the second half of a line.
  private static func wrapped(_ line: Substring, to columns: Int) -> [String] {
    var lines: [String] = []
    var current: [Piece] = []
    var used = 0
    for piece in pieces(line) {
      if used + piece.width > max(2, columns) {
        let space = current.lastIndex { $0.text == " " }.flatMap { $0 < current.count / 2 ? nil : $0 }
        if piece.text == " " {
          lines.append(current.map(\.text).joined())
          (current, used) = ([], 0)
          continue
        }
        lines.append(current.prefix(space ?? current.count).map(\.text).joined())
        current = space.map { Array(current[($0 + 1)...]) } ?? []
        used = current.reduce(0) { $0 + $1.width }
      }
      current.append(piece)
      used += piece.width
    }
    return lines + [current.map(\.text).joined()]
  }
}
