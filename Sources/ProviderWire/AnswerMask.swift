// Removes secrets from an answer that is forwarded while it comes: an error that is too long to be kept.
//
// Promises: bytes are held back only where a secret may have begun in them; the length stays the same, unless the body
// was compressed: then it is forwarded uncompressed.

public struct AnswerMask {
  private let secrets: [[UInt8]]
  private let decoder: ContentDecoder?
  /// The last bytes, in which a secret may have begun.
  private var held: [UInt8] = []
  /// The most bytes to which a piece of a compressed body may expand.
  private static let pieceLimit = 4 << 20
  /// Each byte of a secret may be written as six bytes: `\u002d`.
  static let longestEscape = 6

  /// True where the body is forwarded without its content coding.
  public var decodes: Bool { decoder != nil }

  /// nil where the secrets are too short to be recognized, or the coding cannot be decoded.
  public init?(secrets: [String], contentEncoding: String?) {
    let coding = ContentCoding(contentEncoding)
    self.secrets = secrets.map { Array($0.utf8) }.filter { $0.count >= SecretMask.shortest }
    guard !self.secrets.isEmpty else { return nil }
    decoder = ContentDecoder(coding)
    if decoder == nil, coding != .identity { return nil }
  }

  /// Takes the next bytes of the body and returns those that may be forwarded; nil where they cannot be decoded.
  public mutating func take(_ bytes: ArraySlice<UInt8>) -> [UInt8]? {
    if let decoder {
      var text: [UInt8] = []
      guard decoder.decode(bytes, onto: &text, limit: Self.pieceLimit) == .ok else { return nil }
      held.append(contentsOf: text)
    } else {
      held.append(contentsOf: bytes)
    }
    var safe = held.count
    var found = 0
    for secret in secrets {
      let places = SecretMask.places(of: secret, in: held)
      for place in places { for at in place { held[at] = SecretMask.stars[0] } }
      found = max(found, places.last?.upperBound ?? 0)
      // A secret that begins before this place has ended.
      safe = min(safe, held.count - (Self.longestEscape * secret.count - 1))
    }
    safe = max(safe, found)
    guard safe > 0 else { return [] }
    let ready = Array(held[..<safe])
    held.removeFirst(safe)
    return ready
  }

  /// True where the body is JSON that begins as errors do.
  public static func isNeeded(for body: ArraySlice<UInt8>) -> Bool {
    // Nearly all bodies begin with another name, which one byte shows.
    guard let open = body.firstIndex(where: { $0 > 0x20 }), body[open] == UInt8(ascii: "{"),
      let quote = body[(open + 1)...].firstIndex(where: { $0 > 0x20 }), body[quote] == UInt8(ascii: "\""),
      quote + 1 < body.endIndex
    else { return false }
    switch body[quote + 1] {
    case UInt8(ascii: "e"), UInt8(ascii: "t"), UInt8(ascii: "o"), UInt8(ascii: "m"): break
    default: return false
    }
    let start = body.prefix(64).filter { $0 > 0x20 }
    return beginnings.contains { start.starts(with: $0) }
  }

  private static let beginnings = [
    #"{"error":{"#, #"{"error":""#, #"{"type":"error""#, #"{"object":"error""#, #"{"message":""#,
  ].map { Array($0.utf8) }

  /// Returns the bytes that were held back, at the end of the body.
  public mutating func rest() -> [UInt8] {
    defer { held = [] }
    return held
  }
}
