// Removes a secret from a provider's answer: some providers echo the key that they refuse, and the client must not see
// the operator's key.
//
// Finds exact copies, copies with JSON escapes (`\/`, `\u002d`) and copies with percent escapes, and replaces each by
// stars. The work is linear in the text for secrets as vendors make them.
import HTTPMessage

public enum SecretMask {
  /// Shorter secrets would match by chance.
  static let shortest = 8
  /// The replacement for a secret.
  static let stars: [UInt8] = Array("***".utf8)

  /// The text without the secret; nil where it does not contain it.
  public static func masked(_ text: [UInt8], secret: String) -> [UInt8]? {
    let places = places(of: Array(secret.utf8), in: text)
    guard !places.isEmpty else { return nil }
    var result: [UInt8] = []
    var copied = 0
    for place in places {
      result.append(contentsOf: text[copied..<place.lowerBound])
      result.append(contentsOf: stars)
      copied = place.upperBound
    }
    result.append(contentsOf: text[copied...])
    return result
  }

  /// The same, with one star per byte.
  public static func maskedInPlace(_ text: [UInt8], secret: String) -> [UInt8]? {
    let places = places(of: Array(secret.utf8), in: text)
    guard !places.isEmpty else { return nil }
    var result = text
    for place in places { for at in place { result[at] = stars[0] } }
    return result
  }

  /// The places of the secret.
  static func places(of secret: [UInt8], in text: [UInt8]) -> [Range<Int>] {
    guard secret.count >= shortest else { return [] }
    var places: [Range<Int>] = []
    var at = 0
    while at < text.count {
      if let end = end(of: secret, in: text, from: at) {
        places.append(at..<end)
        at = end
      } else {
        at += 1
      }
    }
    return places
  }

  /// The same for a text.
  public static func masked(_ text: String, secret: String) -> String? {
    masked(Array(text.utf8), secret: secret).map { String(decoding: $0, as: UTF8.self) }
  }

  /// The same for the values of header fields.
  public static func masked(_ fields: HeaderFields, secret: String) -> HeaderFields? {
    var found = false
    var result = HeaderFields()
    for index in 0..<fields.count {
      let value = Array(fields.valueBytes(at: index))
      guard let masked = masked(value, secret: secret) else {
        result.append(fieldAt: index, of: fields)
        continue
      }
      found = true
      result.append(nameBytes: fields.nameBytes(at: index), valueBytes: masked[...])
    }
    return found ? result : nil
  }

  /// The same for a whole answer. A compressed body is decoded, and returned decoded where it contains the secret.
  ///
  /// - Parameter decodedLimit: the most decoded bytes that are searched. A larger body is returned decoded and cut
  ///   there.
  /// - Returns: nil where neither fields nor body contain one of the secrets.
  public static func masked(
    _ fields: HeaderFields, _ body: [UInt8], secrets: [String], decodedLimit: Int
  ) -> (fields: HeaderFields, body: [UInt8])? {
    let cleanFields = all(secrets, fields) { masked($0, secret: $1) }
    let maskedBody = all(secrets, body) { masked($0, secret: $1) }
    // Search the decoded body first: some codings contain short texts as they are, and stars there would break the
    // coding.
    if let (decoded, isCut) = unfolded(body, ContentCoding(fields.first("content-encoding")), limit: decodedLimit) {
      let cleanBody = all(secrets, decoded) { masked($0, secret: $1) }
      guard isCut else {
        if cleanBody != nil || maskedBody != nil {
          return ((cleanFields ?? fields).without("content-encoding"), cleanBody ?? decoded)
        }
        return cleanFields.map { ($0, body) }
      }
      // A secret may have begun where the body was cut.
      let longest = secrets.map(\.utf8.count).max() ?? 0
      return (
        (cleanFields ?? fields).without("content-encoding"),
        Array((cleanBody ?? decoded).dropLast(AnswerMask.longestEscape * longest))
      )
    }
    if let maskedBody { return (cleanFields ?? fields, maskedBody) }
    return cleanFields.map { ($0, body) }
  }

  /// Removes each of the secrets; nil where the text contains none of them.
  public static func all<Text>(_ secrets: [String], _ text: Text, _ mask: (Text, String) -> Text?) -> Text? {
    var result: Text?
    for secret in secrets { result = mask(result ?? text, secret) ?? result }
    return result
  }

  /// The decoded body, and whether it is only the beginning; nil where there is no coding, or it cannot be decoded.
  private static func unfolded(_ body: [UInt8], _ coding: ContentCoding, limit: Int) -> (text: [UInt8], isCut: Bool)? {
    guard let decoder = ContentDecoder(coding) else { return nil }
    var text: [UInt8] = []
    switch decoder.decode(body[...], onto: &text, limit: limit) {
    case .ok: return decoder.isComplete ? (text, false) : nil
    case .tooLarge: return (text, true)
    case .corrupt: return nil
    }
  }

  /// The end of the secret that begins at `start`; nil where none begins there.
  private static func end(of secret: [UInt8], in text: [UInt8], from start: Int) -> Int? {
    // Nearly every place differs in the first byte.
    let first = text[start]
    guard first == secret[0] || first == UInt8(ascii: "\\") || first == UInt8(ascii: "%") else { return nil }
    var at = start
    for wanted in secret {
      guard at < text.count else { return nil }
      if text[at] == wanted, wanted != UInt8(ascii: "\\") || !isEscape(text, at) {
        at += 1
      } else if let (byte, length) = escaped(text, at), byte == wanted {
        at += length
      } else {
        return nil
      }
    }
    return at
  }

  private static func isEscape(_ text: [UInt8], _ at: Int) -> Bool { escaped(text, at) != nil }

  /// The byte that an escape stands for, and the length of the escape.
  private static func escaped(_ text: [UInt8], _ at: Int) -> (byte: UInt8, length: Int)? {
    func hexadecimal(_ range: Range<Int>) -> UInt8? {
      guard range.upperBound <= text.count else { return nil }
      var value = 0
      for byte in text[range] {
        switch byte {
        case 0x30...0x39: value = value << 4 | Int(byte - 0x30)
        case 0x41...0x46, 0x61...0x66: value = value << 4 | Int((byte | 0x20) - 0x61 + 10)
        default: return nil
        }
      }
      return value < 0x80 ? UInt8(value) : nil
    }
    switch text[at] {
    case UInt8(ascii: "%"): return hexadecimal(at + 1..<at + 3).map { ($0, 3) }
    case UInt8(ascii: "\\"):
      guard at + 1 < text.count else { return nil }
      switch text[at + 1] {
      case UInt8(ascii: "/"), UInt8(ascii: "\""), UInt8(ascii: "\\"): return (text[at + 1], 2)
      case UInt8(ascii: "u"): return hexadecimal(at + 2..<at + 6).map { ($0, 6) }
      default: return nil
      }
    default: return nil
    }
  }
}
