// Request heads of HTTP/1.1: what is read, and a table of everything that is refused.
import HTTPMessage
import Testing

@testable import HTTP1Codec

@Suite struct RequestHeadParserTests {
  private func parse(_ text: String, maxFields: Int = 128) throws(HeadError) -> ParsedRequestHead {
    try RequestHeadParser(maxFields: maxFields).parse(Array(text.utf8))
  }
  private func refusal(_ text: String, maxFields: Int = 128) -> RequestRefusal? {
    do throws(HeadError) {
      _ = try parse(text, maxFields: maxFields)
      return nil
    } catch { return error.refusal }
  }

  @Test func readsAnOrdinaryHead() throws {
    let parsed = try parse(
      "POST /v1/messages?beta=true HTTP/1.1\r\nHost: api:8080\r\nContent-Length: 12\r\nX-Thing:  a b \t\r\n\r\n")
    #expect(parsed.head.method == "POST")
    #expect(parsed.head.target == "/v1/messages?beta=true")
    #expect(parsed.head.path == "/v1/messages")
    #expect(parsed.head.authority == "api:8080")
    #expect(parsed.head.version == .http1_1)
    #expect(parsed.framing == .length(12))
    #expect(parsed.keepsAlive)
    #expect(parsed.head.fields.pairs.map(\.name) == ["Host", "Content-Length", "X-Thing"])
    #expect(parsed.head.fields.first("x-thing") == "a b")
  }

  @Test func keepsBytesAboveASCIIInValues() throws {
    var bytes = Array("GET / HTTP/1.1\r\nHost: a\r\nX: ".utf8)
    bytes += [0xE2, 0x82, 0xAC, 0xFF] + Array("\r\n\r\n".utf8)
    let parsed = try RequestHeadParser(maxFields: 10).parse(bytes)
    #expect(Array(parsed.head.fields.valueBytes(at: 1)) == [0xE2, 0x82, 0xAC, 0xFF])
  }

  @Test(arguments: [
    ("", true), ("Connection: close\r\n", false), ("Connection: foo, Close\r\n", false),
    ("Connection: keep-alive\r\n", true), ("Connection: keep-alive\r\nConnection: close\r\n", false),
  ])
  func tellsWhetherTheConnectionStays(fields: String, stays: Bool) throws {
    #expect(try parse("GET / HTTP/1.1\r\nHost: a\r\n\(fields)\r\n").keepsAlive == stays)
  }

  @Test func oldClientsCloseUnlessTheyAsk() throws {
    #expect(try parse("GET / HTTP/1.0\r\n\r\n").keepsAlive == false)
    #expect(try parse("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keepsAlive)
    #expect(try parse("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n").keepsAlive == false)
  }

  @Test func readsFramingAndWishes() throws {
    #expect(try parse("GET / HTTP/1.1\r\nHost: a\r\n\r\n").framing == .none)
    #expect(try parse("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").framing == .none)
    #expect(try parse("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n").framing == .chunked)
    #expect(
      try parse("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n").expectsContinue)
    #expect(try parse("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n").expectsContinue == false)
    #expect(try parse("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n").expectsContinue == false)
    #expect(try parse("GET / HTTP/1.1\r\nHost: a\r\nTE: gzip, trailers\r\n\r\n").acceptsTrailers)
  }

  @Test(arguments: [
    ("http://example.com/a?b", "/a?b", "example.com"), ("HTTPS://example.com:99", "/", "example.com:99"),
    ("http://example.com?q", "/?q", "example.com"), ("/plain", "/plain", "h"), ("//double//", "//double//", "h"),
    ("/a%20b/../c", "/a%20b/../c", "h"),
  ])
  func readsTargets(target: String, path: String, authority: String) throws {
    let head = try parse("GET \(target) HTTP/1.1\r\nHost: h\r\n\r\n").head
    #expect(head.target == path)
    #expect(head.authority == authority)
  }

  @Test func asteriskIsForOptionsOnly() throws {
    #expect(try parse("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").head.target == "*")
    #expect(refusal("GET * HTTP/1.1\r\nHost: a\r\n\r\n")?.status == 400)
  }

  /// Each head is wrong in one way; `h` stands for a Host field.
  @Test(arguments: [
    "GET / HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
    "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
    " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /#f HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /\u{7F} HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET http:// HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET http://u@h/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /\r\nHost: a\r\n\r\n",
    "GET\r\nHost: a\r\n\r\n",
    "\r\n\r\n",
    "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
    "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    "GET / http/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1x\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
    "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n\tfolded\r\n\r\n",
    "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n: empty\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nb{d: x\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: a\u{0}b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: a\u{1}b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX\u{0}: b\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
    "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
  ])
  func refusesAsMalformed(text: String) throws {
    let told: String? = if case .malformed(let reason)? = refusal(text) { reason } else { nil }
    let reason = try #require(told, "was not refused as malformed: \(text)")
    #expect(!reason.isEmpty)
  }

  @Test(arguments: [
    "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
  ])
  func refusesAsNotImplemented(text: String) {
    #expect(refusal(text)?.status == 501)
  }

  @Test func methodsAreAtMost32BytesLong() {
    let exact = String(repeating: "M", count: 32)
    #expect(refusal("\(exact) / HTTP/1.1\r\nHost: a\r\n\r\n") == nil)
    #expect(refusal("\(exact)M / HTTP/1.1\r\nHost: a\r\n\r\n")?.status == 501)
  }

  @Test func countsFields() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nB: b\r\n\r\n"
    #expect(refusal(text, maxFields: 3) == nil)
    #expect(refusal(text, maxFields: 2) == nil)
    #expect(refusal(text, maxFields: 1)?.status == 431)
  }

  @Test func namesTheTargetWhereItIsKnown() {
    do throws(HeadError) {
      _ = try parse("GET /path HTTP/1.1\r\nbad\r\n\r\n")
      Issue.record("was not refused")
    } catch { #expect(error.target == "/path") }
  }

  // MARK: HeadScan

  private func look(_ scan: inout HeadScan, _ bytes: ArraySlice<UInt8>, limit: Int = 1000) -> HeadScan.Finding {
    scan.look(in: bytes.span, limit: limit)
  }

  @Test func findsTheEndHoweverTheHeadIsSplit() {
    let bytes = Array("GET / HTTP/1.1\r\nHost: a\r\n\r\nrest".utf8)
    let length = bytes.count - 4
    for split in 0...length {
      var scan = HeadScan()
      let first = look(&scan, bytes[..<split])
      #expect(first == (split < length ? .incomplete : .complete(length)))
      if split < length { #expect(look(&scan, bytes[...]) == .complete(length)) }
    }
  }

  @Test func limitsTheHeadToTheByte() {
    let bytes = Array("GET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8)
    var exact = HeadScan()
    #expect(look(&exact, bytes[...], limit: bytes.count) == .complete(bytes.count))
    func isTooLarge(_ bytes: [UInt8], limit: Int) -> Bool {
      var scan = HeadScan()
      return if case .refused(.headTooLarge) = look(&scan, bytes[...], limit: limit) { true } else { false }
    }
    #expect(isTooLarge(bytes, limit: bytes.count - 1))
    #expect(isTooLarge([UInt8](repeating: 0x61, count: 101), limit: 100), "an endless line")
    // However much of it came at once, the limit is looked at first.
    #expect(isTooLarge([UInt8](repeating: 0x61, count: 100) + [0x0A], limit: 100))
    var fits = HeadScan()
    #expect(look(&fits, [UInt8](repeating: 0x61, count: 100)[...], limit: 100) == .incomplete)
  }

  @Test(arguments: ["GET / HTTP/1.1\n", "GET / HTTP/1.1\r\nHost: a\n\r\n", "GET / HTTP/1.1\r\nA: b\r\n\n", "\n"])
  func refusesLineFeedsAlone(text: String) {
    var scan = HeadScan()
    let isMalformed =
      if case .refused(.malformed) = look(&scan, Array(text.utf8)[...], limit: 1000) { true } else { false }
    #expect(isMalformed)
  }
}
