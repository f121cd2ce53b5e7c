// Which rows of a list are shown: `class:high tenant:acme provider:openai session:s1 state:queued word`.

public struct TopFilter: Equatable, Sendable {
  public enum Field: String, CaseIterable, Sendable {
    case priority = "class"
    case tenant
    case provider
    case session
  }

  struct Term: Equatable, Sendable {
    /// Nil: anywhere in the row.
    var field: Field?
    var text: String
    /// Chosen from a row: the whole name, and not a part of it.
    var isExact: Bool
  }

  private(set) var terms: [Term] = []

  public init() {}

  /// What was typed: words, each with a field before it or not; all must be found. Upper and lower case are the same.
  public init(_ text: String) {
    terms = text.split(separator: " ").map { word in
      for field in Field.allCases {
        for mark in [":", "="] where word.hasPrefix(field.rawValue + mark) {
          let value = word.dropFirst(field.rawValue.count + 1)
          return Term(field: field, text: String(value), isExact: false)
        }
      }
      return Term(field: nil, text: String(word), isExact: false)
    }.filter { !$0.text.isEmpty }
  }

  public var isEmpty: Bool { terms.isEmpty }

  /// The terms as they would be typed.
  public var text: String {
    terms.map { ($0.field.map { "\($0.rawValue):" } ?? "") + $0.text }.joined(separator: " ")
  }

  /// Puts one name into one field, in place of what that field had; nil takes it out.
  public mutating func set(_ field: Field, to name: String?) {
    terms.removeAll { $0.field == field }
    if let name, !name.isEmpty { terms.append(Term(field: field, text: name, isExact: true)) }
  }

  /// The whole name that a field must have, if it was chosen.
  public func exact(_ field: Field) -> String? { terms.first { $0.field == field && $0.isExact }?.text }

  func admits(_ row: TopRow) -> Bool {
    terms.allSatisfy { term in
      guard let field = term.field else {
        let wanted = term.text.lowercased()
        return row.cells.contains { $0.lowercased().contains(wanted) } || row.id.lowercased().contains(wanted)
      }
      // A list that does not have the field is not narrowed by it.
      guard let value = row.fields[field] else { return true }
      return term.isExact ? value == term.text : value.lowercased().contains(term.text.lowercased())
    }
  }
}

/// A row of one of the lists of `tollgate top`.
struct TopRow: Equatable, Sendable {
  /// Names it for the selection, whatever row it is in.
  var id: String
  var cells: [String]
  var fields: [TopFilter.Field: String] = [:]
  /// By what a list may be ordered; for numbers the largest first.
  var numbers: [String: Int64] = [:]
  var style = ScreenStyle.plain
}
