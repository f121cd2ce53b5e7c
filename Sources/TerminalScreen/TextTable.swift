// Tables for people: columns line up, no cell can steer the terminal, and a table is as wide as the terminal at most.
import TextForms

/// A table whose columns line up.
public struct TextTable: Sendable {
  private var rows: [[String]] = []
  /// The column of each row that has a look, and its look.
  private var looks: [(column: Int, style: ScreenStyle)?] = []
  private let headings: [String]
  /// Columns that hold numbers and stand to the right.
  private let right: Set<Int>
  /// Columns that are never cut, such as ids that are copied.
  private let whole: Set<Int>
  /// The headings of columns that are left out where the line has no room for all, the first one first.
  private let spare: [String]

  /// A column of text is not made narrower than this.
  private static let leastWidth = 6
  /// Before a column of text is made narrower than this, spare columns are left out. The first column names its row.
  private static let readableWidth = 14
  private static let readableName = 20

  public init(_ headings: [String], right: Set<Int> = [], whole: Set<Int> = [], spare: [String] = []) {
    self.headings = headings
    self.right = right
    self.whole = whole
    self.spare = spare
  }

  /// Names may come from clients: nothing of them steers the terminal.
  /// - Parameter look: how the cell with the row's state looks where there are colours.
  public mutating func row(_ cells: [String], look: (column: String, style: ScreenStyle)? = nil) {
    rows.append(cells.map { PrintableText.escaped($0) })
    let column = look.flatMap { look in look.style == .plain ? nil : headings.firstIndex(of: look.column) }
    looks.append(look.flatMap { look in column.map { ($0, look.style) } })
  }

  public var isEmpty: Bool { rows.isEmpty }

  /// - Parameter width: the most cells of a line: the widest columns of text are cut; nil cuts nothing.
  public func text(width: Int? = nil) -> String { lines(width: width).joined(separator: "\n") }

  /// For this reader: as wide as there is room, with the looks of states where there are colours.
  public func text(_ page: ReportPage) -> String {
    lines(width: page.width, page: page.hasColours ? page : nil).joined(separator: "\n")
  }

  /// The heading and the rows, a line each, without spaces at the end.
  public func lines(width: Int? = nil) -> [String] { lines(width: width, page: nil) }

  private func lines(width: Int?, page: ReportPage?) -> [String] {
    let all = [headings] + rows
    let natural = headings.indices.map { column in all.map { CellText.width($0[column]) }.max() ?? 0 }
    let shown = columns(natural, within: width)
    let widths = fitted(natural, shown, to: width)
    return zip(all, [nil] + looks).map { row, look in
      let texts = shown.map { width == nil ? row[$0] : CellText.cut(row[$0], to: widths[$0]) }
      let cells = zip(shown, texts).map { column, text in
        let gap = String(repeating: " ", count: max(0, widths[column] - CellText.width(text)))
        return right.contains(column) ? gap + text : text + gap
      }
      var line = cells.joined(separator: "  ")
      while line.last == " " { line.removeLast() }
      line = width.map { CellText.cut(line, to: $0) } ?? line
      guard let page, let look, let place = shown.firstIndex(of: look.column) else { return line }
      // States stand to the left of their cells. A line that was cut before the state's end has nothing to colour.
      let before = cells[..<place].map { $0 + "  " }.joined()
      let start = before + texts[place]
      guard line.utf8.starts(with: start.utf8) else { return line }
      return before + page.styled(texts[place], look.style) + String(Substring(line.utf8.dropFirst(start.utf8.count)))
    }
  }

  /// The headings of the columns that have no room in a line of this width.
  public func leftOut(width: Int?) -> [String] {
    let all = [headings] + rows
    let natural = headings.indices.map { column in all.map { CellText.width($0[column]) }.max() ?? 0 }
    let shown = Set(columns(natural, within: width))
    return headings.indices.filter { !shown.contains($0) }.map { headings[$0] }
  }

  /// The columns that are shown: spare ones go until what is left can be read.
  private func columns(_ natural: [Int], within width: Int?) -> [Int] {
    var shown = Array(headings.indices)
    guard let width else { return shown }
    func least(_ column: Int) -> Int {
      if right.contains(column) || whole.contains(column) { return natural[column] }
      return min(natural[column], column == 0 ? TextTable.readableName : TextTable.readableWidth)
    }
    for heading in spare {
      guard shown.reduce(0, { $0 + least($1) }) + 2 * (shown.count - 1) > width else { break }
      shown.removeAll { headings[$0] == heading }
    }
    return shown
  }

  /// The columns' widths within the line: the widest column of text gives first.
  private func fitted(_ natural: [Int], _ shown: [Int], to width: Int?) -> [Int] {
    guard let width else { return natural }
    var widths = natural
    var excess = shown.reduce(0) { $0 + widths[$1] } + 2 * max(0, shown.count - 1) - width
    while excess > 0 {
      let texts = shown.filter {
        !right.contains($0) && !whole.contains($0) && widths[$0] > TextTable.leastWidth
      }
      guard let widest = texts.max(by: { widths[$0] < widths[$1] }) else { break }
      // Down to the next widest one, so that the work does not grow with the text.
      let next = texts.filter { $0 != widest }.map { widths[$0] }.max() ?? 0
      let step = min(excess, max(1, widths[widest] - max(next, TextTable.leastWidth)))
      widths[widest] -= step
      excess -= step
    }
    return widths
  }
}
