// Whatever a client sends, nothing of it steers a terminal or a log; what people write stays readable.
import Testing

@testable import TextForms

@Suite struct PrintableTextTests {
  @Test(
    arguments: [
      ("", ""), ("plain text", "plain text"), ("é 🚦 日本 العربية", "é 🚦 日本 العربية"), ("a\\b\"c", "a\\b\"c"),
      ("\u{1B}[2J", #"\u001b[2J"#), ("a\nb\tc\r", #"a\u000ab\u0009c\u000d"#),
      ("\u{7F}\u{80}\u{9B}2J\u{9F}", #"\u007f\u0080\u009b2J\u009f"#),
      ("x\u{202E}y\u{2066}z", #"x\u202ey\u2066z"#), ("\u{200B}\u{FEFF}\u{2028}\u{AD}", #"\u200b\ufeff\u2028\u00ad"#),
      ("\u{E0041}", #"\udb40\udc41"#),
    ] as [(String, String)])
  func escapes(_ text: String, _ expected: String) {
    #expect(PrintableText.escaped(text) == expected)
  }

  @Test func linesMayStay() {
    #expect(PrintableText.escaped("a\nb\tc\u{1B}", keepsLines: true) == "a\nb\tc\\u001b")
  }

  @Test func nothingHiddenIsLeftInAnyForm() {
    let all = String(String.UnicodeScalarView((0...0x10FFFF).compactMap { UnicodeScalar($0) }))
    for form in [PrintableText.escaped(all), JSONString.quoted(all)] {
      #expect(!form.unicodeScalars.contains { PrintableText.isHidden($0) })
      #expect(!form.unicodeScalars.contains { $0.value < 0x20 || (0x7F...0x9F).contains($0.value) })
    }
  }
}
