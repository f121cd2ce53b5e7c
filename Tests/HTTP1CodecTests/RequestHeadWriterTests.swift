// Request heads byte by byte, and what is never sent.
import HTTPMessage
import Testing

@testable import HTTP1Codec

@Suite struct RequestHeadWriterTests {
  private func write(
    _ fields: [(name: String, value: String)], method: String = "GET", contentLength: Int? = nil
  ) -> String? {
    RequestHeadWriter.write(
      method: method, target: "/a?b", host: "h:1", fields: HeaderFields(fields), contentLength: contentLength
    ).map { String(decoding: $0, as: UTF8.self) }
  }

  @Test func fieldsKeepTheirOrderAndBytes() {
    #expect(
      write([("X-B", "1"), ("x-a", "\u{20ac} 2"), ("Empty", "")], method: "POST", contentLength: 7)
        == "POST /a?b HTTP/1.1\r\nHost: h:1\r\nX-B: 1\r\nx-a: \u{20ac} 2\r\nEmpty:\r\nContent-Length: 7\r\n\r\n")
    #expect(write([]) == "GET /a?b HTTP/1.1\r\nHost: h:1\r\n\r\n")
  }

  @Test func whatFramesOrConcernsOneHopIsLeftOut() {
    let names = [
      "TE", "Host", "Expect", "Upgrade", "Trailer", "Connection", "Keep-Alive", "Content-Length", "Proxy-Connection",
      "transfer-encoding",
    ]
    #expect(write(names.map { ($0, "x") }) == write([]))
  }

  @Test(arguments: [
    ("", "v"), ("a b", "v"), ("a:", "v"), ("a\u{7f}", "v"), ("a", "b\nc"), ("a", "b\rc"), ("a", "\u{0}"),
  ])
  func aFieldThatWouldSmuggleIsNotSent(name: String, value: String) {
    #expect(write([(name, value)]) == nil)
  }

  @Test(arguments: ["GE T", "GET\r\nX: y", "G\u{7F}", "GET\u{0}", "G\u{e9}T"]) func aMethodThatIsNoTokenIsNotSent(
    _ method: String
  ) {
    #expect(write([], method: method) == nil)
  }

  /// What the one side writes, the other reads.
  @Test func whatIsWrittenIsRead() throws {
    let text = try #require(write([("A", "b"), ("C", "d e")], method: "PUT", contentLength: 3))
    let parsed = try RequestHeadParser(maxFields: 10).parse(Array(text.utf8))
    #expect(parsed.head.method == "PUT" && parsed.head.target == "/a?b" && parsed.head.authority == "h:1")
    #expect(parsed.framing == .length(3))
    #expect(parsed.head.fields.pairs.map(\.value) == ["h:1", "b", "d e", "3"])
  }
}
