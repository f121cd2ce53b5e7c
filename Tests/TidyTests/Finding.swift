// What a check has to say about one line, in the form that editors can jump to.

struct Finding: CustomStringConvertible, Equatable {
  let path: String
  let line: Int
  let message: String

  static func banned(_ what: String, use: String, path: String, line: Int) -> Finding {
    Finding(path: path, line: line, message: "\(what) is banned here, use \(use)")
  }

  var description: String { "\(path):\(line): error: \(message)" }
}

/// A file of the project: its path from the project's folder, with `/` between parts, and its text.
struct ProjectFile {
  let path: String
  let text: String
  let lines: [Substring]
  /// Its code and comments, where it is in Swift: read once, since most checks ask for them. Without lines where it is not.
  let swift: SwiftText

  init(path: String, text: String) {
    self.path = path
    self.text = text
    var lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    if lines.last?.isEmpty == true { lines.removeLast() }
    self.lines = lines
    swift = path.hasSuffix(".swift") ? SwiftText(text) : SwiftText(lines: [])
  }

  var name: Substring { path.split(separator: "/").last ?? "" }
  var isSwift: Bool { path.hasSuffix(".swift") }
  /// `EventLoop` for `Sources/EventLoop/Handles.swift`; nil outside `Sources`.
  var target: String? { part(after: "Sources") }
  /// `TidyTests` for `Tests/TidyTests/Finding.swift`; nil outside `Tests`.
  var testTarget: String? { part(after: "Tests") }

  private func part(after folder: String) -> String? {
    let parts = path.split(separator: "/")
    return parts.count > 2 && parts[0] == folder ? String(parts[1]) : nil
  }
}
