// Members found without parsing: their forms, their order, what counts as missing, and the limit.
import Testing

@testable import BrokerEngine

@Suite struct JSONGlanceTests {
  private func glance(_ json: String) -> [String?] {
    let found = JSONGlance(["a", "ab"], in: json)
    return [found[0], found[1]]
  }

  @Test(arguments: [
    (#"{"a":"1","ab":"2"}"#, "1", "2"), (#"{"ab" : "2", "a":\#t"1"}"#, "1", "2"), (#"{"x":{"a":"1"}}"#, "1", nil),
    (#"{"a":1,"ab":"2"}"#, nil, "2"), (#"{"a":"1","a":"3"}"#, "1", nil), (#"{"a":"","ab":"\u0041"}"#, "", nil),
    (#"{"x":"\"a\":\"no\"","ab":"2"}"#, nil, "2"), (#"["a","ab"]"#, nil, nil), (#"{"a":"ab","ab":"a"}"#, "ab", "a"),
    (#"{"a":"1"#, nil, nil), (#"{"a":"#, nil, nil), (#"{"a""#, nil, nil), (#"{"a"#, nil, nil), ("", nil, nil),
    ("\"\"\"", nil, nil),
  ])
  func findsTexts(_ json: String, _ first: String?, _ second: String?) {
    #expect(glance(json) == [first, second])
  }

  @Test func readsNoFurtherThanItsLimit() {
    let member = #""a":"1""#
    func padded(_ length: Int) -> String {
      "{" + String(repeating: " ", count: length - 1 - member.utf8.count) + member
    }
    #expect(JSONGlance(["a"], in: padded(JSONGlance.most))[0] == "1")
    #expect(JSONGlance(["a"], in: padded(JSONGlance.most + 1))[0] == nil)
  }
}
