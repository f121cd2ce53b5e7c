// Typed reading of a YAML tree: every read either returns a checked value or reports the mistake with its place.
// Reading goes on after a mistake, so that one run finds all of them. A field that is null counts as not given.
import AdmissionCore
import TextForms

/// Collects the mistakes of one file.
final class FieldReader {
  let file: String
  private var mistakes: [(position: Position, field: String, message: String)] = []

  /// The name of the whole file in messages that name no field.
  let subject: String

  init(file: String, subject: String = "policy") {
    self.file = file
    self.subject = subject
  }

  func report(_ position: Position, _ field: String, _ message: String) {
    mistakes.append((position, field, message))
  }

  /// Sorted by position; mistakes at one place keep the order in which they were found.
  var diagnostics: [Diagnostic] {
    mistakes.enumerated()
      .sorted { ($0.element.position, $0.offset) < ($1.element.position, $1.offset) }
      .map {
        Diagnostic(
          file: file, line: $0.element.position.line, column: $0.element.position.column, field: $0.element.field,
          message: $0.element.message)
      }
  }

  /// Opens a mapping; reports fields that are unknown or given twice. nil (and reported) where the node is no mapping.
  /// - Parameter known: the allowed names; nil where any name is allowed.
  func fields(_ node: YAMLNode, _ path: String, known: [String]?, shape: String? = nil) -> Fields? {
    guard case .mapping(let entries) = node.content else {
      if case .unresolved = node.content { return nil }
      let allowed = shape ?? "a mapping" + (known.map { " of \($0.joined(separator: ", "))" } ?? "")
      report(node.position, path.isEmpty ? subject : path, "found \(node.found), allowed: \(allowed)")
      return nil
    }
    var fields = Fields(reader: self, path: path, position: node.position)
    for entry in entries {
      guard let key = entry.key else {
        report(entry.position, path.isEmpty ? subject : path, "a field's name is a list or a mapping, allowed: a text")
        continue
      }
      let field = fieldPath(path, key)
      if let known, !known.contains(key) {
        let guess = Spelling.nearest(to: key, among: known).map { ", did you mean \"\($0)\"?" } ?? ""
        report(
          entry.position, field, "unknown field\(guess.isEmpty ? "," : guess) allowed: \(known.joined(separator: ", "))"
        )
      } else if let first = fields.entries.first(where: { $0.name == key }) {
        report(entry.position, field, "given more than once, first at line \(first.position.line), allowed: once")
      } else {
        fields.entries.append(Fields.Entry(name: key, position: entry.position, value: entry.value))
      }
    }
    return fields
  }
}

/// One mapping that is being read.
struct Fields {
  struct Entry {
    var name: String
    /// The name's position.
    var position: Position
    var value: YAMLNode
  }

  let reader: FieldReader
  let path: String
  /// The mapping's position.
  let position: Position
  /// In the file's order.
  var entries: [Entry] = []

  init(reader: FieldReader, path: String, position: Position) {
    self.reader = reader
    self.path = path
    self.position = position
  }

  func path(of name: String) -> String { fieldPath(path, name) }

  /// The field's value where it is given and not null.
  subscript(name: String) -> YAMLNode? {
    guard let entry = entries.first(where: { $0.name == name }), !entry.value.isNull else { return nil }
    return entry.value
  }

  /// The position of the name, or of the mapping where the field is not given.
  func position(of name: String) -> Position { entries.first { $0.name == name }?.position ?? position }

  func report(_ name: String, _ message: String) {
    let place = entries.first { $0.name == name }
    reader.report(place.map { $0.value.position } ?? position, path(of: name), message)
  }

  /// The value of a field that must be given.
  func required(_ name: String, allowed: String) -> YAMLNode? {
    if let node = self[name] { return node }
    reader.report(position(of: name), path(of: name), "is missing, allowed: \(allowed)")
    return nil
  }

  /// The text of a scalar; nil where it is not given, or wrong (and reported).
  func scalar(_ name: String, allowed: String, isRequired: Bool = false) -> (text: String, node: YAMLNode)? {
    guard let node = isRequired ? required(name, allowed: allowed) : self[name] else { return nil }
    return reader.scalar(node, path(of: name), allowed: allowed).map { ($0, node) }
  }

  private func read<Value>(_ name: String, allowed: String, isRequired: Bool = false, _ parse: (String) -> Value?)
    -> Value?
  {
    guard let (text, node) = scalar(name, allowed: allowed, isRequired: isRequired) else { return nil }
    if let value = parse(text) { return value }
    reader.report(node.position, path(of: name), "found \(node.found), allowed: \(allowed)")
    return nil
  }

  /// A whole number.
  func integer(_ name: String, _ range: ClosedRange<Int64>) -> Int64? {
    read(name, allowed: "a whole number from \(range.lowerBound) to \(range.upperBound)") { text in
      wholeNumber(text).flatMap { range.contains($0) ? $0 : nil }
    }
  }

  func flag(_ name: String) -> Bool? {
    read(name, allowed: "true, false") { text in
      switch text {
      case "true", "True", "TRUE": true
      case "false", "False", "FALSE": false
      default: nil
      }
    }
  }

  /// `500ms`, `5s`, `2m`, `1h`, `7d`.
  /// - Parameter orOff: true where the word `off` may stand instead; then nil is returned for it.
  func duration(_ name: String, _ range: ClosedRange<Duration>, orOff: Bool = false) -> Duration? {
    if orOff, case .scalar("off", _)? = self[name]?.content { return nil }
    let allowed =
      (orOff ? "off, or " : "")
      + "\(text(of: range.lowerBound)) to \(text(of: range.upperBound)), a whole number with ms, s, m, h or d"
    return read(name, allowed: allowed) { text in
      durationValue(text).flatMap { range.contains($0) ? $0 : nil }
    }
  }

  /// A date (its first instant in UTC) or a date and time.
  func instant(_ name: String) -> WallInstant? {
    let allowed = "a date such as 2026-12-01, or a date and time such as 2026-12-01T08:00:00Z"
    return read(name, allowed: allowed) { RFC3339.nanoseconds($0).map { WallInstant(nanoseconds: $0) } }
  }

  /// `64KiB`, `32MiB`, `1GiB`, in bytes.
  func size(_ name: String, _ range: ClosedRange<Int>) -> Int? {
    let allowed = "\(sizeText(range.lowerBound)) to \(sizeText(range.upperBound)), a whole number with KiB, MiB or GiB"
    return read(name, allowed: allowed) { text in
      sizeValue(text).flatMap { range.contains($0) ? $0 : nil }
    }
  }

  /// A share in basis points: `12.5%` is 1250.
  func share(_ name: String, upTo limit: Int = 10_000) -> Int? {
    read(name, allowed: "0% to \(limit / 100)%, at most two decimals") { text in
      shareValue(text).flatMap { $0 <= limit ? $0 : nil }
    }
  }

  /// A share in whole percent.
  func percent(_ name: String, _ range: ClosedRange<Int>) -> Int? {
    read(name, allowed: "\(range.lowerBound)% to \(range.upperBound)%, without decimals") { text in
      shareValue(text).flatMap { $0 % 100 == 0 && range.contains($0 / 100) ? $0 / 100 : nil }
    }
  }

  /// One of a closed set of words.
  func choice<Value>(_ name: String, _ values: [(String, Value)], isRequired: Bool = false) -> Value? {
    let words = values.map(\.0)
    let allowed = words.joined(separator: ", ")
    guard let (text, node) = scalar(name, allowed: allowed, isRequired: isRequired) else { return nil }
    if let found = values.first(where: { $0.0 == text }) { return found.1 }
    let guess = Spelling.nearest(to: text.lowercased(), among: words).map { ", did you mean \"\($0)\"?" } ?? ","
    reader.report(node.position, path(of: name), "found \(node.found)\(guess) allowed: \(allowed)")
    return nil
  }

  func priority(_ name: String, isRequired: Bool = false) -> Priority? {
    choice(name, Priority.allCases.map { ($0.name, $0) }, isRequired: isRequired)
  }

  /// A path: any text but an empty one.
  func filePath(_ name: String, isRequired: Bool = false) -> String? {
    let allowed = "the path of a file"
    return read(name, allowed: allowed, isRequired: isRequired) { $0.isEmpty || $0.utf8.contains(0) ? nil : $0 }
  }

  /// The items of a list with their paths; nil where the field is not given, or no list (and reported).
  func list(_ name: String, of what: String) -> [(node: YAMLNode, path: String)]? {
    guard let node = self[name] else { return nil }
    return reader.list(node, path(of: name), of: what)
  }

  func globs(_ name: String, isRequired: Bool = false) -> [Glob]? {
    let what = "model globs, such as [\"claude-*\"]"
    if isRequired, required(name, allowed: "a list of \(what)") == nil { return nil }
    guard let items = list(name, of: what) else { return nil }
    if items.isEmpty { report(name, "an empty list matches nothing, allowed: at least one model glob") }
    return items.compactMap { reader.glob($0.node, $0.path) }
  }
}

extension FieldReader {
  func scalar(_ node: YAMLNode, _ path: String, allowed: String) -> String? {
    switch node.content {
    case .scalar(let text, _) where !node.isNull: return text
    case .unresolved: return nil
    default:
      report(node.position, path, "found \(node.found), allowed: \(allowed)")
      return nil
    }
  }

  func list(_ node: YAMLNode, _ path: String, of what: String) -> [(node: YAMLNode, path: String)]? {
    switch node.content {
    case .sequence(let items): return items.enumerated().map { ($0.element, "\(path)[\($0.offset)]") }
    case .unresolved: return nil
    default:
      report(node.position, path, "found \(node.found), allowed: a list of \(what)")
      return nil
    }
  }

  func glob(_ node: YAMLNode, _ path: String) -> Glob? {
    let allowed = "a text in which * is any run of characters and ? any one"
    guard let text = scalar(node, path, allowed: allowed) else { return nil }
    guard !text.isEmpty, text.utf8.count <= 256 else {
      report(node.position, path, "found \(node.found), allowed: \(allowed), 1 to 256 bytes")
      return nil
    }
    return Glob(text)
  }

  /// True for a name that may be used in metrics, paths and logs.
  func isName(_ text: String) -> Bool {
    guard let first = text.utf8.first, text.utf8.count <= 64 else { return false }
    func isWord(_ byte: UInt8) -> Bool {
      (byte | 0x20 >= 0x61 && byte | 0x20 <= 0x7A) || (byte >= 0x30 && byte <= 0x39)
    }
    return isWord(first)
      && text.utf8.allSatisfy {
        isWord($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: ".")
      }
  }
  static let nameRule = "a letter or digit, then letters, digits, - _ . (64 at most)"
}

/// A whole number without sign, decimals or blanks.
func wholeNumber(_ text: some StringProtocol) -> Int64? {
  guard !text.isEmpty, text.utf8.count <= 18, text.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) else { return nil }
  return Int64(text)
}

/// A length of time; nil where the text is none, and for lengths beyond three hundred years, which no field allows.
func durationValue(_ text: String) -> Duration? {
  LengthText.nanoseconds(text, [.milliseconds, .seconds, .minutes, .hours, .days], mostDigits: 12).map {
    .nanoseconds($0)
  }
}

/// A length of time as the policy file writes it.
private func text(of duration: Duration) -> String {
  let (seconds, attoseconds) = duration.components
  if attoseconds != 0 { return "\(seconds * 1000 + attoseconds / 1_000_000_000_000_000)ms" }
  if seconds >= 86400, seconds % 86400 == 0 { return "\(seconds / 86400)d" }
  if seconds >= 3600, seconds % 3600 == 0 { return "\(seconds / 3600)h" }
  if seconds >= 60, seconds % 60 == 0 { return "\(seconds / 60)m" }
  return "\(seconds)s"
}

func sizeValue(_ text: String) -> Int? {
  let digits = text.prefix { $0.isASCII && $0.isNumber }
  guard digits.utf8.count <= 9, let count = wholeNumber(digits).map({ Int($0) }) else { return nil }
  switch text.dropFirst(digits.count) {
  case "KiB": return count << 10
  case "MiB": return count << 20
  case "GiB": return count << 30
  default: return nil
  }
}

func sizeText(_ bytes: Int) -> String {
  if bytes >= 1 << 30, bytes % (1 << 30) == 0 { return "\(bytes >> 30)GiB" }
  if bytes >= 1 << 20, bytes % (1 << 20) == 0 { return "\(bytes >> 20)MiB" }
  return "\(bytes >> 10)KiB"
}

/// A share in basis points; nil where the text is none.
func shareValue(_ text: String) -> Int? {
  guard text.last == "%" else { return nil }
  return DecimalText.exact(text.utf8.dropLast(), places: 2).map { Int($0) }
}
