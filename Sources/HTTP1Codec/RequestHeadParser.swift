// HTTP/1.1 request heads: finds the end of a head in bytes that arrive in pieces, then reads it. It is strict where
// leniency has let requests be smuggled past proxies (RFC 9112 sections 2 to 6): what two parsers could read
// differently is refused.
//
// Promises: a head is read only when it is complete, so that the result does not depend on how its bytes were split;
// the fields stay in the received block, which is not copied; no input traps.
import HTTPMessage

/// How the length of a request's body is given.
public enum BodyFraming: Equatable, Sendable {
  /// There is no body, or an empty one.
  case none
  /// Bytes, more than 0 and at most 10^15.
  case length(Int)
  case chunked
}

/// A request head and what HTTP/1.1 says in it about the connection.
public struct ParsedRequestHead: Sendable {
  public internal(set) var head: RequestHead
  public internal(set) var framing: BodyFraming = .none
  /// True where the client wants to keep the connection.
  public internal(set) var keepsAlive = true
  /// `Expect: 100-continue`, where a body is announced.
  public internal(set) var expectsContinue = false
  /// `TE: trailers`.
  public internal(set) var acceptsTrailers = false
}

/// A refused head, with the target as far as it was read.
public struct HeadError: Error, Equatable {
  public var refusal: RequestRefusal
  public var target: String?

  static func malformed(_ reason: String, _ target: String? = nil) -> HeadError {
    HeadError(refusal: .malformed(reason), target: target)
  }
}

/// Finds the empty line that ends a head; remembers how far it has searched.
public struct HeadScan {
  private var scanned = 0
  private var lineStart = 0

  public enum Finding: Equatable, Sendable {
    case incomplete
    /// The head takes this many bytes, the empty line included.
    case complete(Int)
    case refused(RequestRefusal)
  }

  public init() {}

  /// - Parameters:
  ///   - bytes: all bytes of the head so far, including those of earlier calls.
  ///   - limit: the most bytes of the head.
  public mutating func look(in bytes: Span<UInt8>, limit: Int) -> Finding {
    while let at = bytes.firstIndex(of: 0x0A, from: scanned) {
      // Checked first, since a head that came in pieces would have been refused at this point too.
      guard at < limit else { return Self.tooLarge(limit) }
      guard at > lineStart, bytes[at - 1] == 0x0D else {
        return .refused(.malformed("a line of the head ends with LF alone; lines end with CR LF"))
      }
      if at == lineStart + 1, lineStart > 0 { return .complete(at + 1) }
      scanned = at + 1
      lineStart = at + 1
    }
    scanned = bytes.count
    return scanned > limit ? Self.tooLarge(limit) : .incomplete
  }

  private static func tooLarge(_ limit: Int) -> Finding {
    .refused(.headTooLarge("the head of the request is larger than \(limit) bytes"))
  }
}

public struct RequestHeadParser {
  private let maxFields: Int

  /// - Parameter maxFields: fields that a head may have.
  public init(maxFields: Int) { self.maxFields = maxFields }

  /// The error for methods of forward proxies, and for names of no method.
  public static let unsupportedMethod =
    "CONNECT, TRACE and methods of more than 32 letters are not supported, allowed is any other"

  /// True where a request can begin with `byte`: a method begins with a character of a token, and empty lines may come
  /// before it.
  public static func mayBegin(with byte: UInt8) -> Bool {
    ByteSyntax.token.contains(byte) || byte == 0x0D || byte == 0x0A
  }

  /// Reads one complete head as ``HeadScan`` found it: lines that end with CR LF, the last one empty. Its fields refer
  /// to `block` and keep it.
  public func parse(_ block: [UInt8]) throws(HeadError) -> ParsedRequestHead {
    let bytes = block.span
    // HeadScan guarantees the end; a head without it is our own mistake and is refused all the same.
    guard let firstEnd = bytes.firstIndex(of: 0x0D, from: 0) else { throw .malformed("the head has no end") }
    let line = try RequestLine(bytes, 0..<firstEnd, block)
    var fields = HeaderFields(block: block, fields: 16)
    var facts = FramingFacts()
    var at = firstEnd + 2
    while at < bytes.count, bytes[at] != 0x0D {
      guard let lineEnd = bytes.firstIndex(of: 0x0D, from: at), lineEnd + 1 < bytes.count, bytes[lineEnd + 1] == 0x0A
      else { throw .malformed("a field holds a carriage return", line.target) }
      guard fields.count < maxFields else {
        throw HeadError(refusal: .headTooLarge("the request has more than \(maxFields) fields"), target: line.target)
      }
      let field: FieldLine
      do { field = try FieldLine(bytes, at..<lineEnd, .strict) } catch { throw .malformed(error.reason, line.target) }
      fields.append(nameAt: field.name, valueAt: field.value)
      if let reason = facts.note(field, bytes) { throw .malformed(reason, line.target) }
      at = lineEnd + 2
    }
    guard at + 2 == bytes.count, bytes[at + 1] == 0x0A else {
      throw .malformed("the head holds a carriage return on its own", line.target)
    }
    var parsed = ParsedRequestHead(
      head: RequestHead(
        method: line.method, target: line.target, authority: line.authority, fields: fields, version: line.version))
    do { try facts.judge(&parsed, bytes, block) } catch { throw HeadError(refusal: error.refusal, target: line.target) }
    return parsed
  }
}

/// The first line of a request: method, target and version (RFC 9112 section 3).
private struct RequestLine {
  var method: String
  /// Path and query.
  var target: String
  /// The authority of an absolute target; else empty.
  var authority: String
  var version: HTTPVersion

  /// - Parameters:
  ///   - line: where the line lies, without its end.
  ///   - block: the bytes once more, for text.
  init(_ bytes: Span<UInt8>, _ line: Range<Int>, _ block: [UInt8]) throws(HeadError) {
    var lastSpace = line.upperBound - 1
    while lastSpace >= line.lowerBound, bytes[lastSpace] != 0x20 { lastSpace -= 1 }
    guard let firstSpace = bytes.firstIndex(of: 0x20, from: line.lowerBound), firstSpace < lastSpace else {
      throw .malformed("the request line is not METHOD TARGET VERSION")
    }
    let method = line.lowerBound..<firstSpace
    guard !method.isEmpty, ByteSyntax.all(bytes, method, in: ByteSyntax.token) else {
      throw .malformed("the method is empty or holds a byte that methods may not have")
    }
    let whole = firstSpace + 1..<lastSpace
    guard !whole.isEmpty, ByteSyntax.all(bytes, whole, in: ByteSyntax.target) else {
      throw .malformed("the request target is empty or holds a byte that targets may not have")
    }
    guard method.count <= 32, !bytes.holds("CONNECT", at: method), !bytes.holds("TRACE", at: method) else {
      throw HeadError(
        refusal: .unsupported(RequestHeadParser.unsupportedMethod),
        target: String(decoding: block[whole], as: UTF8.self))
    }
    let versionText = lastSpace + 1..<line.upperBound
    if bytes.holds("HTTP/1.1", at: versionText) {
      version = .http1_1
    } else if bytes.holds("HTTP/1.0", at: versionText) {
      version = .http1_0
    } else {
      throw .malformed("the version is not HTTP/1.1 or HTTP/1.0", String(decoding: block[whole], as: UTF8.self))
    }
    self.method = String(decoding: block[method], as: UTF8.self)
    (target, authority) = try Self.form(bytes, whole, block, isOptions: bytes.holds("OPTIONS", at: method))
  }

  /// Path and query, and the authority of an absolute target (RFC 9112 section 3.2).
  private static func form(
    _ bytes: Span<UInt8>, _ target: Range<Int>, _ block: [UInt8], isOptions: Bool
  ) throws(HeadError) -> (target: String, authority: String) {
    if bytes[target.lowerBound] == UInt8(ascii: "/") { return (String(decoding: block[target], as: UTF8.self), "") }
    if isOptions, bytes.holds("*", at: target) { return ("*", "") }
    var start = target.lowerBound
    if bytes.holds(ignoringCase: "http://", at: start..<min(start + 7, target.upperBound)) {
      start += 7
    } else if bytes.holds(ignoringCase: "https://", at: start..<min(start + 8, target.upperBound)) {
      start += 8
    } else {
      throw .malformed(
        "the request target is neither a path nor an http URL", String(decoding: block[target], as: UTF8.self))
    }
    var end = start
    while end < target.upperBound, bytes[end] != UInt8(ascii: "/"), bytes[end] != UInt8(ascii: "?") { end += 1 }
    guard start < end, ByteSyntax.all(bytes, start..<end, in: ByteSyntax.authority) else {
      throw .malformed("the URL in the request line has no valid host", String(decoding: block[target], as: UTF8.self))
    }
    let path = String(decoding: block[end..<target.upperBound], as: UTF8.self)
    return (
      path.utf8.first == UInt8(ascii: "/") ? path : "/" + path, String(decoding: block[start..<end], as: UTF8.self)
    )
  }
}

/// The fields about framing: gathered while they are read, and checked when all are known (RFC 9112 section 6).
private struct FramingFacts {
  private var host: Range<Int>?
  private var contentLength: Int?
  private var transferEncoding: Range<Int>?
  private var closes = false
  private var staysOpen = false
  private var expectsContinue = false
  private var acceptsTrailers = false

  /// Notes a field; returns why it makes the head malformed, or nil.
  mutating func note(_ field: FieldLine, _ bytes: Span<UInt8>) -> String? {
    let value = field.value
    switch field.name.count {
    case 2 where bytes.holds(ignoringCase: "te", at: field.name):
      var codings = ListElements(value)
      while let coding = codings.next(bytes) {
        if bytes.holds(ignoringCase: "trailers", at: coding) { acceptsTrailers = true }
      }
    case 4 where bytes.holds(ignoringCase: "host", at: field.name):
      guard host == nil else { return "Host is there twice" }
      guard ByteSyntax.all(bytes, value, in: ByteSyntax.authority) else {
        return "Host holds a byte that hosts may not have"
      }
      host = value
    case 6 where bytes.holds(ignoringCase: "expect", at: field.name):
      if bytes.holds(ignoringCase: "100-continue", at: value) { expectsContinue = true }
    case 10 where bytes.holds(ignoringCase: "connection", at: field.name):
      var options = ListElements(value)
      while let option = options.next(bytes) {
        if bytes.holds(ignoringCase: "close", at: option) { closes = true }
        if bytes.holds(ignoringCase: "keep-alive", at: option) { staysOpen = true }
      }
    case 14 where bytes.holds(ignoringCase: "content-length", at: field.name):
      guard contentLength == nil else { return "Content-Length is there twice" }
      guard let length = ByteSyntax.decimal(bytes, value) else { return "Content-Length is not one whole number" }
      contentLength = length
    case 17 where bytes.holds(ignoringCase: "transfer-encoding", at: field.name):
      guard transferEncoding == nil else { return "Transfer-Encoding is there twice" }
      transferEncoding = value
    default: break
    }
    return nil
  }

  /// Sets the head's framing from all fields.
  func judge(
    _ parsed: inout ParsedRequestHead, _ bytes: Span<UInt8>, _ block: [UInt8]
  ) throws(HeadError) {
    let isOld = parsed.head.version == .http1_0
    if let host {
      if parsed.head.authority.isEmpty { parsed.head.authority = String(decoding: block[host], as: UTF8.self) }
    } else if !isOld {
      throw .malformed("Host is missing")
    }
    if let transferEncoding {
      guard !isOld else { throw .malformed("HTTP/1.0 has no Transfer-Encoding") }
      guard contentLength == nil else { throw .malformed("Content-Length and Transfer-Encoding are both there") }
      try Self.requireChunkedAlone(bytes, transferEncoding)
      parsed.framing = .chunked
    } else if let contentLength {
      parsed.framing = contentLength == 0 ? .none : .length(contentLength)
    }
    parsed.keepsAlive = !closes && (!isOld || staysOpen)
    parsed.expectsContinue = expectsContinue && !isOld && parsed.framing != .none
    parsed.acceptsTrailers = acceptsTrailers
  }

  private static func requireChunkedAlone(_ bytes: Span<UInt8>, _ codings: Range<Int>) throws(HeadError) {
    guard !bytes.holds(ignoringCase: "chunked", at: codings) else { return }
    var list = ListElements(codings)
    var timesChunked = 0
    var endsChunked = false
    while let coding = list.next(bytes) {
      endsChunked = bytes.holds(ignoringCase: "chunked", at: coding)
      if endsChunked { timesChunked += 1 }
    }
    guard timesChunked == 0 || (timesChunked == 1 && endsChunked) else {
      throw .malformed("chunked must be the last transfer coding, once")
    }
    throw HeadError(refusal: .unsupported("the transfer coding is not supported, allowed is chunked alone"))
  }
}
