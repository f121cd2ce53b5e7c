// Escapes undone leniently and strictly, and made.
import Testing
import TextForms

@Suite struct PercentEscapesTests {
  @Test(
    arguments: [
      ("acme/session/a%20b/day", "acme/session/a b/day"), ("%C3%A4", "ä"), ("%c3%a4", "ä"), ("a+b", "a+b"), ("", ""),
      // What is no escape stays.
      ("100%", "100%"), ("a%2", "a%2"), ("%zz%41", "%zzA"), ("%", "%"), ("%%41", "%A"), ("%+1", "%+1"),
      ("%FF", "\u{FFFD}"),
    ] as [(String, String)])
  func decodes(_ text: String, _ expected: String) {
    #expect(PercentEscapes.decoded(text[...]) == expected)
  }

  @Test func decodesStrictly() {
    #expect(PercentEscapes.strictlyDecoded("a%2Cb+c%20%C3%A4") == "a,b+c ä")
    #expect(PercentEscapes.strictlyDecoded("") == "")
    for wrong: Substring in ["%", "%1", "%g0", "%0g", "%FF", "a%%41"] {
      #expect(PercentEscapes.strictlyDecoded(wrong) == nil)
    }
  }

  @Test func encodes() {
    #expect(PercentEscapes.encoded("aZ09-._~") == "aZ09-._~")
    #expect(PercentEscapes.encoded("a/b,c: ä%\n") == "a%2Fb%2Cc%3A%20%C3%A4%25%0A")
    let all = String(String.UnicodeScalarView((0..<0x250).compactMap { UnicodeScalar($0) }))
    #expect(PercentEscapes.strictlyDecoded(PercentEscapes.encoded(all)[...]) == all)
  }
}
