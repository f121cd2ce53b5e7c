// Texts that are split into tokens window by window read as they do in one piece, and take a bounded list of tokens.
import CSimdjson
import Testing

@testable import ProviderWire

@Suite struct JSONWindowTests {
  /// Every token of a text, and the fault where there is one.
  private func tokens(_ text: [UInt8], window: Int) -> [String] {
    WireScratch(window: window).walk(text[...]) { walk in
      var all: [String] = []
      while true {
        switch walk.next() {
        case .end: return all + ["end"]
        case .error: return all + ["\(walk.fault)"]
        default: all.append("\(walk.kind) \(walk.start)..<\(walk.end) \(walk.depth) \(walk.count) \(walk.numbers)")
        }
      }
    }
  }

  private static let texts = [
    #"{"messages":[{"content":"h\u00e9 \"quoted\\\" x","n":[1,2,3.5e9,true,null]}],"a":{},"b":[]}"#,
    "[[[[1],[2]],\"\\\\\"],{\"k\" : \"v\" , \"l\":[ false,\t{} ]} ]\n ", "\"just a long string with \\\" inside\"",
    "12345",
    "   [ ]   ", "{\"a\":\"é€😀\",\"b\":\"x\"}", "[,1]", "{\"a\" 1}", "[1 2]", "{\"a\":1}}", "[\"a\"b]", "{\"a\":tru}",
    "{\"a\":[1,2",
    "{\"a\":\"never closed", "", "     ", "[1]   x", "1\"a\"",
  ]

  @Test(arguments: texts) func everyWindowGivesTheSameTokens(_ text: String) throws {
    let bytes = Array(text.utf8)
    let whole = tokens(bytes, window: 1 << 20)
    for window in 1...(bytes.count + 2) {
      let found = tokens(bytes, window: window)
      if whole.last == "end" {
        #expect(found == whole, "window \(window)")
      } else {
        // A mistake is one in every window, though tokens before it may be seen first.
        #expect(found.last != "end", "window \(window)")
      }
    }
  }

  @Test func skippingGoesOnInTheNextWindow() {
    let text = Array(#"{"usage":{"a":[1,2,{"b":"c"}]},"other":{"x":[[],[]]},"model":"m"}"#.utf8)
    for window in 1...text.count {
      let model = WireScratch(window: window).walk(text[...]) { walk -> String? in
        guard walk.next() == .objectBegin else { return nil }
        while true {
          switch walk.next(of: JSONNames([TG_KEY_model, TG_KEY_usage])) {
          case .objectBegin: walk.skip()
          case .string: return walk.string()
          case .end, .error: return nil
          default: continue
          }
        }
      }
      #expect(model == "m", "window \(window)")
    }
  }

  @Test func wrongBytesInALaterWindowAreFound() {
    var text = Array("[\"a\",\"b\",\"".utf8)
    text += [0xFF] + Array("\",1]".utf8)
    for window in 1...text.count {
      #expect(tokens(text, window: window).last == "(reason: \"not UTF-8\", position: 10)", "window \(window)")
    }
  }

  @Test(arguments: ["[", ",", "]", "[],", "\"\",", "1,", "{\"a\":0},"])
  func aTextOfBracketsTakesAListForOneWindowOnly(_ piece: String) throws {
    let scratch = WireScratch()
    let bytes = Array(("[" + String(repeating: piece, count: (8 << 20) / piece.utf8.count) + "0]").utf8)
    scratch.walk(bytes[...]) { walk in
      while walk.next() != .end {
        if walk.kind == .error { break }
      }
      #expect(walk.listBytes <= (4 << 20) + 4096)
    }
  }
}
