// The JSON reader: strict, with positions, equal to RFC 8259 on what is valid.
import AdmissionCore
import CSimdjson
import Testing

@testable import ProviderWire

@Suite struct JSONWalkTests {
  /// Walks to the end; gives the fault or nil.
  private func fault(_ text: String) -> (reason: String, position: Int)? { fault(Array(text.utf8)) }

  private func fault(_ bytes: [UInt8]) -> (reason: String, position: Int)? {
    WireScratch().walk(bytes[...]) { walk in
      while true {
        switch walk.next() {
        case .end: return nil
        case .error: return walk.fault
        default: continue
        }
      }
    }
  }

  @Test(arguments: [
    "{}", "[]", "0", "-0", "1e9", "-1.5E-3", "\"\"", "true", "false", "null",
    " { \"a\" : [ 1 , 2.0 , \"x\" , { } ] } \n",
    "[[[[]]]]", "\"\\u00e9\\ud83d\\ude00\\n\\/\"", "{\"a\":{\"b\":{\"c\":null}}}", "123456789012345678901234567890",
    "1e400",
    "[\"\\\\\",\"\\\"\"]", "{\"\":1}", "\"é€😀\"", "\"\u{7f}\"",
  ])
  func acceptsValidText(_ text: String) {
    #expect(fault(text) == nil, "\(text)")
  }

  @Test(arguments: [
    ("", 0), ("   ", 0), ("{", 1), ("[1,]", 3), ("{\"a\":1,}", 7), ("{\"a\" 1}", 5), ("{a:1}", 1), ("[1 2]", 3),
    ("01", 0),
    ("1.", 0), ("-", 0), ("+1", 0), (".5", 0), ("1e", 0), ("tru", 0), ("truee", 0), ("nul", 0), ("\"a", 2),
    ("[\"a\"b]", 4),
    ("\"\\x\"", 1), ("\"\\u12\"", 1), ("\"\\u12g4\"", 1), ("{} {}", 3), ("[1]]", 3), ("{\"a\":}", 5), ("{1:2}", 1),
    ("[}", 1),
    ("{\"a\":1]", 6), ("NaN", 0), ("[,1]", 1), ("1\"a\"", 0), ("\u{feff}{}", 0),
  ])
  func refusesInvalidTextAtItsPosition(_ text: String, _ position: Int) {
    let found = fault(text)
    #expect(found?.position == position, "\(text): \(String(describing: found))")
    #expect(found?.reason.isEmpty == false)
  }

  @Test func refusesBytesThatAreNotUTF8() {
    for (bytes, position) in [
      ([0x22, 0xFF, 0x22], 1), ([0x22, 0x61, 0xC0, 0x80, 0x22], 2), ([0x22, 0xED, 0xA0, 0x80, 0x22], 1),
      ([0x22, 0xF5, 0x80, 0x80, 0x80, 0x22], 1), ([0x22, 0xE2, 0x82, 0x22], 1), ([0x22, 0xC3, 0xA9, 0x80, 0x22], 3),
    ] as [([UInt8], Int)] {
      let found = fault(bytes)
      #expect(found?.position == position && found?.reason == "not UTF-8", "\(bytes): \(String(describing: found))")
    }
  }

  @Test func refusesControlCharactersInStrings() {
    let found = fault("{\"a\":\"x\ny\"}")
    #expect(found?.position == 7)
    #expect(found?.reason == "control character in string")
  }

  @Test func boundsDepth() {
    func nested(_ depth: Int) -> String {
      String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
    }
    #expect(fault(nested(511)) == nil)
    #expect(fault(nested(512)) == nil)
    #expect(fault(nested(513))?.position == 512)
  }

  @Test func givesNamesParentsAndPositions() {
    let text = Array(#"{"messages":[{"content":"h\u00e9"}],"n":2}"#.utf8)
    var seen: [String] = []
    let isRead = WireScratch().walk(text[...]) { walk -> Bool in
      while walk.next() != .end {
        if walk.kind == .error { return false }
        switch walk.kind {
        case .string:
          seen.append(
            "\(walk.key == TG_KEY_content) \(walk.parent == TG_KEY_NONE) \(walk.string()) \(walk.decodedLength) \(walk.start)"
          )
        case .number: seen.append("\(walk.key == TG_KEY_n) \(walk.tokenCount) \(walk.depth)")
        default: break
        }
      }
      return true
    }
    #expect(isRead)
    #expect(seen == ["true true hé 3 25", "true 2 1"])
  }

  @Test func resolvesEscapesInNames() {
    let text = Array(#"{"mod\u0065l":"a"}"#.utf8)
    let isModel = WireScratch().walk(text[...]) { walk in
      walk.next()
      walk.next()
      return walk.key == TG_KEY_model
    }
    #expect(isModel)
  }

  @Test func decodedLengthEqualsDecodedText() {
    var random = SeededRandom(seed: 7)
    let pieces = [
      "a", "é", "€", "😀", "\\n", "\\\"", "\\u0041", "\\u00e9", "\\u20ac", "\\ud83d\\ude00", "\\ud800", "\\udc00", "\\/",
    ]
    for _ in 0..<500 {
      let content = (0..<random.next(below: 12)).map { _ in pieces[random.next(below: pieces.count)] }.joined()
      let text = Array("\"\(content)\"".utf8)
      WireScratch().walk(text[...]) { walk in
        #expect(walk.next() == .string)
        #expect(walk.string().utf8.count == walk.decodedLength, "\(content)")
      }
    }
  }

  @Test func skipsContainers() {
    let text = Array(#"{"a":{"b":[1,{"c":"}"}]},"n":3}"#.utf8)
    let value = WireScratch().walk(text[...]) { walk -> Int64? in
      walk.next()
      walk.next()
      walk.skip()
      return walk.next() == .number && walk.next() == .objectEnd && walk.next() == .end ? 3 : nil
    }
    #expect(value == 3)
  }

  @Test func aWalkInsideAWalkHasItsOwnMemory() {
    let scratch = WireScratch()
    let outer = Array(#"{"n":1,"model":"x"}"#.utf8)
    let inner = Array(#"[[[]]]"#.utf8)
    let model = scratch.walk(outer[...]) { walk -> String in
      walk.next()
      walk.next()
      scratch.walk(inner[...]) { while $0.next() != .end {} }
      walk.next()
      return walk.string()
    }
    #expect(model == "x")
  }

  @Test func survivesRandomBytes() {
    var random = SeededRandom(seed: 42)
    let alphabet = Array("{}[]\",:\\ \n0123456789.eE+-truefalsnu\u{e9}".utf8)
    let scratch = WireScratch()
    for _ in 0..<20_000 {
      let bytes = (0..<random.next(below: 40)).map { _ in alphabet[random.next(below: alphabet.count)] }
      scratch.walk(bytes[...]) { walk in
        var steps = 0
        while walk.next() != .end, walk.kind != .error { steps += 1 }
        #expect(steps <= bytes.count)
      }
    }
  }

  @Test(
    arguments: [
      ("12", 12), ("12.0", 12), ("12.9", 12), ("-3", 0), ("1e3", 1000), ("1.5e1", 15),
      ("1099511627775", 1_099_511_627_775), ("1099511627776", .most), ("1099511627777", .most),
      ("9007199254740993", .most), ("99999999999999999999999", .most), ("1e300", .most), ("0", 0), ("1E-2", 0),
    ] as [(String, TokenCount)])
  func readsCounts(_ text: String, _ count: TokenCount) {
    let bytes = Array(text.utf8)
    let found = WireScratch().walk(bytes[...]) { walk -> TokenCount? in walk.next() == .number ? walk.tokenCount : nil }
    #expect(found == count)
  }
}
