// Tables for people: columns line up, no cell can steer the terminal, and a table is as wide as the terminal at most.
import TextForms

/// A table whose columns line up.
public struct TextTable: Sendable {
  private var rows: [[String]] = []
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
  public mutating func row(_ cells: [String]) { rows.append(cells.map { PrintableText.escaped($0) }) }

  public var isEmpty: Bool { rows.isEmpty }

  /// - Parameter width: the most cells of a line: the widest columns of text are cut; nil cuts nothing.
  public func text(width: Int? = nil) -> String { lines(width: width).joined(separator: "\n") }

  /// The heading and the rows, a line each, without spaces at the end.
  public func lines(width: Int? = nil) -> [String] {
    let all = [headings] + rows
    let natural = headings.indices.map { column in all.map { CellText.width($0[column]) }.max() ?? 0 }
    let shown = columns(natural, within: width)
    let widths = fitted(natural, shown, to: width)
    return all.map { row in
      var line = shown.map { column in
        let text = width == nil ? row[column] : CellText.cut(row[column], to: widths[column])
        let gap = String(repeating: " ", count: max(0, widths[column] - CellText.width(text)))
        return right.contains(column) ? gap + text : text + gap
      }.joined(separator: "  ")
      while line.last == " " { line.removeLast() }
      return width.map { CellText.cut(line, to: $0) } ?? line
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
