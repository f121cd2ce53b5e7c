// Lists and words in field values.
import HTTPMessage
import Testing

@Suite struct FieldSyntaxTests {
  @Test func splitsLists() {
    var found: [String] = []
    FieldSyntax.forEachElement(Array(" a, ,b c ,\t,d".utf8)[...]) { found.append(String(decoding: $0, as: UTF8.self)) }
    #expect(found == ["a", "b c", "d"])
  }

  @Test func comparesWithoutCase() {
    #expect(FieldSyntax.equal(Array("Content-LENGTH".utf8)[...], "content-length"))
    #expect(!FieldSyntax.equal(Array("content_length".utf8)[...], "content-length"))
    #expect(!FieldSyntax.equal(Array("content".utf8)[...], "content-length"))
  }
}
