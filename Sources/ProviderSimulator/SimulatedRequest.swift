// Reads a request body as a vendor would: whether it is JSON, what it asks for, how much text it contains, and where the
// parts of the prompt are. It makes one pass over the bytes, without a tree, and is separate from the broker's parser, so
// that the two disagree where one is wrong.

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
  /// The parts of the prompt, in the body's order, and the pieces of which they are made.
  var blocks: [PromptBlock] = []
  var pieces: [PromptPiece] = []
  /// Where the settings are that a vendor puts before the messages.
  var switches: [Range<Int>] = []
  /// Set where a `cache_control` of the whole request marks its last block.
  var automaticLife: CacheLife?
  /// OpenAI's `prompt_cache_key`, which decides where a prompt is looked for.
  var cacheKey: String?
  var wantsBase64 = false
  var dimensions: Int?

  /// What an image, a sound or a file counts as.
  static let mediaTokens = 1500

  /// Input tokens by the rule of bytes / 4, media at 1,500 each.
  func inputTokens(ratio: Double) -> Int {
    max(1, Int((Double(textBytes) / 4 * ratio).rounded(.up)) + tokenIDs + media * Self.mediaTokens)
  }

  /// The tokens that OpenAI counts at admission, from the request's characters.
  var characterTokens: Int { max(1, (characters + 3) / 4 + tokenIDs + media * Self.mediaTokens) }

  /// Puts the mark of the whole request on its last block. Returns what the vendor refuses about the marks.
  mutating func placeMarks() -> String? {
    let order = PromptSegment.allCases.flatMap { segment in blocks.indices.filter { blocks[$0].segment == segment } }
    if let life = automaticLife, let last = order.last {
      if let own = blocks[last].life, own != life {
        return "cache_control: the last block has a cache_control with another ttl."
      }
      blocks[last].life = life
    }
    let lives = order.compactMap { blocks[$0].life }
    if lives.count > PromptCache.mostMarks {
      return
        "A maximum of \(PromptCache.mostMarks) blocks with cache_control may be provided. Found \(lives.count)."
    }
    if let short = lives.firstIndex(of: .short), lives[short...].contains(.hour) {
      return """
        a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. Note that blocks are \
        processed in the following order: `tools`, `system`, `messages`.
        """
    }
    return nil
  }

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
  /// The top-level field that is being read, and the part of the prompt that it is.
  private var field = ""
  private var segment: PromptSegment?
  /// The first piece of the block that is being read, and its mark.
  private var firstPiece = 0
  private var life: CacheLife?
  /// How deep the object is that is the block; 0 outside of one.
  private var blockDepth = 0
  private var role = 0..<0
  /// Set while a `cache_control` is being read, which is no part of the prompt.
  private var marking: CacheLife?
  /// The one that was read last; nil where it was null.
  private var lastMark: CacheLife?

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

  /// - Parameter key: the field in which the object is, also by way of an array.
  mutating func object(key: String = "", depth: Int) -> Bool {
    let isMessage = segment == .messages && depth == 2
    let isBlock = segment.map { $0 == .messages ? depth == 4 && key == "content" : depth == 2 } ?? false
    let firstBlock = reading.blocks.count
    if isMessage || isBlock { endBlock() }
    if isMessage { role = 0..<0 }
    if isBlock { blockDepth = depth }
    guard fields(key: key, depth: depth) else { return false }
    if isMessage || isBlock { endBlock() }
    if isBlock { blockDepth = 0 }
    if isMessage {
      for index in reading.blocks.indices.dropFirst(firstBlock) { reading.blocks[index].role = role }
    }
    return true
  }

  private mutating func fields(key: String, depth: Int) -> Bool {
    guard depth < 200, take(UInt8(ascii: "{")) else { return false }
    space()
    if take(UInt8(ascii: "}")) { return true }
    while true {
      space()
      guard let nameText = string() else { return false }
      let name = String(decoding: body[nameText.range], as: UTF8.self)
      if depth == 0 { field = name }
      space()
      guard take(UInt8(ascii: ":")) else { return false }
      if depth == 0 {
        guard topField(name) else { return false }
      } else if name == "cache_control", marksBlock(key: key, depth: depth) {
        guard cacheControl(depth: depth + 1) else { return false }
        life = lastMark ?? life
      } else {
        if !isImplied(name, depth: depth) { add(.mark, nameText.range) }
        guard value(key: name, depth: depth + 1) else { return false }
      }
      space()
      if take(UInt8(ascii: "}")) { return true }
      guard take(UInt8(ascii: ",")) else { return false }
    }
  }

  private mutating func topField(_ name: String) -> Bool {
    space()
    let start = at
    if name == "cache_control" {
      guard cacheControl(depth: 1) else { return false }
      reading.automaticLife = lastMark
      return true
    }
    segment = PromptSegment(field: name)
    firstPiece = reading.pieces.count
    guard value(key: name, depth: 1) else { return false }
    endBlock()
    segment = nil
    if name == "tool_choice" || name == "thinking" { reading.switches.append(start..<at) }
    return true
  }

  // MARK: Parts of the prompt

  /// True where a `cache_control` in this object is the block's own, or one of the parts of which a tool's result is made.
  private func marksBlock(key: String, depth: Int) -> Bool {
    blockDepth > 0 && (depth == blockDepth || depth == blockDepth + 2 && key == "content")
  }

  /// True for a field whose value says all: a text is the same prompt as an array of one part with this text.
  private func isImplied(_ name: String, depth: Int) -> Bool {
    if depth == 2, segment == .messages { return name == "role" || name == "content" }
    return depth == blockDepth && segment != .tools && (name == "type" || name == "text")
  }

  /// Reads the value of a `cache_control`, which is no part of the prompt. False where it is no JSON.
  private mutating func cacheControl(depth: Int) -> Bool {
    space()
    let isObject = at < body.count && body[at] == UInt8(ascii: "{")
    marking = .short
    defer { marking = nil }
    guard value(key: "cache_control", depth: depth) else { return false }
    lastMark = isObject ? marking : nil
    return true
  }

  private mutating func add(_ kind: PromptPiece.Kind, _ range: Range<Int>) {
    if segment != nil, marking == nil { reading.pieces.append(PromptPiece(kind: kind, range: range)) }
  }

  private mutating func endBlock() {
    if let segment, firstPiece < reading.pieces.count {
      let pieces = firstPiece..<reading.pieces.count
      reading.blocks.append(PromptBlock(segment: segment, pieces: pieces, life: life))
    }
    firstPiece = reading.pieces.count
    life = nil
  }

  // MARK: Values

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
    case UInt8(ascii: "{"): return object(key: key, depth: depth)
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
    add(.mark, at..<at + count)
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
      add(.tokenID, start..<at)
    } else {
      add(.mark, start..<at)
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
    if marking != nil {
      if key == "ttl", value() == "1h" { marking = .hour }
      return
    }
    if depth == 1 {
      switch key {
      case "model": reading.model = value()
      case "prompt_cache_key": reading.cacheKey = value()
      case "encoding_format": reading.wantsBase64 = value() == "base64"
      case "input", "prompt", "instructions", "system": count(text)
      default: break
      }
      return
    }
    switch key {
    case "role" where depth == 3 && segment == .messages: role = text.range
    case "type" where depth == blockDepth + 1 && segment != .tools && value() == "text": break
    case "role", "type", "id", "model", "detail", "media_type", "format", "tool_use_id", "tool_call_id", "ttl":
      add(.mark, text.range)
    case "data", "file_data": add(media: text.range)
    case "url", "image_url":
      if body[text.range].starts(with: "data:".utf8) { add(media: text.range) } else { count(text) }
    default: if field != "metadata" { count(text) }
    }
  }

  private mutating func count(_ text: (range: Range<Int>, characters: Int)) {
    reading.textBytes += text.range.count
    reading.characters += text.characters
    add(.text, text.range)
  }

  private mutating func add(media range: Range<Int>) {
    reading.media += 1
    add(.media, range)
  }
}
