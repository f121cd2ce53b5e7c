// A frame of an event stream that is too large to be kept. Only its beginning and its end so far are kept, since they
// contain its type and its usage. Feed it until it finds the frame's end.

struct SkimmedFrame {
  private static let headLimit = 1 << 10
  private static let tailLimit = UsageTap.tailLimit

  private let head: [UInt8]
  private(set) var tail: [UInt8]
  /// True where no byte of the current line has come.
  private var isLineEmpty: Bool
  /// True where the last byte was a carriage return: a line feed right after it belongs to it.
  private var sawReturn: Bool

  /// - Parameter start: the bytes of the frame that have come.
  init(_ start: ArraySlice<UInt8>) {
    head = Array(start.prefix(Self.headLimit))
    tail = Array(start.suffix(Self.tailLimit))
    isLineEmpty = start.last == 0x0A || start.last == 0x0D
    sawReturn = start.last == 0x0D
  }

  var keptBytes: Int { head.count + tail.count }

  /// Takes bytes up to the frame's end and returns the place after it; nil where the frame goes on.
  mutating func take(_ bytes: ArraySlice<UInt8>) -> Int? {
    var at = bytes.startIndex
    var nextReturn = ByteSearch.first(0x0D, in: bytes, from: at) ?? bytes.endIndex
    while at < bytes.endIndex {
      let byte = bytes[at]
      if sawReturn {
        sawReturn = false
        if byte == 0x0A {
          at += 1
          continue
        }
      }
      if byte == 0x0A || byte == 0x0D {
        if isLineEmpty {
          keep(bytes[..<at])
          let isPair = byte == 0x0D && at + 1 < bytes.endIndex && bytes[at + 1] == 0x0A
          return at + (isPair ? 2 : 1)
        }
        isLineEmpty = true
        sawReturn = byte == 0x0D
        at += 1
        continue
      }
      isLineEmpty = false
      if nextReturn < at { nextReturn = ByteSearch.first(0x0D, in: bytes, from: at) ?? bytes.endIndex }
      at = min(ByteSearch.first(0x0A, in: bytes, from: at) ?? bytes.endIndex, nextReturn)
    }
    keep(bytes)
    return nil
  }

  private mutating func keep(_ bytes: ArraySlice<UInt8>) {
    tail.append(contentsOf: bytes.suffix(Self.tailLimit))
    if tail.count > 2 * Self.tailLimit { tail.removeFirst(tail.count - Self.tailLimit) }
  }

  /// An object with the type of the frame's object; nil where the beginning does not contain it.
  var typeObject: [UInt8]? {
    guard let open = ByteSearch.first(UInt8(ascii: "{"), in: head[...], from: 0),
      let name = ByteSearch.first(Array("\"type\"".utf8), in: head[...], from: open),
      // The type of the frame's own object, not of one inside it.
      ByteSearch.first(UInt8(ascii: "{"), in: head[..<name], from: open + 1) == nil,
      let quote = ByteSearch.first(UInt8(ascii: "\""), in: head[...], from: name + 6),
      let end = ByteSearch.first(UInt8(ascii: "\""), in: head[...], from: quote + 1), end - quote < 64
    else { return nil }
    return Array("{\"type\":".utf8) + head[quote...end] + Array("}".utf8)
  }
}
