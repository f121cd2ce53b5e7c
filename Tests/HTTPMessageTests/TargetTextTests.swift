// The two halves of a target, and the comparison of the beginning of a value.
import HTTPMessage
import Testing

@Suite struct TargetTextTests {
  @Test(arguments: [
    ("/v1/models", "/v1/models", nil), ("/v1/models?", "/v1/models", ""), ("/v1/m?key=1", "/v1/m", "key=1"),
    ("/a?b=c?d", "/a", "b=c?d"), ("?x", "", "x"), ("", "", nil), ("*", "*", nil),
    ("/\u{fc}?\u{e9}=1", "/\u{fc}", "\u{e9}=1"),
    ("/a%3Fb", "/a%3Fb", nil),
    (
      "/a-path-that-does-not-fit-into-the-string-itself?and=its-query",
      "/a-path-that-does-not-fit-into-the-string-itself", "and=its-query"
    ),
  ])
  func theFirstMarkParts(_ target: String, _ path: String, _ query: String?) {
    let text = TargetText(target)
    #expect(text.path == path)
    #expect(text.query.map(String.init) == query)
    #expect(RequestHead(method: "GET", target: target).path == path)
  }

  @Test func aPieceOfALongerTextIsReadWithinItsBounds() {
    let all = "GET /v1/x?y=1 HTTP/1.1"
    let start = all.index(all.startIndex, offsetBy: 4)
    let text = TargetText(all[start..<all.index(start, offsetBy: 9)])
    #expect(text.path == "/v1/x" && text.query == "y=1")
    #expect(TargetText(all[start..<all.index(start, offsetBy: 5)]).query == nil)
  }

  @Test func theBeginningOfAValueIsComparedWithoutCase() {
    #expect(FieldSyntax.starts(Array("Text/Event-Stream; charset=utf-8".utf8)[...], with: "text/event-stream"))
    #expect(FieldSyntax.starts(Array("text/event-stream".utf8)[...], with: "text/event-stream"))
    #expect(!FieldSyntax.starts(Array("text/event-strea".utf8)[...], with: "text/event-stream"))
    #expect(!FieldSyntax.starts([], with: "text/event-stream"))
  }
}
