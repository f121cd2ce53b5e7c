// Field lines by both rules, and the elements of lists.
import Testing

@testable import HTTP1Codec

@Suite struct FieldLineTests {
  private func read(_ text: String, _ rules: FieldLine.Rules) throws(FieldLine.Flaw) -> (name: String, value: String) {
    let bytes = Array(text.utf8)
    let line = try FieldLine(bytes.span, 0..<bytes.count, rules)
    return (String(decoding: bytes[line.name], as: UTF8.self), String(decoding: bytes[line.value], as: UTF8.self))
  }
  private func flaw(_ text: String, _ rules: FieldLine.Rules) -> FieldLine.Flaw? {
    do throws(FieldLine.Flaw) {
      _ = try read(text, rules)
      return nil
    } catch { return error }
  }

  @Test(arguments: [FieldLine.Rules.strict, .lenient]) func splitsAtTheFirstColonAndTrims(rules: FieldLine.Rules) throws
  {
    for (text, value) in [("a:b", "b"), ("a: \t b:c d \t", "b:c d"), ("a:", ""), ("a: \t ", ""), ("a::", ":")] {
      let field = try read(text, rules)
      #expect(field.name == "a" && field.value == value, "\(text)")
    }
    #expect(flaw("", rules) == .noColon)
    #expect(flaw("no colon", rules) == .noColon)
    #expect(flaw(" a: b", rules) == .folded)
    #expect(flaw("\ta: b", rules) == .folded)
    #expect(flaw(": b", rules) == .badName)
    #expect(flaw("a : b", rules) == .badName)
    #expect(flaw("a\t: b", rules) == .badName)
  }

  @Test func onlyClientsMustKeepToTheLetter() throws {
    for text in ["a b: c", "a\u{0}: c", "a@: c", "\u{e9}: c"] {
      #expect(flaw(text, .strict) == .badName, "\(text)")
      #expect(flaw(text, .lenient) == nil, "\(text)")
    }
    for text in ["a: \u{0}", "a: b\rc", "a: \u{7f}", "a: b\u{1}"] {
      #expect(flaw(text, .strict) == .badValue, "\(text)")
      #expect(flaw(text, .lenient) == nil, "\(text)")
    }
    #expect(try read("a: \u{20ac}\t\u{e9}", .strict).value == "\u{20ac}\t\u{e9}")
  }

  /// The search looks at eight bytes at once: every place in them, with every kind of neighbour.
  @Test(arguments: [UInt8(0x0A), 0x00, 0x80, 0xFF]) func findsTheFirstByte(byte: UInt8) {
    let neighbours: [UInt8] = [byte ^ 1, byte ^ 0x80, byte &+ 1, byte &- 1]
    for count in 0..<20 {
      for neighbour in neighbours {
        let without = [UInt8](repeating: neighbour, count: count)
        #expect(without.span.firstIndex(of: byte, from: 0) == nil)
        for place in 0..<count {
          var bytes = without
          bytes[place] = byte
          bytes[count - 1] = byte
          #expect(bytes.span.firstIndex(of: byte, from: 0) == place)
          #expect(bytes.span.firstIndex(of: byte, from: place) == place)
          #expect(bytes.span.firstIndex(of: byte, from: place + 1) == (place == count - 1 ? nil : count - 1))
        }
      }
    }
    #expect([byte].span.firstIndex(of: byte, from: 2) == nil)
  }

  @Test(
    arguments: [
      ("", 0, nil), ("a", 0, nil), ("\n", 0, nil), ("\n\n", 0, 2), ("\r\n\r\n", 0, 4), ("a\r\nb\n\r\nc", 0, 7),
      ("a\r\n\r", 0, nil),
      ("a\r\n\rb\n\n", 0, 7), ("\n\n\n\n", 1, 3),
    ] as [(String, Int, Int?)])
  func findsTheEndOfAHead(text: String, start: Int, end: Int?) {
    #expect(Array(text.utf8).span.endOfHead(from: start) == end)
  }

  @Test(arguments: [
    ("", []), (",", []), (" , \t,", []), ("a", ["a"]), ("a,b", ["a", "b"]), (" a ,, b\t,", ["a", "b"]),
    (",a b", ["a b"]),
  ])
  func listsSkipEmptyElements(text: String, elements: [String]) {
    let bytes = Array("x\(text)x".utf8)
    var list = ListElements(1..<bytes.count - 1)
    var found: [String] = []
    while let element = list.next(bytes.span) { found.append(String(decoding: bytes[element], as: UTF8.self)) }
    #expect(found == elements)
  }
}
