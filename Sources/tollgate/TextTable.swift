// Tables for people: columns line up, and no cell can steer the terminal.
import TextForms

/// A table whose columns line up.
struct TextTable {
  private var rows: [[String]] = []
  private let headings: [String]
  /// Columns that hold numbers and stand to the right.
  private let right: Set<Int>

  init(_ headings: [String], right: Set<Int> = []) {
    self.headings = headings
    self.right = right
  }

  /// Names may come from clients: nothing of them steers the terminal.
  mutating func row(_ cells: [String]) { rows.append(cells.map { PrintableText.escaped($0) }) }

  var text: String {
    let all = [headings] + rows
    let widths = headings.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
    return all.map { row in
      let cells = row.indices.map { column -> String in
        let gap = String(repeating: " ", count: widths[column] - row[column].count)
        return right.contains(column) ? gap + row[column] : row[column] + gap
      }
      var line = cells.joined(separator: "  ")
      while line.last == " " { line.removeLast() }
      return line
    }.joined(separator: "\n")
  }
}
