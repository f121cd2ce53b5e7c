// Whatever the text, it reads back as it was; plain text stays as it is.
import Foundation
import Testing
import TextForms

@Suite struct JSONStringTests {
  @Test(
    arguments: [
      ("", "\"\""), ("plain é 🚦", #""plain é 🚦""#), ("\"\\/", #""\"\\/""#), ("\n\r\t", #""\n\r\t""#),
      ("\u{0}\u{1f}\u{7f}", #""\u0000\u001f\u007f""#), ("\u{80}", #""\u0080""#),
      ("é\u{202E}\"\n", #""é\u202e\"\n""#), ("\u{E0041}", #""\udb40\udc41""#),
    ] as [(String, String)])
  func writes(_ text: String, _ expected: String) {
    #expect(JSONString.quoted(text) == expected)
    var bytes: [UInt8] = [0x3A]
    JSONString.append(text, to: &bytes)
    #expect(String(decoding: bytes, as: UTF8.self) == ":" + expected)
  }

  @Test func readsBack() throws {
    let all = String(String.UnicodeScalarView((0..<0x300).compactMap { UnicodeScalar($0) }))
    let back = try JSONSerialization.jsonObject(with: Data(JSONString.quoted(all).utf8), options: .fragmentsAllowed)
    #expect(back as? String == all)
  }
}
