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

  /// What is written without making text of it first is what the text would be.
  @Test(arguments: [
    0, 1, -1, 9, 10, 99_999_999, 100_000_000, -100_000_000, 999_999_999, 1_000_000_000, 12_300_000, 4_294_967_296,
    9_999_999_999_999_999, 10_000_000_000_000_000, Int64.max, Int64.min,
  ]) func numbersAreWhatTheirTextIs(number: Int64) {
    var json = JSONWriter()
    json.array([0]) { json, _ in
      json.value(number)
      json.value(billionths: number)
      json.value(UInt64(bitPattern: number))
      json.value(time: number)
    }
    let digits = String(number.magnitude % 1_000_000_000)
    let places = String(repeating: "0", count: 9 - digits.count) + digits
    let dollars = (number < 0 ? "-" : "") + "\(number.magnitude / 1_000_000_000).\(places)"
    let expected = #"[\#(number),"\#(dollars)",\#(UInt64(bitPattern: number)),"\#(RFC3339.text(number))"]"#
    #expect(String(decoding: json.bytes, as: UTF8.self) == expected)
  }

  @Test func whatIsNotThereIsNull() {
    var json = JSONWriter()
    json.object { json in
      json.member("number", nil as Int64?)
      json.member("text", nil as String?)
      json.member("dollars", billionths: nil)
      json.member("at", time: nil)
      json.key("share")
      json.value(decimal: .nan)
    }
    #expect(
      String(decoding: json.bytes, as: UTF8.self)
        == #"{"number":null,"text":null,"dollars":null,"at":null,"share":null}"#)
  }
}
