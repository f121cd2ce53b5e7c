// The writer's text is JSON, whatever the values hold.
import Testing

@testable import TextForms

@Suite struct JSONWriterTests {
  @Test func writesNestedShapes() {
    var json = JSONWriter()
    json.object { json in
      json.member("a", 1)
      json.member("b", nil as Int?)
      json.key("c")
      json.array([1, 2]) { $0.value($1) }
      json.key("d")
      json.object { _ in }
      json.member("e", "x\"\\\n\u{1}é")
      json.member("f", true)
    }
    #expect(
      String(decoding: json.bytes, as: UTF8.self)
        == #"{"a":1,"b":null,"c":[1,2],"d":{},"e":"x\"\\\n\u0001é","f":true}"#)
  }

  @Test func whatStandsAroundTheTextIsNoPartOfIt() {
    var json = JSONWriter(reserving: 16)
    json.raw("data: ")
    json.object { json in
      json.object("a") { $0.member("b", 1) }
      json.key(named: "c\"d")
      json.null()
    }
    json.raw("\n\n")
    json.array([true]) { $0.value($1) }
    #expect(String(decoding: json.bytes, as: UTF8.self) == "data: {\"a\":{\"b\":1},\"c\\\"d\":null}\n\n[true]")
  }
}
