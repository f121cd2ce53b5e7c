// Parses YAML text with Yams into a tree whose nodes know their position.
//
// Promises: never traps, whatever the text; finds every repeated key, not only the first; replaces `${NAME}` in scalars
// after parsing, so that a variable's value cannot change the structure; makes at most `nodeLimit` nodes, so that
// aliases cannot multiply without end.
import Yams

/// One value of the document.
struct YAMLNode {
  enum Content {
    /// `isPlain` is false where the text was quoted or contains a variable: then it cannot be null.
    case scalar(String, isPlain: Bool)
    /// A scalar that names a variable which is not set; the mistake has been reported.
    case unresolved
    case sequence([YAMLNode])
    case mapping([YAMLField])
  }
  var content: Content
  var position: Position
  /// The scalar as written, before variables were replaced: messages may show it.
  var written = ""

  /// `null`, `~` or nothing at all.
  var isNull: Bool {
    guard case .scalar(let text, true) = content else { return false }
    return text.isEmpty || text == "null" || text == "~" || text == "Null" || text == "NULL"
  }
  /// What was found here, for messages.
  var found: String {
    switch content {
    case .scalar: isNull ? "nothing" : quoted(written)
    case .unresolved: quoted(written)
    case .sequence: "a list"
    case .mapping: "a mapping"
    }
  }
}

/// One entry of a mapping.
struct YAMLField {
  /// nil where the key is a list or a mapping.
  var key: String?
  var position: Position
  var value: YAMLNode
}

/// The text in quotes, cut after 60 characters, with control characters made visible.
func quoted(_ text: some StringProtocol) -> String {
  var out = "\""
  for (count, scalar) in text.unicodeScalars.enumerated() {
    if count == 60 {
      out += "…"
      break
    }
    if scalar.value < 0x20 || scalar.value == 0x7F {
      out += "\\u{" + String(scalar.value, radix: 16) + "}"
    } else {
      out.unicodeScalars.append(scalar)
    }
  }
  return out + "\""
}

struct YAMLDocument {
  /// nil where the text is not YAML; an empty document is an empty mapping.
  var root: YAMLNode?
  var mistakes: [(position: Position, field: String, message: String)] = []

  static let nodeLimit = 100_000
  static let byteLimit = 4 << 20
  static let rereadLimit = 2 << 20

  init(text: String, environment: [String: String]) {
    guard text.utf8.count <= YAMLDocument.byteLimit else {
      mistakes.append((.start, "yaml", "\(text.utf8.count) bytes are too many, allowed: \(YAMLDocument.byteLimit)"))
      return
    }
    var source = SourceText(text)
    var root: Node?
    // Yams stops at the first repeated key. Each round replaces one repeated key by a name that no text has; the walk
    // below restores it. The number of rounds is bounded by the bytes that they read together.
    var rounds = max(8, YAMLDocument.rereadLimit / max(1, text.utf8.count))
    while true {
      do {
        root = try Parser(yaml: source.text, encoding: .utf8).singleRoot()
        break
      } catch YamlError.duplicatedKeysInMapping(let names, let context) {
        let position = Position(context.mark)
        rounds -= 1
        guard rounds > 0, source.hideKey(at: position) else {
          mistakes.append((position, names.first ?? "yaml", "given more than once, allowed: once"))
          return
        }
      } catch {
        mistakes.append(YAMLDocument.mistake(of: error, in: source))
        return
      }
    }
    guard let root else {
      self.root = YAMLNode(content: .mapping([]), position: .start)
      return
    }
    var walk = Walk(source: source, environment: environment)
    let tree = walk.node(root, path: "")
    mistakes = walk.mistakes
    if walk.count > YAMLDocument.nodeLimit {
      mistakes = [(tree.position, "yaml", "more than \(YAMLDocument.nodeLimit) values, aliases counted")]
    } else {
      self.root = tree.isNull ? YAMLNode(content: .mapping([]), position: tree.position) : tree
    }
  }

  private static func mistake(
    of error: any Error, in source: SourceText
  ) -> (position: Position, field: String, message: String) {
    switch error {
    case YamlError.scanner(let context, let problem, let mark, _),
      YamlError.parser(let context, let problem, let mark, _),
      YamlError.composer(let context, let problem, let mark, _):
      let place = context.map { ", \($0.text) that began at line \($0.mark.line)" } ?? ""
      return (Position(mark), "yaml", problem + place)
    case YamlError.reader(let problem, let offset, _, _):
      return (source.position(ofCharacter: offset ?? 0), "yaml", problem)
    default:
      return (.start, "yaml", "cannot be read")
    }
  }
}

extension Position {
  init(_ mark: Mark) { self.init(line: mark.line, column: mark.column) }
}

/// The path of a field below `path`; names that are not plain words are quoted.
func fieldPath(_ path: String, _ name: String) -> String {
  let isPlain =
    !name.isEmpty
    && name.utf8.allSatisfy {
      ($0 | 0x20 >= 0x61 && $0 | 0x20 <= 0x7A) || ($0 >= 0x30 && $0 <= 0x39) || $0 == 0x5F || $0 == 0x2D
    }
  let shown = isPlain ? name : quoted(name)
  return path.isEmpty ? shown : path + "." + shown
}

/// Turns Yams' tree into ours.
private struct Walk {
  let source: SourceText
  let environment: [String: String]
  var count = 0
  var mistakes: [(position: Position, field: String, message: String)] = []

  mutating func node(_ node: Node, path: String) -> YAMLNode {
    count += 1
    let position = node.mark.map { Position($0) } ?? .start
    guard count <= YAMLDocument.nodeLimit else { return YAMLNode(content: .unresolved, position: position) }
    switch node {
    case .scalar(let scalar): return value(of: scalar, at: position, path: path)
    case .alias: return YAMLNode(content: .unresolved, position: position)
    case .sequence(let sequence):
      var items: [YAMLNode] = []
      for (index, item) in sequence.enumerated() { items.append(self.node(item, path: "\(path)[\(index)]")) }
      return YAMLNode(content: .sequence(items), position: position)
    case .mapping(let mapping):
      var fields: [YAMLField] = []
      for (key, value) in mapping {
        let keyPosition = key.mark.map { Position($0) } ?? position
        var name = key.scalar?.string
        if let hidden = source.hidden[HiddenPlace(keyPosition)] { name = hidden }
        let value = self.node(value, path: fieldPath(path, name ?? "?"))
        fields.append(YAMLField(key: name, position: keyPosition, value: value))
      }
      return YAMLNode(content: .mapping(fields), position: position)
    }
  }

  private mutating func value(of scalar: Node.Scalar, at position: Position, path: String) -> YAMLNode {
    let written = scalar.string
    guard written.utf8.contains(UInt8(ascii: "$")), written.contains("${") else {
      return YAMLNode(
        content: .scalar(written, isPlain: scalar.style == .plain || scalar.style == .any), position: position,
        written: written)
    }
    var out = ""
    var rest = written[...]
    var isResolved = true
    while let dollar = rest.firstIndex(of: "$") {
      out += rest[..<dollar]
      rest = rest[dollar...]
      if rest.hasPrefix("$${") {
        out += "${"
        rest = rest.dropFirst(3)
      } else if rest.hasPrefix("${") {
        let name = rest.dropFirst(2).prefix { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_") }
        let after = rest.dropFirst(2 + name.count)
        guard after.first == "}", let first = name.first, !first.isNumber else {
          let message =
            "\"${\" begins the name of a variable, allowed: ${NAME} with letters, digits and _, or $${ for the text ${"
          mistakes.append((position, path, message))
          return YAMLNode(content: .unresolved, position: position, written: written)
        }
        if let value = environment[String(name)] {
          out += value
        } else {
          mistakes.append(
            (position, path, "the environment variable \(name) is not set, allowed: a variable that is set"))
          isResolved = false
        }
        rest = after.dropFirst()
      } else {
        out += "$"
        rest = rest.dropFirst()
      }
    }
    out += rest
    return YAMLNode(
      content: isResolved ? .scalar(out, isPlain: false) : .unresolved, position: position, written: written)
  }
}

private struct HiddenPlace: Hashable {
  var line: Int
  var column: Int
  init(_ position: Position) {
    line = position.line
    column = position.column
  }
}

/// The text, in which keys can be replaced by private-use characters of the same width, so that positions stay the
/// same.
private struct SourceText {
  private var scalars: [Unicode.Scalar]
  private var lineStarts: [Int] = [0]
  private(set) var hidden: [HiddenPlace: String] = [:]
  private(set) var text: String

  init(_ text: String) {
    scalars = Array(text.unicodeScalars)
    if scalars.first == "\u{FEFF}" { scalars.removeFirst() }
    self.text = String(String.UnicodeScalarView(scalars))
    var index = 0
    while index < scalars.count {
      switch scalars[index] {
      case "\r":
        if index + 1 < scalars.count, scalars[index + 1] == "\n" { index += 1 }
        lineStarts.append(index + 1)
      case "\n", "\u{85}", "\u{2028}", "\u{2029}": lineStarts.append(index + 1)
      default: break
      }
      index += 1
    }
  }

  func position(ofCharacter offset: Int) -> Position {
    let end = text.index(text.startIndex, offsetBy: offset, limitedBy: text.endIndex) ?? text.endIndex
    let at = text.unicodeScalars.distance(from: text.startIndex, to: end)
    let line = lineStarts.lastIndex { $0 <= at } ?? 0
    return Position(line: line + 1, column: at - lineStarts[line] + 1)
  }

  /// Hides the key that begins at `position`; false where there is no simple key on one line.
  mutating func hideKey(at position: Position) -> Bool {
    guard position.line >= 1, position.line <= lineStarts.count, hidden.count < 0x1000 else { return false }
    let start = lineStarts[position.line - 1] + position.column - 1
    guard start < scalars.count, hidden[HiddenPlace(position)] == nil else { return false }
    var end = start
    var name = String.UnicodeScalarView()
    let quote = scalars[start]
    if quote == "\"" || quote == "'" {
      end += 1
      while end < scalars.count, scalars[end] != quote {
        // Escapes and line breaks in keys are too rare to be decoded.
        if scalars[end] == "\\" || scalars[end] == "\n" || scalars[end] == "\r" { return false }
        name.append(scalars[end])
        end += 1
      }
      guard end < scalars.count else { return false }
      end += 1
    } else {
      while end < scalars.count,
        scalars[end].properties.isAlphabetic || "0123456789_-./".unicodeScalars.contains(scalars[end])
      {
        name.append(scalars[end])
        end += 1
      }
    }
    guard end > start else { return false }
    var after = end
    while after < scalars.count, scalars[after] == " " { after += 1 }
    guard after < scalars.count, scalars[after] == ":" else { return false }
    // Each hidden key gets a character of its own, so that no two of them are equal.
    let number = hidden.count
    let mark = Unicode.Scalar(UInt32(0xE000 + number)) ?? "\u{E000}"
    for index in start..<end { scalars[index] = mark }
    hidden[HiddenPlace(position)] = String(name)
    text = String(String.UnicodeScalarView(scalars))
    return true
  }
}
