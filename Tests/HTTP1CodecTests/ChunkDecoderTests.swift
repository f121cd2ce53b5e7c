// The chunked coding: right bodies in pieces of any size, wrong ones refused, each bound at, under and over.
import HTTPMessage
import Testing

@testable import HTTP1Codec

@Suite struct ChunkDecoderTests {
  private func decode(
    _ text: String, limit: Int = 1000, overhead: Int = 1000, step: Int = .max
  ) throws(HeadError) -> (body: String, used: Int, isComplete: Bool) {
    var decoder = ChunkDecoder(bodyLimit: limit, overhead: overhead)
    let bytes = Array(text.utf8)
    var body: [UInt8] = []
    var at = 0
    while at < bytes.count, !decoder.isComplete {
      let end = step == .max ? bytes.count : min(bytes.count, at + step)
      at = try decoder.decode(bytes[at..<end], into: &body)
    }
    return (String(decoding: body, as: UTF8.self), at, decoder.isComplete)
  }
  private func refusal(_ text: String, limit: Int = 1000, overhead: Int = 1000) -> RequestRefusal? {
    do throws(HeadError) {
      _ = try decode(text, limit: limit, overhead: overhead)
      return nil
    } catch { return error.refusal }
  }

  @Test(arguments: [
    ("0\r\n\r\n", ""), ("5\r\nhello\r\n0\r\n\r\n", "hello"), ("1\r\na\r\nA\r\n0123456789\r\n0\r\n\r\n", "a0123456789"),
    ("5;x=y;z=\"q\"\r\nhello\r\n0;last\r\n\r\n", "hello"), ("5 ;x\r\nhello\r\n0\r\n\r\n", "hello"),
    ("3\r\nabc\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n", "abc"), ("0003\r\nabc\r\n000\r\n\r\n", "abc"),
    // A size of up to seven digits is read at once, a longer one digit by digit.
    ("000003\r\nabc\r\n0\r\n\r\n", "abc"), ("0000003\r\nabc\r\n0000000\r\n\r\n", "abc"),
    ("00000003\r\nabc\r\n000000000000000\r\n\r\n", "abc"),
  ])
  func decodesInPiecesOfAnySize(text: String, body: String) throws {
    for step in [1, 2, 3, 7, Int.max] {
      let decoded = try decode(text + "NEXT", step: step)
      #expect(decoded.body == body)
      #expect(decoded.isComplete)
      #expect(decoded.used == text.utf8.count, "the next request's bytes must stay")
    }
  }

  @Test func waitsWhereItIsIncomplete() throws {
    let text = "5\r\nhello\r\n0\r\nX: 1\r\n\r\n"
    #expect(try decode(text).isComplete)
    for length in 0..<text.utf8.count {
      let part = String(decoding: Array(text.utf8)[..<length], as: UTF8.self)
      #expect(try decode(part).isComplete == false)
    }
  }

  @Test(arguments: [
    "\r\n", "g\r\n", "-1\r\n", "+1\r\n", "0x5\r\n", "5\nhello", "5\r\nhelloX", "5\r\nhello\rX", "5\r\nhello\n",
    "5 \r\nhello", "5;a\u{0}b\r\nhello", "5;a\nb", "1 2\r\n", "0\r\nno colon\r\n\r\n", "0\r\n folded: x\r\n\r\n",
    "0\r\nX: 1\n\r\n", "0\r\nX: \u{1}\r\n\r\n", "1000000000000000\r\n", "0\r\n\rX",
  ])
  func refusesBrokenCoding(text: String) {
    let isMalformed = if case .malformed? = refusal(text) { true } else { false }
    #expect(isMalformed, "\(text)")
  }

  @Test func limitsTheBody() {
    #expect(refusal("4\r\nabcd\r\n5\r\nefghi\r\n0\r\n\r\n", limit: 9) == nil)
    #expect(refusal("4\r\nabcd\r\n5\r\nefghi\r\n0\r\n\r\n", limit: 8) == .bodyTooLarge(limit: 8))
    for size in ["9", "FFFFFFF", "FFFFFFFF", "FFFFFFFFFFFFFFF"] {
      #expect(refusal("\(size)\r\n", limit: 8) == .bodyTooLarge(limit: 8))
    }
    #expect(refusal("FFFFFFF\r\n", limit: 0xFFF_FFFF) == nil)
    #expect(refusal("FFFFFFF\r\n", limit: 0xFFF_FFFE) == .bodyTooLarge(limit: 0xFFF_FFFE))
  }

  @Test func limitsExtensionsAndTrailers() {
    let extended = "1;" + String(repeating: "x", count: 50) + "\r\na\r\n0\r\n\r\n"
    #expect(refusal(extended, overhead: 51) == nil)
    #expect(refusal(extended, overhead: 50)?.status == 400)
    let trailers = "0\r\nX: " + String(repeating: "y", count: 47) + "\r\n\r\n"
    #expect(refusal(trailers, overhead: 50) == nil)
    #expect(refusal(trailers, overhead: 49)?.status == 400)
  }
}
