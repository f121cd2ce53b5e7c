// HTTP/1.1 request heads: finds the end of a head in bytes that arrive in pieces, then reads it. Strict where leniency
// has let requests be smuggled past proxies (RFC 9112 sections 2 to 6): what two parsers could read in two ways is
// refused.
import HTTPMessage

/// How the length of a request's body is known.
enum BodyFraming: Equatable {
  case none
  case length(Int)
  case chunked
}

/// A request head and what HTTP/1.1 says in it about the connection.
struct ParsedRequestHead {
  var head: RequestHead
  var framing: BodyFraming = .none
  /// The client wants the connection to stay.
  var keepsAlive = true
  /// `Expect: 100-continue`.
  var expectsContinue = false
  /// `TE: trailers`.
  var acceptsTrailers = false
}

/// A refused head, and the target as far as it was understood.
struct HeadError: Error, Equatable {
  var refusal: RequestRefusal
  var target: String?
}

/// Finds the empty line that ends a head; remembers how far it looked.
struct HeadScan {
  private var scanned = 0
  private var lineStart = 0

  enum Finding: Equatable {
    case incomplete
    /// The head takes this many bytes, the empty line included.
    case complete(Int)
    case refused(RequestRefusal)
  }

  mutating func look(in bytes: ArraySlice<UInt8>, limit: Int) -> Finding {
    let base = bytes.startIndex
    while let lineFeed = bytes[(base + scanned)...].firstIndex(of: 0x0A) {
      let at = lineFeed - base
      guard at > lineStart, bytes[lineFeed - 1] == 0x0D else {
        return .refused(.malformed("a line of the head ends with LF alone; lines end with CR LF"))
      }
      if at == lineStart + 1, lineStart > 0 {
        return at + 1 > limit ? Self.tooLarge(limit) : .complete(at + 1)
      }
      scanned = at + 1
      lineStart = at + 1
      if scanned > limit { return Self.tooLarge(limit) }
    }
    scanned = bytes.count
    return scanned > limit ? Self.tooLarge(limit) : .incomplete
  }

  private static func tooLarge(_ limit: Int) -> Finding {
    .refused(.headTooLarge("the head of the request is larger than \(limit) bytes"))
  }
}

struct RequestHeadParser {
  var maxFields: Int

  /// Reads one whole head as ``HeadScan`` found it: lines that end with CR LF, the last one empty.
  func parse(_ bytes: ArraySlice<UInt8>) throws(HeadError) -> ParsedRequestHead {
    // HeadScan guarantees the end; a head without it is our own mistake and is refused all the same.
    guard let firstEnd = bytes.firstIndex(of: 0x0D) else { throw Self.malformed("the head has no end", nil) }
    var parsed = try requestLine(bytes[..<firstEnd])
    let target = parsed.head.target
    var fields = HeaderFields(reservingBytes: max(0, bytes.endIndex - firstEnd), fields: 16)
    var facts = FramingFacts()
    var at = firstEnd + 2
    while at < bytes.endIndex, bytes[at] != 0x0D {
      guard let lineEnd = bytes[at...].firstIndex(of: 0x0D), lineEnd + 1 < bytes.endIndex, bytes[lineEnd + 1] == 0x0A
      else { throw Self.malformed("a field holds a carriage return", target) }
      guard fields.count < maxFields else {
        throw HeadError(refusal: .headTooLarge("the request has more than \(maxFields) fields"), target: target)
      }
      let (name, value) = try Self.field(bytes[at..<lineEnd], target: target)
      fields.append(nameBytes: name, valueBytes: value)
      try facts.note(name: name, value: value, target: target)
      at = lineEnd + 2
    }
    guard at + 2 == bytes.endIndex, bytes[at + 1] == 0x0A else {
      throw Self.malformed("the head holds a carriage return on its own", target)
    }
    parsed.head.fields = fields
    try facts.apply(to: &parsed)
    return parsed
  }

  /// One field line, without its end.
  static func field(
    _ line: ArraySlice<UInt8>, target: String?
  ) throws(HeadError) -> (name: ArraySlice<UInt8>, value: ArraySlice<UInt8>) {
    if let first = line.first, first == 0x20 || first == 0x09 {
      throw malformed("a field is folded over two lines, which is obsolete", target)
    }
    guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else {
      throw malformed("a field line has no colon", target)
    }
    let name = line[..<colon]
    guard !name.isEmpty, ByteSyntax.all(name, in: ByteSyntax.token) else {
      throw malformed("a field's name is empty or holds a byte that names may not have", target)
    }
    let value = FieldSyntax.trimmed(line[(colon + 1)...])
    guard ByteSyntax.all(value, in: ByteSyntax.fieldValue) else {
      throw malformed("the value of a field holds a control character", target)
    }
    return (name, value)
  }

  /// A forward proxy's methods, and names that no method has.
  static let unsupportedMethod =
    "CONNECT, TRACE and methods of more than 32 letters are not supported, allowed is any other"

  private func requestLine(_ line: ArraySlice<UInt8>) throws(HeadError) -> ParsedRequestHead {
    guard let methodEnd = line.firstIndex(of: 0x20), let targetEnd = line.lastIndex(of: 0x20), methodEnd < targetEnd
    else { throw Self.malformed("the request line is not METHOD TARGET VERSION", nil) }
    let method = line[..<methodEnd]
    guard !method.isEmpty, ByteSyntax.all(method, in: ByteSyntax.token) else {
      throw Self.malformed("the method is empty or holds a byte that methods may not have", nil)
    }
    let wholeTarget = line[(methodEnd + 1)..<targetEnd]
    guard !wholeTarget.isEmpty, ByteSyntax.all(wholeTarget, in: ByteSyntax.target) else {
      throw Self.malformed("the request target is empty or holds a byte that targets may not have", nil)
    }
    let methodText = String(decoding: method, as: UTF8.self)
    guard method.count <= 32, methodText != "CONNECT", methodText != "TRACE" else {
      throw HeadError(
        refusal: .unsupported(RequestHeadParser.unsupportedMethod), target: String(decoding: wholeTarget, as: UTF8.self)
      )
    }
    let version: HTTPVersion
    let versionBytes = line[(targetEnd + 1)...]
    if versionBytes.elementsEqual("HTTP/1.1".utf8) {
      version = .http1_1
    } else if versionBytes.elementsEqual("HTTP/1.0".utf8) {
      version = .http1_0
    } else {
      throw Self.malformed(
        "the version is not HTTP/1.1 or HTTP/1.0", String(decoding: wholeTarget, as: UTF8.self))
    }
    let (target, authority) = try Self.targetForm(wholeTarget, method: methodText)
    var parsed = ParsedRequestHead(
      head: RequestHead(method: methodText, target: target, authority: authority, version: version))
    parsed.keepsAlive = version == .http1_1
    return parsed
  }

  /// Path and query, and the authority of an absolute target (RFC 9112 section 3.2).
  private static func targetForm(
    _ target: ArraySlice<UInt8>, method: String
  ) throws(HeadError) -> (target: String, authority: String) {
    if target.first == UInt8(ascii: "/") { return (String(decoding: target, as: UTF8.self), "") }
    if target.count == 1, target.first == UInt8(ascii: "*"), method == "OPTIONS" { return ("*", "") }
    var rest: ArraySlice<UInt8>
    if FieldSyntax.equal(target.prefix(7), "http://") {
      rest = target.dropFirst(7)
    } else if FieldSyntax.equal(target.prefix(8), "https://") {
      rest = target.dropFirst(8)
    } else {
      throw malformed("the request target is neither a path nor an http URL", String(decoding: target, as: UTF8.self))
    }
    let end = rest.firstIndex { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") } ?? rest.endIndex
    let authority = rest[..<end]
    guard !authority.isEmpty, ByteSyntax.all(authority, in: ByteSyntax.authority) else {
      throw malformed("the URL in the request line has no valid host", String(decoding: target, as: UTF8.self))
    }
    rest = rest[end...]
    let path = String(decoding: rest, as: UTF8.self)
    return (path.utf8.first == UInt8(ascii: "/") ? path : "/" + path, String(decoding: authority, as: UTF8.self))
  }

  static func malformed(_ reason: String, _ target: String?) -> HeadError {
    HeadError(refusal: .malformed(reason), target: target)
  }
}

/// What the fields say about framing, gathered while they are read, judged when all are known.
private struct FramingFacts {
  private var host: ArraySlice<UInt8>?
  private var contentLength: Int?
  private var transferEncoding: ArraySlice<UInt8>?
  private var closes = false
  private var staysOpen = false
  private var expectsContinue = false
  private var acceptsTrailers = false

  mutating func note(name: ArraySlice<UInt8>, value: ArraySlice<UInt8>, target: String) throws(HeadError) {
    switch name.count {
    case 2 where FieldSyntax.equal(name, "te"):
      FieldSyntax.forEachElement(value) { if FieldSyntax.equal($0, "trailers") { acceptsTrailers = true } }
    case 4 where FieldSyntax.equal(name, "host"):
      guard host == nil else { throw RequestHeadParser.malformed("Host is there twice", target) }
      guard ByteSyntax.all(value, in: ByteSyntax.authority) else {
        throw RequestHeadParser.malformed("Host holds a byte that hosts may not have", target)
      }
      host = value
    case 6 where FieldSyntax.equal(name, "expect"):
      if FieldSyntax.equal(value, "100-continue") { expectsContinue = true }
    case 10 where FieldSyntax.equal(name, "connection"):
      FieldSyntax.forEachElement(value) { element in
        if FieldSyntax.equal(element, "close") { closes = true }
        if FieldSyntax.equal(element, "keep-alive") { staysOpen = true }
      }
    case 14 where FieldSyntax.equal(name, "content-length"):
      guard contentLength == nil else { throw RequestHeadParser.malformed("Content-Length is there twice", target) }
      guard let length = ByteSyntax.decimal(value) else {
        throw RequestHeadParser.malformed("Content-Length is not one whole number", target)
      }
      contentLength = length
    case 17 where FieldSyntax.equal(name, "transfer-encoding"):
      guard transferEncoding == nil else {
        throw RequestHeadParser.malformed("Transfer-Encoding is there twice", target)
      }
      transferEncoding = value
    default: break
    }
  }

  func apply(to parsed: inout ParsedRequestHead) throws(HeadError) {
    let target = parsed.head.target
    let isOld = parsed.head.version == .http1_0
    if let host {
      if parsed.head.authority.isEmpty { parsed.head.authority = String(decoding: host, as: UTF8.self) }
    } else if !isOld {
      throw RequestHeadParser.malformed("Host is missing", target)
    }
    if let transferEncoding {
      guard !isOld else { throw RequestHeadParser.malformed("HTTP/1.0 has no Transfer-Encoding", target) }
      guard contentLength == nil else {
        throw RequestHeadParser.malformed("Content-Length and Transfer-Encoding are both there", target)
      }
      guard FieldSyntax.equal(transferEncoding, "chunked") else {
        var last: ArraySlice<UInt8> = []
        var chunkedCodings = 0
        FieldSyntax.forEachElement(transferEncoding) { element in
          last = element
          if FieldSyntax.equal(element, "chunked") { chunkedCodings += 1 }
        }
        guard chunkedCodings <= 1, chunkedCodings == 0 || FieldSyntax.equal(last, "chunked") else {
          throw RequestHeadParser.malformed("chunked must be the last transfer coding, once", target)
        }
        throw HeadError(
          refusal: .unsupported("the transfer coding is not supported, allowed is chunked alone"), target: target)
      }
      parsed.framing = .chunked
    } else if let contentLength {
      parsed.framing = contentLength == 0 ? .none : .length(contentLength)
    }
    if closes {
      parsed.keepsAlive = false
    } else if isOld {
      parsed.keepsAlive = staysOpen
    }
    parsed.expectsContinue = expectsContinue && !isOld && parsed.framing != .none
    parsed.acceptsTrailers = acceptsTrailers
  }
}
