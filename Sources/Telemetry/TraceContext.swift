// The trace that a call belongs to: W3C Trace Context, whether it is sampled, and the ids of its spans.
//
// Promises: what is not a `traceparent` by the standard is none; a client's decision to sample wins; the ids of one call's
// spans differ, and neither a clock nor randomness is read here.
import HTTPMessage

/// The 16 bytes that all spans of a trace share.
public struct TraceID: Hashable, Sendable {
  public var high: UInt64
  public var low: UInt64
  public init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  var isValid: Bool { high != 0 || low != 0 }
  /// 32 hexadecimal digits in lower case.
  public var text: String { HexText.digits(high) + HexText.digits(low) }
}

/// The 8 bytes of one span.
public struct SpanID: Hashable, Sendable {
  public var value: UInt64
  public init(_ value: UInt64) { self.value = value }

  /// 16 hexadecimal digits in lower case.
  public var text: String { HexText.digits(value) }
}

/// The field `traceparent`.
public struct Traceparent: Hashable, Sendable {
  public var trace: TraceID
  /// The span of who calls.
  public var span: SpanID
  public var isSampled: Bool
  /// True where whoever began the trace says that the last 7 bytes of its id are random.
  public var isRandom = false

  public init(trace: TraceID, span: SpanID, isSampled: Bool, isRandom: Bool = false) {
    self.trace = trace
    self.span = span
    self.isSampled = isSampled
    self.isRandom = isRandom
  }

  /// Reads a field's value; nil where it is none. Of versions to come only what this one has is read.
  public init?(_ value: ArraySlice<UInt8>) {
    let bytes = Array(value)
    guard bytes.count >= Traceparent.length, let version = HexText.value(bytes[0..<2]), version != 0xFF,
      bytes[2] == Traceparent.dash, bytes[35] == Traceparent.dash, bytes[52] == Traceparent.dash,
      let high = HexText.value(bytes[3..<19]), let low = HexText.value(bytes[19..<35]),
      let span = HexText.value(bytes[36..<52]), let flags = HexText.value(bytes[53..<55]), high != 0 || low != 0,
      span != 0
    else { return nil }
    if bytes.count > Traceparent.length {
      guard version > 0, bytes[Traceparent.length] == Traceparent.dash else { return nil }
    }
    self.init(
      trace: TraceID(high: high, low: low), span: SpanID(span), isSampled: flags & 1 == 1,
      isRandom: version == 0 && flags & 2 == 2)
  }

  /// The field's value, in version 00.
  public var text: String { "00-\(trace.text)-\(span.text)-0\((isSampled ? 1 : 0) | (isRandom ? 2 : 0))" }

  private static let length = 55
  private static let dash = UInt8(ascii: "-")
}

/// Which traces that begin here are told.
public struct HeadSampling: Hashable, Sendable {
  /// 0 to 10,000.
  public let basisPoints: Int
  /// What the random part of a trace's id must reach.
  private let threshold: UInt64

  public init(basisPoints: Int) {
    self.basisPoints = max(0, min(10_000, basisPoints))
    threshold = UInt64(Double(10_000 - self.basisPoints) / 10_000 * Double(HeadSampling.span))
  }

  /// The same for a trace wherever it is asked, and each trace of a smaller share is among those of a larger one.
  public func takes(_ trace: TraceID) -> Bool { trace.low & (HeadSampling.span - 1) >= threshold }

  private static let span: UInt64 = 1 << 56
}

/// A call's place in its trace.
public struct CallTrace: Hashable, Sendable {
  public let trace: TraceID
  /// The client's span; nil where the trace begins here.
  public let parent: SpanID?
  public let isSampled: Bool
  let isRandom: Bool
  /// The client's `tracestate`, for what is told of the call; empty where it sent none.
  public let state: String
  private let seed: UInt64

  init(trace: TraceID, parent: SpanID?, isSampled: Bool, isRandom: Bool, state: String, seed: UInt64) {
    self.trace = trace
    self.parent = parent
    self.isSampled = isSampled
    self.isRandom = isRandom
    self.state = state
    self.seed = seed
  }

  /// True where the client's `traceparent` is continued.
  public var isContinued: Bool { parent != nil }

  /// The call's own span.
  public var root: SpanID { span(0) }
  /// The span of an attempt; the first one is 1.
  public func attempt(_ number: Int) -> SpanID { span(UInt64(max(1, min(number, 0x7FFF_FFFF)))) }
  /// The span of a wait; the first one is 0.
  public func wait(_ number: Int) -> SpanID { span(1 << 32 + UInt64(max(0, min(number, 0x7FFF_FFFF)))) }

  /// The `traceparent` that an attempt carries to its provider.
  public func traceparent(ofAttempt number: Int) -> String {
    Traceparent(trace: trace, span: attempt(number), isSampled: isSampled, isRandom: isRandom).text
  }

  /// Different numbers have different ids: each step can be undone.
  private func span(_ number: UInt64) -> SpanID {
    var mixed = seed &+ number &* 0x9E37_79B9_7F4A_7C15
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    mixed ^= mixed >> 31
    return SpanID(mixed == 0 ? 1 : mixed)
  }
}

/// Continues the clients' traces, and begins new ones.
public final class Tracer {
  public var sampling: HeadSampling
  private let draw: () -> UInt64

  /// - Parameter draw: a number by chance.
  public init(_ sampling: HeadSampling, draw: @escaping () -> UInt64) {
    self.sampling = sampling
    self.draw = draw
  }

  /// The trace of a call with these fields. A `traceparent` that is wrong, or given twice, counts as none, and its
  /// `tracestate` with it.
  public func begin(_ fields: HeaderFields) -> CallTrace {
    if let parent = Tracer.parent(in: fields) {
      return CallTrace(
        trace: parent.trace, parent: parent.span, isSampled: parent.isSampled, isRandom: parent.isRandom,
        state: TraceState.text(of: fields), seed: draw())
    }
    var trace = TraceID(high: draw(), low: draw())
    if !trace.isValid { trace.low = 1 }
    return CallTrace(
      trace: trace, parent: nil, isSampled: sampling.takes(trace), isRandom: false, state: "", seed: draw())
  }

  static func parent(in fields: HeaderFields) -> Traceparent? {
    guard let first = fields.firstIndex(of: "traceparent"),
      !(first + 1..<fields.count).contains(where: { fields.nameIs("traceparent", at: $0) })
    else { return nil }
    return Traceparent(fields.valueBytes(at: first))
  }
}

/// The field `tracestate`, as it is told of a call.
enum TraceState {
  /// What the standard asks everybody to carry on.
  static let mostBytes = 512

  /// All its fields as one text, of which whole members are left out at the end where it is too long. Empty where it
  /// holds what no such field can hold.
  static func text(of fields: HeaderFields) -> String {
    var members: [ArraySlice<UInt8>] = []
    var length = 0
    for index in 0..<fields.count where fields.nameIs("tracestate", at: index) {
      let value = fields.valueBytes(at: index)
      guard value.allSatisfy({ $0 >= 0x20 && $0 < 0x7F }) else { return "" }
      for member in value.split(separator: UInt8(ascii: ",")) where member.contains(where: { $0 != 0x20 }) {
        length += member.count + (members.isEmpty ? 0 : 1)
        guard length <= mostBytes else { return joined(members) }
        members.append(member)
      }
    }
    return joined(members)
  }

  private static func joined(_ members: [ArraySlice<UInt8>]) -> String {
    String(decoding: Array(members.joined(separator: [UInt8(ascii: ",")])), as: UTF8.self)
  }
}

/// Numbers in hexadecimal digits of lower case, the only ones that Trace Context knows.
enum HexText {
  static func digits(_ value: UInt64) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.utf8.count) + digits
  }

  /// nil where a byte is no such digit. At most 16 digits.
  static func value(_ digits: ArraySlice<UInt8>) -> UInt64? {
    var value: UInt64 = 0
    for digit in digits {
      switch digit {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): value = value << 4 | UInt64(digit - UInt8(ascii: "0"))
      case UInt8(ascii: "a")...UInt8(ascii: "f"): value = value << 4 | UInt64(digit - UInt8(ascii: "a") + 10)
      default: return nil
      }
    }
    return value
  }
}
