// Response heads of HTTP/1.1, byte by byte.
import HTTPMessage
import Testing

@testable import HTTP1Codec

@Suite struct HTTP1ResponseWriterTests {
  private func write(
    _ status: Int, _ fields: [(name: String, value: String)], _ framing: ResponseFraming,
    _ connection: StaticString? = nil
  ) -> String {
    var out: [UInt8] = []
    HTTP1ResponseWriter.write(
      ResponseHead(status: status, fields: HeaderFields(fields)), framing: framing, connection: connection,
      date: Array("now".utf8), into: &out)
    return String(decoding: out, as: UTF8.self)
  }

  @Test func keepsFieldsAsTheyCame() {
    #expect(
      write(200, [("X-A", "1"), ("x-a", "2")], .length(0)) == "HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\ndate: now\r\n\r\n"
    )
  }

  @Test func leavesOutWhatIsOursOrBroken() {
    #expect(
      write(
        200, [("Connection", "a"), ("Transfer-Encoding", "b"), ("keep-alive", "c"), ("x y", "d"), ("e", "\n")],
        .bodiless)
        == "HTTP/1.1 200 OK\r\ndate: now\r\n\r\n")
  }

  @Test func writesItsOwnFraming() {
    #expect(
      write(299, [("DATE", "then")], .chunked, "close")
        == "HTTP/1.1 299 \r\nDATE: then\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n")
  }

  @Test(arguments: [(0, "0"), (9, "9"), (15, "f"), (16, "10"), (255, "ff"), (65536, "10000")])
  func writesHexadecimal(value: Int, text: String) {
    var out: [UInt8] = []
    HTTP1ResponseWriter.appendHexadecimal(value, into: &out)
    #expect(String(decoding: out, as: UTF8.self) == text)
  }

  @Test func everyStatusOfARefusalHasAReason() {
    for status in [400, 408, 413, 431, 501, 503] {
      #expect(HTTP1ResponseWriter.reason(status).utf8CodeUnitCount > 0)
    }
  }
}
