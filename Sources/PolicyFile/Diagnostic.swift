// A mistake in a policy or price file, with its place and with what is allowed.

/// One mistake. Prints as `FILE:LINE:COLUMN: error: FIELD: what is wrong, what is allowed`.
public struct Diagnostic: Sendable, Equatable, CustomStringConvertible {
  /// The file's name as the caller gave it.
  public var file: String
  /// From 1.
  public var line: Int
  /// From 1, counted in Unicode scalars.
  public var column: Int
  /// The path of the field: `providers.anthropic.keys[1].weight`; `yaml` for broken syntax.
  public var field: String
  public var message: String

  public init(file: String, line: Int, column: Int, field: String, message: String) {
    self.file = file
    self.line = line
    self.column = column
    self.field = field
    self.message = message
  }

  public var description: String { "\(file):\(line):\(column): error: \(field): \(message)" }
}

/// A place in a file, both from 1.
struct Position: Comparable {
  var line: Int
  var column: Int
  static let start = Position(line: 1, column: 1)
  static func < (left: Position, right: Position) -> Bool {
    left.line == right.line ? left.column < right.column : left.line < right.line
  }
}
