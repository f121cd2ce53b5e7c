// The comparison of texts by their bytes.
import HTTPMessage
import Testing

@Suite struct SameBytesTests {
  /// Lengths below, at and above a word and the size of a text that needs no memory of its own.
  @Test(arguments: [0, 1, 7, 8, 9, 15, 16, 17, 40])
  func eachByteCounts(_ length: Int) {
    let bytes = (0..<length).map { UInt8(ascii: "a") + UInt8($0 % 26) }
    let text = String(decoding: bytes, as: UTF8.self)
    #expect(text.hasSameBytes(as: String(decoding: bytes, as: UTF8.self)))
    #expect(!text.hasSameBytes(as: text + "a"))
    #expect(!(text + "a").hasSameBytes(as: text))
    for at in 0..<length {
      var other = bytes
      other[at] = UInt8(ascii: "-")
      #expect(!text.hasSameBytes(as: String(decoding: other, as: UTF8.self)), "the byte at \(at)")
    }
  }

  /// Texts that `==` takes for equal: composed and decomposed letters, their order, and the Kelvin sign.
  @Test(arguments: [
    ("/caf\u{e9}", "/cafe\u{301}"), ("/\u{e9}e\u{301}", "/e\u{301}\u{e9}"), ("/\u{212a}", "/K"),
  ])
  func textsThatLookTheSameDiffer(_ one: String, _ other: String) {
    #expect(one == other)
    #expect(!one.hasSameBytes(as: other))
    #expect(one.hasSameBytes(as: one))
  }
}
