// The only file of ProviderWire that uses the JSON reader of CSimdjson: its memory, and a safe interface to its tokens.
// The unsafe pointers stay in this file.
import AdmissionCore
import CSimdjson
import TextForms

/// Memory for reading JSON, reused for one text after another. Keep one per loop and share it with every reader and
/// tap. It grows with the largest text, up to the need of a window of 1 MiB (4 MiB), and frees what texts above 256 KiB
/// needed.
public final class WireScratch {
  fileprivate let json: OpaquePointer
  fileprivate var isBusy = false

  public init() {
    // A few hundred bytes could not be allocated: Swift itself would stop at its next allocation.
    guard let made = tg_json_make() else { fatalError("out of memory") }
    json = made
  }

  /// For tests: a smaller window, as if texts were larger.
  /// - Parameter window: bytes that are split into tokens at a time, at least 1.
  convenience init(window: Int) {
    self.init()
    tg_json_set_window(json, window)
  }

  deinit { tg_json_free(json) }

  /// Memory for texts up to this many bytes is kept between texts.
  private static let kept = 256 << 10

  /// Walks over one text. Where its bytes cannot even be split into tokens, the first `next` returns `.error`.
  func walk<Result>(_ bytes: ArraySlice<UInt8>, _ body: (inout JSONWalk) -> Result) -> Result {
    // A nested reader would share the list of tokens, so it gets memory of its own.
    guard !isBusy else { return WireScratch().walk(bytes, body) }
    isBusy = true
    defer {
      isBusy = false
      if bytes.count > Self.kept { tg_json_trim(json, Self.kept) }
    }
    return bytes.withUnsafeBufferPointer { text in
      // The C reader uses these bytes only until the walk is over.
      _ = tg_json_begin(json, text.baseAddress, text.count)
      var walk = JSONWalk(json: json, text: bytes)
      return body(&walk)
    }
  }
}

/// A walk over one JSON text, token by token. Strict (RFC 8259): a text that ends with `.end` was valid to the last
/// byte.
struct JSONWalk {
  enum Kind: UInt8 {
    case end, error, objectBegin, objectEnd, arrayBegin, arrayEnd, string, number, isTrue, isFalse, null
  }

  private let json: OpaquePointer
  private let text: ArraySlice<UInt8>
  private var token = tg_json_token()
  private(set) var kind: Kind = .error

  fileprivate init(json: OpaquePointer, text: ArraySlice<UInt8>) {
    self.json = json
    self.text = text
  }

  /// The text's bytes between two positions, counted from its beginning.
  private func raw(_ start: Int, _ end: Int) -> ArraySlice<UInt8> {
    text[text.startIndex + start..<text.startIndex + end]
  }
  private var rawName: ArraySlice<UInt8> { raw(token.key_start, token.key_end) }
  private var rawValue: ArraySlice<UInt8> { raw(token.start, token.end) }

  /// A string's bytes with escapes resolved.
  private static func unescaped(_ raw: ArraySlice<UInt8>) -> [UInt8] {
    raw.withUnsafeBufferPointer { source in
      [UInt8](unsafeUninitializedCapacity: source.count * 3) { out, count in
        guard let from = source.baseAddress, let to = out.baseAddress else { return }
        count = tg_json_unescape(from, source.count, to, out.count)
      }
    }
  }

  /// Goes to the next token.
  @discardableResult mutating func next() -> Kind {
    kind = Kind(rawValue: tg_json_next(json, &token)) ?? .error
    return kind
  }

  /// Goes to the next token, but returns only those members of objects that are in `names`; the others are skipped
  /// unchecked.
  @discardableResult mutating func next(of names: JSONNames) -> Kind {
    kind = withUnsafePointer(to: names.bits) { Kind(rawValue: tg_json_next_of(json, &token, $0)) ?? .error }
    return kind
  }

  /// Skips the container that has just begun, unchecked; its end token is not returned.
  mutating func skip() {
    if !tg_json_skip(json) { kind = .error }
  }

  /// Walks to the end of the container that has just begun, and checks everything in it.
  mutating func skipChecked() {
    let depth = token.depth
    while true {
      switch next() {
      case .end, .error: return
      case .objectEnd, .arrayEnd: if token.depth == depth { return }
      default: continue
      }
    }
  }

  /// Bytes of the list of tokens.
  var listBytes: Int { tg_json_list_bytes(json) }

  /// What is wrong with the text and where, once `kind` is `.error`.
  var fault: (reason: String, position: Int) {
    (String(cString: tg_json_error(json)), tg_json_error_position(json))
  }

  /// The member's name, where it is a known one.
  var key: tg_json_key { tg_json_key(UInt32(token.key)) }
  /// The name of the container around the member.
  var parent: tg_json_key { tg_json_key(UInt32(token.parent)) }
  var depth: Int { Int(token.depth) }
  /// The byte positions of the value in the text; for a string, without its quotes.
  var start: Int { token.start }
  var end: Int { token.end }
  var keyLength: Int { token.key_end - token.key_start }
  /// The member's name, with escapes resolved.
  var keyName: String {
    let raw = rawName
    guard raw.contains(UInt8(ascii: "\\")) else { return String(decoding: raw, as: UTF8.self) }
    return String(decoding: Self.unescaped(raw), as: UTF8.self)
  }
  /// True where the member's name is `wanted`, a lower-case word, in any case, since some servers ignore the case.
  func isKey(ignoringCase wanted: StaticString) -> Bool {
    let raw = rawName
    guard raw.contains(UInt8(ascii: "\\")) else { return Self.isWord(raw, wanted) }
    guard raw.count <= 6 * wanted.utf8CodeUnitCount else { return false }
    return Self.isWord(Self.unescaped(raw)[...], wanted)
  }

  private static func isWord(_ bytes: ArraySlice<UInt8>, _ wanted: StaticString) -> Bool {
    bytes.count == wanted.utf8CodeUnitCount
      && wanted.withUTF8Buffer { word in zip(bytes, word).allSatisfy { $0 | 0x20 == $1 } }
  }
  /// A number by which values are told apart, made of the bytes as written.
  var print: UInt64 {
    rawValue.withUnsafeBufferPointer { text in text.baseAddress.map { tg_text_print($0, text.count) } ?? 0 }
  }
  /// The bytes of a string with its escapes resolved.
  var decodedLength: Int { token.decoded_length }
  /// True where a string contains escapes.
  var hasEscapes: Bool { token.has_escapes }
  /// The number of members or elements of the container that ended.
  var count: Int { token.count }
  /// How many elements of the array that ended were numbers.
  var numbers: Int { token.numbers }

  /// One byte of the text.
  func byte(at position: Int) -> UInt8 { text[text.startIndex + position] }

  /// True where a string starts with `prefix`; compares the bytes as written.
  func stringStarts(with prefix: StaticString) -> Bool {
    let length = prefix.utf8CodeUnitCount
    guard token.end - token.start >= length else { return false }
    let start = text.startIndex + token.start
    return prefix.withUTF8Buffer { wanted in
      for index in 0..<length where text[start + index] != wanted[index] { return false }
      return true
    }
  }

  /// True where the value is this string.
  func isString(_ wanted: StaticString) -> Bool {
    kind == .string && decodedLength == wanted.utf8CodeUnitCount
      && (hasEscapes ? string() == wanted.description : stringStarts(with: wanted))
  }

  /// True where a string without escapes equals `wanted`.
  func isString(_ wanted: String) -> Bool {
    guard kind == .string, !hasEscapes, decodedLength == wanted.utf8.count else { return false }
    return rawValue.elementsEqual(wanted.utf8)
  }

  /// A string's content, cut to `limit` bytes of its written form.
  func string(limit: Int = 4096) -> String {
    let raw = raw(token.start, min(token.end, token.start + limit))
    guard hasEscapes else { return String(decoding: raw, as: UTF8.self) }
    return String(decoding: Self.unescaped(raw), as: UTF8.self)
  }

  /// A number's text.
  var numberText: Substring { Substring(decoding: rawValue, as: UTF8.self) }

  /// A number as a count, without its fraction.
  var tokenCount: TokenCount { TokenCount(wholeNumber) }

  /// True where a number cannot be a count: above 2^40, or below zero.
  var isImpossibleCount: Bool {
    if byte(at: token.start) == UInt8(ascii: "-") { return nano != 0 }
    return wholeNumber > TokenCount.most.value
  }

  /// A number without its fraction, cut to 0...2^53.
  var wholeNumber: Int64 {
    var value: Int64 = 0
    for byte in rawValue {
      guard byte >= 0x30, byte <= 0x39 else {
        switch byte {
        case UInt8(ascii: "e"), UInt8(ascii: "E"):
          let double = Double(numberText) ?? 0
          return double > 0 ? Int64(min(double, 9_007_199_254_740_992)) : 0
        case UInt8(ascii: "."):
          if rawValue.contains(where: { $0 | 0x20 == UInt8(ascii: "e") }) {
            let double = Double(numberText) ?? 0
            return double > 0 ? Int64(min(double, 9_007_199_254_740_992)) : 0
          }
          return value
        default: return 0
        }
      }
      value = min(value * 10 + Int64(byte - 0x30), 9_007_199_254_740_992)
    }
    return value
  }

  /// A number of dollars, in nano-dollars.
  var dollars: DecimalText.Reading { DecimalText.read(rawValue, timesTenTo: 9) }

  /// A decimal number × 10^9, rounded to the nearest; nil where it is negative or too large.
  var nano: Int64? { DecimalText.scaled(rawValue, by: 9) }
}

/// A set of member names.
struct JSONNames {
  fileprivate var bits = tg_json_keys()

  init(_ names: [tg_json_key]) {
    for name in names {
      let bit: UInt64 = 1 << UInt64(name.rawValue & 63)
      switch name.rawValue >> 6 {
      case 0: bits.words.0 |= bit
      case 1: bits.words.1 |= bit
      case 2: bits.words.2 |= bit
      default: bits.words.3 |= bit
      }
    }
  }
}
