// Sets members of an object in a JSON text and leaves every other byte as it is: for settings files that people keep. Reads
// a single member of a small object.
//
// Promises: a text that is no JSON object is an error with line and column; what has the wanted value already is not touched,
// so that a second setting changes nothing. Reads at most 64 levels.

/// Why a settings file is not changed, and where.
public struct SettingsMistake: Error, Equatable {
  public var line: Int
  public var column: Int
  public var message: String

  public init(line: Int, column: Int, message: String) {
    self.line = line
    self.column = column
    self.message = message
  }
}

public enum JSONMembers {
  /// The text with these string members in the object `parent`, which is added where it is missing.
  /// - Parameter kept: names whose value stays where there is one.
  public static func setting(
    _ members: [(name: String, value: String)], keeping kept: Set<String> = [], inObject parent: String, of text: String
  ) throws(SettingsMistake) -> String {
    var bytes = Array(text.utf8)
    if bytes.allSatisfy({ $0 == 0x20 || $0 == 0x09 || $0 == 0x0A || $0 == 0x0D }) { bytes = Array("{}\n".utf8) }
    for member in members {
      var reader = Reader(bytes: bytes)
      let top = try reader.document()
      guard let found = top.members.first(where: { $0.name == parent }) else {
        bytes = inserted(quoted(parent) + ": {}", into: top, of: bytes, indent: "  ")
        reader = Reader(bytes: bytes)
        let grown = try reader.document()
        let object = grown.members.first { $0.name == parent }?.object
        if let object { bytes = inserted(line(member), into: object, of: bytes, indent: "    ") }
        continue
      }
      guard let object = found.object else {
        throw Reader.mistake("\"\(parent)\" is no object", at: found.value.lowerBound, in: bytes)
      }
      if let present = object.members.first(where: { $0.name == member.name }) {
        let wanted = Array(quoted(member.value).utf8)
        if kept.contains(member.name) || Array(bytes[present.value]) == wanted { continue }
        bytes.replaceSubrange(present.value, with: wanted)
      } else {
        bytes = inserted(line(member), into: object, of: bytes, indent: "    ")
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// The text of a string member of the object; nil where there is none, or the bytes are no JSON object. Escapes stay as
  /// they are written.
  public static func text(_ name: String, in bytes: [UInt8]) -> String? {
    var reader = Reader(bytes: bytes)
    guard let member = (try? reader.document())?.members.last(where: { $0.name == name }), member.value.count >= 2,
      bytes[member.value.lowerBound] == UInt8(ascii: "\"")
    else { return nil }
    return String(decoding: bytes[member.value.lowerBound + 1..<member.value.upperBound - 1], as: UTF8.self)
  }

  private static func quoted(_ text: String) -> String {
    var bytes: [UInt8] = []
    JSONString.append(text, to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }

  private static func line(_ member: (name: String, value: String)) -> String {
    quoted(member.name) + ": " + quoted(member.value)
  }

  /// A member more at the end of an object.
  private static func inserted(_ member: String, into object: Object, of bytes: [UInt8], indent: String) -> [UInt8] {
    var result = bytes
    let outer = String(indent.dropLast(2))
    if let last = object.members.last {
      result.insert(contentsOf: Array(",\n\(indent)\(member)".utf8), at: last.value.upperBound)
    } else {
      result.replaceSubrange(object.open + 1..<object.close, with: Array("\n\(indent)\(member)\n\(outer)".utf8))
    }
    return result
  }

  fileprivate struct Member {
    var name: String
    var value: Range<Int>
    var object: Object?
  }

  fileprivate struct Object {
    var open: Int
    var close: Int
    var members: [Member] = []
  }

  /// Finds where the members of objects stand; strings are compared as they are written.
  fileprivate struct Reader {
    let bytes: [UInt8]
    var at = 0

    init(bytes: [UInt8]) { self.bytes = bytes }

    static func mistake(_ message: String, at index: Int, in bytes: [UInt8]) -> SettingsMistake {
      let before = bytes[..<min(index, bytes.count)]
      let start = before.lastIndex(of: 0x0A).map { $0 + 1 } ?? 0
      return SettingsMistake(
        line: before.count { $0 == 0x0A } + 1, column: before.count - start + 1, message: message)
    }

    private func fail(_ message: String) -> SettingsMistake { Reader.mistake(message, at: at, in: bytes) }

    mutating func document() throws(SettingsMistake) -> Object {
      skip()
      guard peek == UInt8(ascii: "{") else { throw fail("expected an object, which begins with {") }
      guard let object = try value(depth: 0).object else { throw fail("expected an object") }
      skip()
      if at < bytes.count { throw fail("more text after the end of the object") }
      return object
    }

    private var peek: UInt8? { at < bytes.count ? bytes[at] : nil }

    private mutating func skip() {
      while let byte = peek, byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D { at += 1 }
    }

    private mutating func value(depth: Int) throws(SettingsMistake) -> (object: Object?, end: Int) {
      guard depth < 64 else { throw fail("more than 64 levels") }
      switch peek {
      case UInt8(ascii: "{"):
        return (try object(depth: depth), at)
      case UInt8(ascii: "["):
        try array(depth: depth)
      case UInt8(ascii: "\""):
        _ = try string()
      default:
        try word()
      }
      return (nil, at)
    }

    private mutating func object(depth: Int) throws(SettingsMistake) -> Object {
      var object = Object(open: at, close: at)
      at += 1
      skip()
      while peek != UInt8(ascii: "}") {
        if !object.members.isEmpty {
          guard peek == UInt8(ascii: ",") else { throw fail("expected , or }") }
          at += 1
          skip()
        }
        guard peek == UInt8(ascii: "\"") else { throw fail("expected a name in double quotes") }
        let name = try string()
        skip()
        guard peek == UInt8(ascii: ":") else { throw fail("expected : after the name") }
        at += 1
        skip()
        let start = at
        let read = try value(depth: depth + 1)
        object.members.append(Member(name: name, value: start..<read.end, object: read.object))
        skip()
      }
      object.close = at
      at += 1
      return object
    }

    private mutating func array(depth: Int) throws(SettingsMistake) {
      at += 1
      skip()
      var isFirst = true
      while peek != UInt8(ascii: "]") {
        if !isFirst {
          guard peek == UInt8(ascii: ",") else { throw fail("expected , or ]") }
          at += 1
          skip()
        }
        isFirst = false
        _ = try value(depth: depth + 1)
        skip()
      }
      at += 1
    }

    private mutating func string() throws(SettingsMistake) -> String {
      let start = at + 1
      at += 1
      while let byte = peek, byte != UInt8(ascii: "\"") {
        if byte < 0x20 { throw fail("a string without its end") }
        at += byte == UInt8(ascii: "\\") ? 2 : 1
      }
      guard at < bytes.count else { throw Reader.mistake("a string without its end", at: start - 1, in: bytes) }
      at += 1
      return String(decoding: bytes[start..<at - 1], as: UTF8.self)
    }

    private mutating func word() throws(SettingsMistake) {
      let start = at
      while let byte = peek, byte > 0x20, !",]}:\"".utf8.contains(byte) { at += 1 }
      let text = String(decoding: bytes[start..<at], as: UTF8.self)
      let isNumber = text.utf8.first.map { $0 == UInt8(ascii: "-") || (0x30...0x39).contains($0) } ?? false
      guard isNumber || text == "true" || text == "false" || text == "null" else {
        throw Reader.mistake(text.isEmpty ? "a value is missing" : "'\(text)' is no value", at: start, in: bytes)
      }
    }
  }
}
