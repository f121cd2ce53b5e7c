// Reads a request body as a vendor would: whether it is JSON, what it asks for, and how much text it contains. It makes
// one pass over the bytes, without a tree, and is separate from the broker's parser, so that the two disagree where one
// is wrong.

/// What the simulator needs from a request body.
struct SimulatedRequest: Equatable {
  var model: String?
  var isStream = false
  var includesUsage = false
  /// The output cap, whichever field gave it.
  var outputCap: Int?
  var choices = 1
  /// UTF-8 bytes of all text.
  var textBytes = 0
  /// Characters of all text.
  var characters = 0
  /// Token ids given instead of text.
  var tokenIDs = 0
  /// Elements of a top-level `input` array; 1 for a text.
  var inputs = 1
  var media = 0
  var hasMessages = false
  var usesCacheControl = false
  var session: String?
  var wantsBase64 = false
  var dimensions: Int?

  /// Input tokens by the rule of bytes / 4, media at 1,500 each.
  func inputTokens(ratio: Double) -> Int {
    max(1, Int((Double(textBytes) / 4 * ratio).rounded(.up)) + tokenIDs + media * 1500)
  }

  /// The tokens that OpenAI counts at admission, from the request's characters.
  var characterTokens: Int { max(1, (characters + 3) / 4 + tokenIDs + media * 1500) }

  /// Nil where the body is not one JSON object.
  init?(_ body: [UInt8]) {
    var scanner = Scanner(body: body)
    scanner.space()
    guard scanner.object(depth: 0) else { return nil }
    scanner.space()
    guard scanner.at == body.count else { return nil }
    self = scanner.reading
  }

  init() {}
}

/// A recursive scanner, at most 200 levels deep.
private struct Scanner {
  let body: [UInt8]
  var at = 0
  var reading = SimulatedRequest()
  /// The top-level field that is being read.
  private var field = ""

  init(body: [UInt8]) { self.body = body }

  private static let quote = UInt8(ascii: "\"")
  private static let backslash = UInt8(ascii: "\\")

  mutating func space() {
    while at < body.count, body[at] == 0x20 || body[at] == 0x0A || body[at] == 0x0D || body[at] == 0x09 { at += 1 }
  }

  private mutating func take(_ byte: UInt8) -> Bool {
    guard at < body.count, body[at] == byte else { return false }
    at += 1
    return true
  }

  mutating func object(depth: Int) -> Bool {
    guard depth < 200, take(UInt8(ascii: "{")) else { return false }
    space()
    if take(UInt8(ascii: "}")) { return true }
    while true {
      space()
      guard let key = string() else { return false }
      let name = String(decoding: body[key.range], as: UTF8.self)
      if depth == 0 { field = name }
      if name == "cache_control" { reading.usesCacheControl = true }
      space()
      guard take(UInt8(ascii: ":")) else { return false }
      guard value(key: name, depth: depth + 1) else { return false }
      space()
      if take(UInt8(ascii: "}")) { return true }
      guard take(UInt8(ascii: ",")) else { return false }
    }
  }

  private mutating func array(key: String, depth: Int) -> Bool {
    guard depth < 200, take(UInt8(ascii: "[")) else { return false }
    space()
    if take(UInt8(ascii: "]")) { return true }
    var count = 0
    while true {
      guard value(key: key, depth: depth + 1) else { return false }
      count += 1
      space()
      if take(UInt8(ascii: "]")) { break }
      guard take(UInt8(ascii: ",")) else { return false }
    }
    if depth == 1, field == "input" || field == "prompt" { reading.inputs = count }
    return true
  }

  private mutating func value(key: String, depth: Int) -> Bool {
    space()
    guard at < body.count else { return false }
    switch body[at] {
    case UInt8(ascii: "{"): return object(depth: depth)
    case UInt8(ascii: "["):
      if depth == 1, key == "messages" { reading.hasMessages = true }
      return array(key: key, depth: depth)
    case Self.quote:
      guard let text = string() else { return false }
      note(text, key: key, depth: depth)
      return true
    case UInt8(ascii: "t"): return word("true") && flag(key, true, depth: depth)
    case UInt8(ascii: "f"): return word("false") && flag(key, false, depth: depth)
    case UInt8(ascii: "n"): return word("null")
    default: return number(key: key, depth: depth)
    }
  }

  private mutating func word(_ expected: StaticString) -> Bool {
    let count = expected.utf8CodeUnitCount
    guard at + count <= body.count else { return false }
    guard body[at..<at + count].elementsEqual(expected.description.utf8) else { return false }
    at += count
    return true
  }

  private mutating func number(key: String, depth: Int) -> Bool {
    let start = at
    while at < body.count {
      let byte = body[at]
      guard byte >= 0x30 && byte <= 0x39 || byte == 0x2D || byte == 0x2B || byte == 0x2E || byte | 0x20 == 0x65 else {
        break
      }
      at += 1
    }
    guard let value = Double(String(decoding: body[start..<at], as: UTF8.self)) else { return false }
    if depth == 1 {
      let whole = Int(exactly: value.rounded()) ?? 0
      switch key {
      case "max_tokens": if reading.outputCap == nil { reading.outputCap = whole }
      case "max_completion_tokens", "max_output_tokens": reading.outputCap = whole
      case "n": reading.choices = max(1, min(whole, 16))
      case "dimensions": reading.dimensions = max(1, min(whole, 4096))
      default: break
      }
    } else if field == "input" || field == "prompt" {
      reading.tokenIDs += 1
    }
    return true
  }

  private mutating func flag(_ key: String, _ value: Bool, depth: Int) -> Bool {
    if depth == 1, key == "stream" { reading.isStream = value }
    if depth == 2, field == "stream_options", key == "include_usage" { reading.includesUsage = value }
    return true
  }

  private mutating func string() -> (range: Range<Int>, characters: Int)? {
    guard take(Self.quote) else { return nil }
    let start = at
    var continuations = 0
    while at < body.count {
      let byte = body[at]
      if byte == Self.quote {
        at += 1
        return (start..<at - 1, at - 1 - start - continuations)
      }
      if byte < 0x20 { return nil }
      if byte == Self.backslash {
        guard at + 1 < body.count else { return nil }
        let skipped = body[at + 1] == UInt8(ascii: "u") ? 5 : 1
        continuations += skipped
        at += skipped
      } else if byte & 0xC0 == 0x80 {
        continuations += 1
      }
      at += 1
    }
    return nil
  }

  private mutating func note(_ text: (range: Range<Int>, characters: Int), key: String, depth: Int) {
    func value() -> String { String(decoding: body[text.range], as: UTF8.self) }
    if depth == 1 {
      switch key {
      case "model": reading.model = value()
      case "prompt_cache_key": reading.session = value()
      case "encoding_format": reading.wantsBase64 = value() == "base64"
      case "input", "prompt", "instructions", "system": count(text)
      default: break
      }
      return
    }
    switch key {
    case "role", "type", "id", "model", "detail", "media_type", "format", "tool_use_id", "tool_call_id", "ttl": break
    case "user_id": if field == "metadata", reading.session == nil { reading.session = value() }
    case "data", "file_data": reading.media += 1
    case "url", "image_url":
      if body[text.range].starts(with: "data:".utf8) { reading.media += 1 } else { count(text) }
    default: if field != "metadata" { count(text) }
    }
  }

  private mutating func count(_ text: (range: Range<Int>, characters: Int)) {
    reading.textBytes += text.range.count
    reading.characters += text.characters
  }
}
