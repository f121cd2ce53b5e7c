// What a full-screen program wants the terminal to show, cell by cell, and the bytes that change one picture into the next.
//
// Promises: only cells that differ are written; text outside the screen is left out; after a glyph that terminals may
// measure differently the cursor is set anew, so that a wrong guess stays within its glyph.
import TextForms

/// How a cell looks.
public struct ScreenStyle: Equatable, Sendable {
  /// The colours that every terminal has.
  public enum Colour: Int, Sendable {
    case red = 31
    case green = 32
    case yellow = 33
    case cyan = 36
  }

  public var colour: Colour?
  public var isBold = false
  public var isDim = false
  public var isReversed = false

  public init(_ colour: Colour? = nil, bold: Bool = false, dim: Bool = false, reversed: Bool = false) {
    self.colour = colour
    isBold = bold
    isDim = dim
    isReversed = reversed
  }

  public static let plain = ScreenStyle()
  public static let heading = ScreenStyle(bold: true)
  public static let quiet = ScreenStyle(dim: true)
  public static let bad = ScreenStyle(.red)
  public static let warning = ScreenStyle(.yellow)
  public static let good = ScreenStyle(.green)

  /// The sequence that sets it, whatever was set before.
  /// - Parameter colours: false where the user wants none; bold and reversed stay.
  public func sequence(colours: Bool) -> String {
    var codes = "0"
    if isBold { codes += ";1" }
    if isDim { codes += ";2" }
    if isReversed { codes += ";7" }
    if colours, let colour { codes += ";\(colour.rawValue)" }
    return "\u{1B}[\(codes)m"
  }
}

public struct ScreenBuffer: Equatable, Sendable {
  struct Cell: Equatable, Sendable {
    /// Empty for the right half of a wide glyph.
    var text = " "
    var style = ScreenStyle.plain
  }

  public let columns: Int
  public let rows: Int
  private(set) var cells: [Cell]

  /// An empty screen; no side is longer than 1000.
  public init(columns: Int, rows: Int) {
    self.columns = min(max(1, columns), 1000)
    self.rows = min(max(1, rows), 1000)
    cells = Array(repeating: Cell(), count: self.columns * self.rows)
  }

  /// Writes text into a row, harmless, from a column on; what does not fit ends with `…`.
  /// - Parameter width: the most cells; nil for the rest of the row.
  /// - Returns: the column after it.
  @discardableResult
  public mutating func put(
    _ text: String, row: Int, column: Int, width: Int? = nil, style: ScreenStyle = .plain
  ) -> Int {
    guard row >= 0, row < rows, column >= 0, column < columns else { return column }
    let room = min(width ?? columns, columns - column)
    guard room > 0 else { return column }
    var at = column
    for glyph in CellText.glyphs(of: CellText.cut(text, to: room)) where at + glyph.width <= column + room {
      set(glyph.text, style, row, at)
      if glyph.width == 2 { set("", style, row, at + 1) }
      at += glyph.width
    }
    return at
  }

  /// Gives a row one look, without a change of its text.
  public mutating func paint(row: Int, style: ScreenStyle) {
    guard row >= 0, row < rows else { return }
    for column in 0..<columns { cells[row * columns + column].style = style }
  }

  private mutating func set(_ text: String, _ style: ScreenStyle, _ row: Int, _ column: Int) {
    let index = row * columns + column
    // Half of a wide glyph cannot stay.
    if cells[index].text.isEmpty, !text.isEmpty, column > 0 { cells[index - 1].text = " " }
    if column + 1 < columns, cells[index + 1].text.isEmpty { cells[index + 1].text = " " }
    cells[index] = Cell(text: text, style: style)
  }

  /// A row's text, without the spaces at its end.
  public func text(row: Int) -> String {
    var text = cells[(row * columns)..<((row + 1) * columns)].map(\.text).joined()
    while text.last == " " { text.removeLast() }
    return text
  }

  /// The bytes that make the terminal show this where it shows `old`; none where nothing differs.
  /// - Parameter old: nil where nobody knows what it shows: everything is written.
  public func changes(since old: ScreenBuffer?, colours: Bool) -> [UInt8] {
    var out = ""
    var before = old?.cells ?? []
    if old == nil || old?.columns != columns || old?.rows != rows {
      out = "\u{1B}[0m\u{1B}[2J"
      before = Array(repeating: Cell(), count: cells.count)
    }
    var style: ScreenStyle?
    for row in 0..<rows {
      /// Where the cursor is for certain.
      var cursor: Int?
      for column in 0..<columns {
        let cell = cells[row * columns + column]
        guard cell != before[row * columns + column], !cell.text.isEmpty else { continue }
        if cursor != column { out += "\u{1B}[\(row + 1);\(column + 1)H" }
        if style != cell.style {
          out += cell.style.sequence(colours: colours)
          style = cell.style
        }
        out += cell.text
        cursor = cell.text.utf8.count == 1 ? column + 1 : nil
      }
    }
    if style != nil, style != .plain { out += ScreenStyle.plain.sequence(colours: colours) }
    guard !out.isEmpty else { return [] }
    // Between these two a terminal that knows them shows nothing half drawn; the others pass them over.
    return Array("\u{1B}[?2026h\(out)\u{1B}[?2026l".utf8)
  }
}

/// The sequences around a full-screen program.
public enum ScreenSequences {
  /// The alternate screen, no cursor, no line wrapping, and the order of text is ours: terminals that arrange right-to-left
  /// text by themselves would mix columns.
  public static let enter = "\u{1B}[?1049h" + again
  /// On the alternate screen already, where another program may have written.
  public static let again = "\u{1B}[?25l\u{1B}[?7l\u{1B}[8l\u{1B}[0m\u{1B}[2J"
  public static let leave = "\u{1B}[?2026l\u{1B}[0m\u{1B}[8h\u{1B}[?7h\u{1B}[?25h\u{1B}[?1049l"
}
