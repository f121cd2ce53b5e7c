// Estimates a request's input tokens during the walk over its body: UTF-8 bytes of text / 4, media by rule, base64
// never as text (docs/reference/wire.md). The core's learned ratio corrects the error of this estimate.
import AdmissionCore
import CSimdjson

/// A running estimate.
struct InputEstimate {
  private var textBytes = 0
  /// Tokens that are known or set by a rule, not counted from bytes.
  private var ruled: TokenCount = 0
  private let dialect: Dialect
  /// The shortest `cache_control.ttl`; nil where none is named.
  private(set) var cacheLife: Span?
  /// The models that were named in the walked content, where `collectsModels`; nil for one that could not be read.
  private(set) var models: [String?] = []
  /// True where members called `model` name models at any place.
  var collectsModels = false

  /// By which the prompt is compared with the one before it.
  private(set) var print = PromptPrint()
  /// What of the prompt the walk is in. Providers put tools and instructions before the conversation; what is neither, such as
  /// options, is no part of the prompt.
  enum Part { case none, instructions, conversation }
  var part = Part.none

  init(dialect: Dialect) { self.dialect = dialect }

  private mutating func note(_ walk: JSONWalk) {
    switch part {
    case .none: return
    case .instructions: print.addInstruction(walk.print)
    case .conversation: print.addText(walk.print, bytes: walk.end - walk.start)
    }
  }

  /// Returns the models found since the last time.
  mutating func takeModels() -> [String?] {
    defer { models = [] }
    return models
  }

  var tokens: TokenCount { TokenCount((textBytes + 3) / 4) + ruled }

  /// Adds a container that has just begun, or a scalar, of the request's content; walks to its end.
  mutating func add(_ walk: inout JSONWalk) {
    switch walk.kind {
    case .objectBegin, .arrayBegin: addContent(&walk)
    case .string: addString(walk)
    default: break
    }
  }

  /// Adds messages, input items and contents: strings count, names and structure do not.
  private mutating func addContent(_ walk: inout JSONWalk) {
    let depth = walk.depth
    while true {
      switch walk.next() {
      case .end, .error: return
      case .objectEnd: if walk.depth == depth { return }
      case .arrayEnd:
        // Arrays of token ids: their length is the number of tokens.
        ruled += TokenCount(walk.numbers)
        if walk.depth == depth { return }
      case .string: addString(walk)
      case .objectBegin:
        switch walk.key {
        case TG_KEY_input, TG_KEY_args, TG_KEY_arguments, TG_KEY_response, TG_KEY_input_schema, TG_KEY_parameters:
          addStructure(&walk)
        default: break
        }
      default: break
      }
    }
  }

  /// Adds tools and schemas, whose names and structure the model sees too: counts the bytes of their compact text.
  mutating func addStructure(_ walk: inout JSONWalk) {
    let depth = walk.depth
    textBytes += 2
    guard walk.kind == .objectBegin || walk.kind == .arrayBegin else {
      textBytes += walk.kind == .string ? walk.decodedLength : walk.end - walk.start
      return
    }
    while true {
      switch walk.next() {
      case .end, .error: return
      case .objectEnd:
        if walk.depth == depth { return }
      case .arrayEnd:
        textBytes += 3 * walk.numbers
        if walk.depth == depth { return }
      case .objectBegin, .arrayBegin: textBytes += 3 + keyBytes(walk)
      case .string:
        textBytes += 3 + keyBytes(walk) + walk.decodedLength
        // Where a prefix to be cached ends is no part of it.
        if walk.parent == TG_KEY_cache_control {
          if walk.key == TG_KEY_ttl { noteLife(walk) }
          continue
        }
        note(walk)
        // A tool that uses a model of its own: `tools[].model`.
        if walk.key == TG_KEY_model, collectsModels || (walk.depth == depth + 2 && walk.parent == TG_KEY_NONE) {
          note(modelIn: walk)
        }
      case .number, .isTrue, .isFalse, .null: textBytes += 1 + keyBytes(walk) + walk.end - walk.start
      }
    }
  }

  private func keyBytes(_ walk: JSONWalk) -> Int {
    walk.key == TG_KEY_NONE ? 0 : walk.keyLength + 3
  }

  private mutating func noteLife(_ walk: JSONWalk) {
    let life: Span
    if walk.stringStarts(with: "5m") {
      life = .seconds(300)
    } else if walk.stringStarts(with: "1h") {
      life = .seconds(3600)
    } else {
      return
    }
    cacheLife = min(cacheLife ?? life, life)
  }

  private mutating func addString(_ walk: JSONWalk) {
    if walk.parent == TG_KEY_cache_control {
      if walk.key == TG_KEY_ttl { noteLife(walk) }
      return
    }
    note(walk)
    switch walk.key {
    case TG_KEY_type, TG_KEY_role, TG_KEY_id, TG_KEY_call_id, TG_KEY_tool_use_id, TG_KEY_tool_call_id, TG_KEY_detail,
      TG_KEY_format, TG_KEY_mimeType, TG_KEY_mime_type, TG_KEY_media_type, TG_KEY_status, TG_KEY_signature,
      TG_KEY_thoughtSignature, TG_KEY_thought_signature, TG_KEY_encrypted_content:
      return
    case TG_KEY_model:
      if collectsModels { note(modelIn: walk) }
    case TG_KEY_file_id, TG_KEY_fileUri, TG_KEY_file_uri, TG_KEY_file_url:
      ruled += Media.unknownFile
    case TG_KEY_data:
      switch walk.parent {
      case TG_KEY_source, TG_KEY_input_audio, TG_KEY_inlineData, TG_KEY_inline_data:
        if Media.looksLikeBase64(walk, from: walk.start) {
          ruled += media(walk, from: walk.start, kind: walk.parent == TG_KEY_input_audio ? .audio : nil)
        } else {
          textBytes += walk.decodedLength
        }
      default: addText(walk)
      }
    case TG_KEY_url:
      switch walk.parent {
      case TG_KEY_image_url, TG_KEY_source, TG_KEY_image:
        if !addDataURL(walk) { ruled += Media.unknownImage }
      default: addText(walk)
      }
    case TG_KEY_image_url, TG_KEY_image:
      if !addDataURL(walk) { ruled += Media.unknownImage }
    case TG_KEY_NONE where walk.parent == TG_KEY_images && dialect == .ollama:
      ruled += media(walk, from: walk.start, kind: nil)
    case TG_KEY_file_data:
      if !addDataURL(walk) { ruled += media(walk, from: walk.start, kind: nil) }
    default: addText(walk)
    }
  }

  private mutating func note(modelIn walk: JSONWalk) {
    // One more than can be told apart, which shows that there are too many.
    guard models.count <= RequestFacts.mostModels else { return }
    let name: String? = walk.end - walk.start <= RequestFacts.longestModel ? walk.string(limit: 512) : nil
    if let last = models.last, last == name { return }
    models.append(name)
  }

  private mutating func addText(_ walk: JSONWalk) {
    if !addDataURL(walk) { textBytes += walk.decodedLength }
  }

  /// Adds `data:image/png;base64,...`; false where the string is no such URL.
  private mutating func addDataURL(_ walk: JSONWalk) -> Bool {
    guard walk.stringStarts(with: "data:") else { return false }
    var at = walk.start + 5
    let stop = min(walk.end, walk.start + 128)
    while at < stop, walk.byte(at: at) != UInt8(ascii: ",") { at += 1 }
    guard at < stop, walk.byte(at: at - 1) == UInt8(ascii: "4") else { return false }
    let kind: Media.Kind? =
      walk.stringStarts(with: "data:audio") ? .audio : walk.stringStarts(with: "data:video") ? .video : nil
    ruled += media(walk, from: at + 1, kind: kind)
    return true
  }

  private func media(_ walk: JSONWalk, from start: Int, kind: Media.Kind?) -> TokenCount {
    let source = Base64Source(walk: walk, start: start)
    let bytes = source.count
    switch kind ?? Media.kind(source) {
    case .image:
      guard let size = Media.imageSize(source) else { return Media.unknownImage }
      return Media.imageTokens(width: size.width, height: size.height, dialect: dialect)
    // Speech at usual bit rates has 10 to 32 tokens a second.
    case .audio: return max(100, TokenCount(bytes / 1000))
    case .video: return max(500, TokenCount(bytes / 500))
    case .file: return min(max(Media.unknownFile, TokenCount(bytes / 32)), 200_000)
    }
  }
}

/// Base64 inside a JSON string, which can be read at any place without decoding the rest.
struct Base64Source {
  let walk: JSONWalk
  let start: Int
  /// The number of decoded bytes; padding is neglected.
  var count: Int { (walk.end - start) / 4 * 3 }

  /// The decoded byte at `index`; nil beyond the end, and where the string has escapes, so that positions are unknown.
  func byte(_ index: Int) -> UInt8? {
    let group = start + index / 3 * 4
    guard index >= 0, group + 3 < walk.end, !walk.hasEscapes else { return nil }
    let lane = index % 3
    guard let high = Self.value(walk.byte(at: group + lane)), let low = Self.value(walk.byte(at: group + lane + 1))
    else { return nil }
    switch lane {
    case 0: return high << 2 | low >> 4
    case 1: return (high & 15) << 4 | low >> 2
    default: return (high & 3) << 6 | low
    }
  }

  /// The big-endian number of two bytes at `index`.
  func big16(_ index: Int) -> Int? {
    guard let high = byte(index), let low = byte(index + 1) else { return nil }
    return Int(high) << 8 | Int(low)
  }

  /// The little-endian number of two bytes at `index`.
  func little16(_ index: Int) -> Int? {
    guard let low = byte(index), let high = byte(index + 1) else { return nil }
    return Int(high) << 8 | Int(low)
  }

  static func value(_ byte: UInt8) -> UInt8? {
    switch byte {
    case 0x41...0x5A: byte - 0x41
    case 0x61...0x7A: byte - 0x61 + 26
    case 0x30...0x39: byte - 0x30 + 52
    case UInt8(ascii: "+"), UInt8(ascii: "-"): 62
    case UInt8(ascii: "/"), UInt8(ascii: "_"): 63
    default: nil
    }
  }
}

/// The rules for content that is not text.
enum Media {
  enum Kind { case image, audio, video, file }

  /// Tokens of an image whose size is unknown.
  static let unknownImage: TokenCount = 1500
  /// Tokens of a file that is named but not in the body.
  static let unknownFile: TokenCount = 1500

  /// True where the string may be base64: plain text in a `data` field has other characters.
  static func looksLikeBase64(_ walk: JSONWalk, from start: Int) -> Bool {
    for at in start..<min(walk.end, start + 512) {
      let byte = walk.byte(at: at)
      guard Base64Source.value(byte) != nil || byte == UInt8(ascii: "=") || byte == UInt8(ascii: "\\") else {
        return false
      }
    }
    return true
  }

  /// The kind of file by its first bytes.
  static func kind(_ source: Base64Source) -> Kind {
    guard let first = source.byte(0), let second = source.byte(1), let third = source.byte(2),
      let fourth = source.byte(3)
    else { return .image }
    switch (first, second, third, fourth) {
    case (0x89, 0x50, 0x4E, 0x47), (0xFF, 0xD8, 0xFF, _), (0x47, 0x49, 0x46, 0x38): return .image
    case (0x52, 0x49, 0x46, 0x46):
      return source.byte(8) == UInt8(ascii: "W") && source.byte(9) == UInt8(ascii: "E") ? .image : .audio
    case (0x49, 0x44, 0x33, _), (0x4F, 0x67, 0x67, 0x53), (0x66, 0x4C, 0x61, 0x43): return .audio
    case (0xFF, 0xE0...0xFF, _, _): return .audio
    case (0x1A, 0x45, 0xDF, 0xA3): return .video
    default:
      // `....ftyp` begins MP4 and similar files.
      return source.byte(4) == UInt8(ascii: "f") && source.byte(5) == UInt8(ascii: "t") ? .video : .file
    }
  }

  /// The width and height in pixels of a PNG, JPEG, GIF or WebP image.
  static func imageSize(_ source: Base64Source) -> (width: Int, height: Int)? {
    let size: (width: Int?, height: Int?)
    switch source.byte(0) {
    case 0x89:
      guard source.big16(16) == 0, source.big16(20) == 0 else { return nil }
      size = (source.big16(18), source.big16(22))
    case 0x47: size = (source.little16(6), source.little16(8))
    case 0x52:
      switch source.byte(15) {
      case UInt8(ascii: "X"): size = (source.little16(24).map { $0 + 1 }, source.little16(27).map { $0 + 1 })
      case UInt8(ascii: "L"):
        guard let low = source.little16(21), let high = source.little16(23) else { return nil }
        let bits = low | high << 16
        size = ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
      default: size = (source.little16(26).map { $0 & 0x3FFF }, source.little16(28).map { $0 & 0x3FFF })
      }
    case 0xFF: return jpegSize(source)
    default: return nil
    }
    guard let width = size.width, let height = size.height, width > 0, height > 0 else { return nil }
    return (width, height)
  }

  /// Jumps from segment to segment up to the frame header.
  private static func jpegSize(_ source: Base64Source) -> (width: Int, height: Int)? {
    var at = 2
    for _ in 0..<64 {
      guard source.byte(at) == 0xFF, let marker = source.byte(at + 1) else { return nil }
      switch marker {
      case 0xFF: at += 1
      case 0xC0...0xC3, 0xC5...0xC7, 0xC9...0xCB, 0xCD...0xCF:
        guard let height = source.big16(at + 5), let width = source.big16(at + 7), width > 0, height > 0 else {
          return nil
        }
        return (width, height)
      default:
        guard let length = source.big16(at + 2), length >= 2 else { return nil }
        at += 2 + length
      }
    }
    return nil
  }

  /// The tokens that a vendor charges for an image of this size at its usual detail.
  static func imageTokens(width: Int, height: Int, dialect: Dialect) -> TokenCount {
    func ceiling(_ value: Int, _ step: Int) -> Int { (value + step - 1) / step }
    switch dialect {
    case .anthropic:
      let long = max(width, height)
      let scaled = long > 2576 ? (width * 2576 / long, height * 2576 / long) : (width, height)
      return TokenCount(min(ceiling(max(scaled.0, 1), 28) * ceiling(max(scaled.1, 1), 28), 4784))
    case .gemini:
      if width <= 384, height <= 384 { return 258 }
      return TokenCount(258 * ceiling(width, 768) * ceiling(height, 768))
    case .openai, .cohere, .ollama:
      var (width, height) = (width, height)
      if max(width, height) > 2048 {
        let long = max(width, height)
        (width, height) = (max(width * 2048 / long, 1), max(height * 2048 / long, 1))
      }
      if min(width, height) > 768 {
        let short = min(width, height)
        (width, height) = (width * 768 / short, height * 768 / short)
      }
      return TokenCount(85 + 170 * ceiling(width, 512) * ceiling(height, 512))
    }
  }
}
