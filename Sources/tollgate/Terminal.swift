// Text for people: to which stream, and with colours only where a terminal shows them.
import Foundation

enum Terminal {
  /// `tollgate: ...` on standard error.
  static func error(_ text: String) {
    FileHandle.standardError.write(Data((text.hasSuffix("\n") ? text : text + "\n").utf8))
  }

  /// A line on standard output, at once even where it is a pipe.
  static func line(_ text: String) {
    FileHandle.standardOutput.write(Data((text + "\n").utf8))
  }

  /// True where colours may be used on standard output (https://no-color.org).
  static var hasColours: Bool {
    isatty(1) == 1 && ProcessInfo.processInfo.environment["NO_COLOR", default: ""].isEmpty
      && ProcessInfo.processInfo.environment["TERM"] != "dumb"
  }

  static func coloured(_ text: String, _ code: Int) -> String {
    hasColours ? "\u{1B}[\(code)m\(text)\u{1B}[0m" : text
  }
}

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

  mutating func row(_ cells: [String]) { rows.append(cells) }

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
