// Takes a secret out of an answer that goes on while it comes: an error that is too long to be kept.
//
// Promises: what was taken is held back only as far as the secret could still begin in it; as many bytes go on as came, unless
// the body had a coding, which it then goes on without.

public struct AnswerMask {
  private let secret: [UInt8]
  private let decoder: ContentDecoder?
  /// The end of what came, in which the secret may have begun.
  private var held: [UInt8] = []
  /// The most bytes that a piece of a coded body may unfold to.
  private static let pieceLimit = 4 << 20
  /// Each byte of a secret may be written in six: `\u002d`.
  private static let longestEscape = 6

  /// True where the body goes on without its coding.
  public var decodes: Bool { decoder != nil }

  /// nil where the secret is too short to be known again, or the coding is one that cannot be read.
  public init?(secret: String, contentEncoding: String?) {
    let coding = ContentCoding(contentEncoding)
    self.secret = Array(secret.utf8)
    guard self.secret.count >= SecretMask.shortest else { return nil }
    decoder = ContentDecoder(coding)
    if decoder == nil, coding != .identity { return nil }
  }

  /// Takes the next bytes of the body and gives what may go on; nil where they cannot be read.
  public mutating func take(_ bytes: ArraySlice<UInt8>) -> [UInt8]? {
    if let decoder {
      var text: [UInt8] = []
      guard decoder.decode(bytes, onto: &text, limit: Self.pieceLimit) == .ok else { return nil }
      held.append(contentsOf: text)
    } else {
      held.append(contentsOf: bytes)
    }
    let places = SecretMask.places(of: secret, in: held)
    for place in places { for at in place { held[at] = SecretMask.stars[0] } }
    // A secret that begins before this would have ended.
    let safe = max(places.last?.upperBound ?? 0, held.count - (Self.longestEscape * secret.count - 1))
    guard safe > 0 else { return [] }
    let ready = Array(held[..<safe])
    held.removeFirst(safe)
    return ready
  }

  /// The body is over: what was held back.
  public mutating func rest() -> [UInt8] {
    defer { held = [] }
    return held
  }
}
