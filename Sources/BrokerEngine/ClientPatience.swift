// How long a client waits for the first byte of an answer before it gives up, from what its SDK says of itself.
//
// SDKs send the timeout of each try in seconds: `x-stainless-timeout`, `x-stainless-read-timeout`. In Python it is the
// time between two bytes, in JavaScript that to the head; either bounds the wait for the first byte. Below both, Node's
// own `fetch` gives up after 300 seconds without a head, whatever the SDK was told.
//
// Promises: texts that are no plain positive number, or more than `most` seconds, and fields that come twice say
// nothing; less than a second counts as a second.
import AdmissionCore
import HTTPMessage

enum ClientPatience {
  /// Node's limit for the head.
  static let node = Span.seconds(300)
  static let least = Span.seconds(1)
  /// Eleven days, in seconds.
  static let most: Int64 = 1_000_000

  /// The places of the fields that tell of it; negative where a field is missing. `AgentFields` finds them in its pass over
  /// the fields.
  struct Places {
    private(set) var timeout = -1
    private(set) var readTimeout = -1
    var language = -1
    var runtime = -1
    var userAgent = -1
    /// True where a timeout comes twice.
    private(set) var isDoubled = false

    mutating func noteTimeout(_ index: Int) {
      if timeout >= 0 { isDoubled = true }
      timeout = index
    }

    mutating func noteReadTimeout(_ index: Int) {
      if readTimeout >= 0 { isDoubled = true }
      readTimeout = index
    }
  }

  /// nil where the client is not known to give up.
  static func read(_ fields: HeaderFields, at places: Places) -> Span? {
    func least(_ first: Span?, _ second: Span?) -> Span? {
      guard let first, let second else { return first ?? second }
      return min(first, second)
    }
    func span(_ index: Int) -> Span? { index < 0 || places.isDoubled ? nil : seconds(fields.valueBytes(at: index)) }
    let told = least(span(places.timeout), span(places.readTimeout))
    return isNode(fields, places) ? least(told, node) : told
  }

  /// True for Node's `fetch`, alone and below the vendors' SDKs. Claude Code brings its own runtime and waits longer.
  private static func isNode(_ fields: HeaderFields, _ places: Places) -> Bool {
    let agent = places.userAgent
    if agent >= 0 {
      if fields.valueStarts(with: "claude-cli/", at: agent) { return false }
      if isValue("node", fields, at: agent) || fields.valueStarts(with: "undici", at: agent) { return true }
    }
    guard places.language >= 0, isValue("js", fields, at: places.language) else { return false }
    return places.runtime < 0 || isValue("node", fields, at: places.runtime)
  }

  private static func isValue(_ text: StaticString, _ fields: HeaderFields, at index: Int) -> Bool {
    let value = fields.valueBytes(at: index)
    return value.count == text.utf8CodeUnitCount && fields.valueStarts(with: text, at: index)
  }

  /// `600`, `600.0`, `2.5`; nil for everything else, and for zero.
  private static func seconds(_ text: ArraySlice<UInt8>) -> Span? {
    var nanoseconds: Int64 = 0
    var unit: Int64 = 1_000_000_000
    var isFraction = false
    guard let first = text.first, first != UInt8(ascii: "."), text.last != UInt8(ascii: "."), text.count <= 32 else {
      return nil
    }
    for byte in text {
      if byte == UInt8(ascii: "."), !isFraction {
        isFraction = true
        continue
      }
      guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else { return nil }
      let digit = Int64(byte - UInt8(ascii: "0"))
      if isFraction {
        unit /= 10
        nanoseconds += digit * unit
      } else {
        nanoseconds = nanoseconds * 10 + digit * unit
        guard nanoseconds <= most * 1_000_000_000 else { return nil }
      }
    }
    guard nanoseconds > 0, nanoseconds <= most * 1_000_000_000 else { return nil }
    return max(least, Span(nanoseconds: nanoseconds))
  }
}
