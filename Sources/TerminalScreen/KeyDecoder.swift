// What was pressed, from the bytes that a terminal sends.
//
// Promises: any bytes give keys or nothing, in one pass; sequences and characters may be split over reads; what is unknown is
// one `.other`, so that its letters are not taken for keys; at most 64 bytes are kept.

public enum Key: Equatable, Sendable {
  case character(Character)
  /// Ctrl and a letter, in lower case.
  case control(Character)
  case enter
  case escape
  case tab
  case backTab
  case backspace
  case up
  case down
  case left
  case right
  case pageUp
  case pageDown
  case home
  case end
  /// A key without a meaning here.
  case other
}

public struct KeyDecoder: Sendable {
  private static let mostKept = 64
  private var kept: [UInt8] = []

  public init() {}

  /// True while a sequence has begun: if nothing follows within a moment, it was the Escape key, and the caller says so
  /// with ``pause()``.
  public var isWaiting: Bool { !kept.isEmpty }

  public mutating func keys(from bytes: some Sequence<UInt8>) -> [Key] {
    kept += bytes
    var keys: [Key] = []
    var at = 0
    while at < kept.count {
      guard let (key, length) = KeyDecoder.first(of: kept[at...]) else { break }
      if let key { keys.append(key) }
      at += length
    }
    kept.removeFirst(at)
    if kept.count > KeyDecoder.mostKept { kept = [] }
    return keys
  }

  /// Nothing has followed: what was kept is taken for what it is.
  public mutating func pause() -> [Key] {
    defer { kept = [] }
    guard let first = kept.first else { return [] }
    return first == 0x1B && kept.count == 1 ? [.escape] : [.other]
  }

  /// The first key and its number of bytes; nil while bytes are missing.
  private static func first(of bytes: ArraySlice<UInt8>) -> (key: Key?, length: Int)? {
    guard let first = bytes.first else { return nil }
    switch first {
    case 0x1B: return sequence(bytes)
    case 0x0D, 0x0A: return (.enter, 1)
    case 0x09: return (.tab, 1)
    case 0x08, 0x7F: return (.backspace, 1)
    case 0x00: return (.other, 1)
    case 0x01...0x1A: return (.control(Character(UnicodeScalar(first + 0x60))), 1)
    case 0x1C...0x1F: return (.other, 1)
    case 0x20..<0x7F: return (.character(Character(UnicodeScalar(first))), 1)
    case 0xC2...0xF4: return character(bytes, length: first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4)
    default: return (nil, 1)
    }
  }

  private static func character(_ bytes: ArraySlice<UInt8>, length: Int) -> (key: Key?, length: Int)? {
    let part = bytes.prefix(length)
    // A byte that cannot follow is a beginning of its own.
    if let stranger = part.dropFirst().firstIndex(where: { $0 & 0xC0 != 0x80 }) {
      return (nil, stranger - bytes.startIndex)
    }
    guard part.count == length else { return nil }
    guard let text = String(validating: part, as: UTF8.self), let character = text.first else { return (nil, length) }
    return (.character(character), length)
  }

  private static func sequence(_ bytes: ArraySlice<UInt8>) -> (key: Key?, length: Int)? {
    let start = bytes.startIndex
    guard bytes.count >= 2 else { return nil }
    switch bytes[start + 1] {
    case UInt8(ascii: "["):
      guard let end = bytes.dropFirst(2).firstIndex(where: { !(0x20...0x3F).contains($0) }) else { return nil }
      let length = end - start + 1
      // Something else than a final byte: the sequence was cut, and this byte begins anew.
      guard (0x40...0x7E).contains(bytes[end]) else { return (.other, length - 1) }
      // The console of Linux sends F1 to F5 as `[[A`.
      if bytes[end] == UInt8(ascii: "["), length == 3 { return bytes.count > 3 ? (.other, 4) : nil }
      return (control(bytes[(start + 2)..<end], final: bytes[end]), length)
    case UInt8(ascii: "O"):
      guard bytes.count >= 3 else { return nil }
      return (control([], final: bytes[start + 2]), 3)
    case 0x1B: return (.escape, 1)
    // Alt and a key.
    default: return (.other, 2)
    }
  }

  private static func control(_ parameters: ArraySlice<UInt8>, final: UInt8) -> Key {
    switch final {
    case UInt8(ascii: "A"): return .up
    case UInt8(ascii: "B"): return .down
    case UInt8(ascii: "C"): return .right
    case UInt8(ascii: "D"): return .left
    case UInt8(ascii: "H"): return .home
    case UInt8(ascii: "F"): return .end
    case UInt8(ascii: "M") where parameters.isEmpty: return .enter
    case UInt8(ascii: "Z"): return .backTab
    case UInt8(ascii: "~"):
      switch String(decoding: parameters.prefix { $0 != UInt8(ascii: ";") }, as: UTF8.self) {
      case "1", "7": return .home
      case "4", "8": return .end
      case "5": return .pageUp
      case "6": return .pageDown
      default: return .other
      }
    default: return .other
    }
  }
}
