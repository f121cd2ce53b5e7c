// Header fields keep what was sent and are found in any case.
import Testing

@testable import HTTPMessage

@Suite struct HeaderFieldsTests {
  @Test func keepsOrderCaseAndBytes() {
    var fields = HeaderFields()
    fields.append(name: "X-One".utf8, value: [0x61, 0xFF, 0x62])
    fields.append(name: "x-two", value: "")
    fields.append(name: "X-One", value: "again")
    #expect(fields.count == 3)
    #expect(fields.name(at: 0) == "X-One")
    #expect(Array(fields.valueBytes(at: 0)) == [0x61, 0xFF, 0x62])
    #expect(fields.value(at: 1) == "")
    #expect(fields.value(at: 2) == "again")
    #expect(fields.byteCount == 5 + 3 + 5 + 5 + 5)
  }

  @Test func findsNamesInAnyCase() {
    let fields = HeaderFields([("Content-Type", "a"), ("content-length", "1"), ("CONTENT-TYPE", "b")])
    #expect(fields.first("content-type") == "a")
    #expect(fields.first(named: "content-TYPE") == "a")
    #expect(fields.firstIndex(of: "content-length") == 1)
    #expect(fields.first("content-typ") == nil)
    #expect(fields.first(named: "content-types") == nil)
    #expect(fields.nameStarts(with: "content-", at: 2))
    #expect(!fields.nameStarts(with: "content-type-x", at: 0))
  }

  @Test func appendsFromOtherLists() {
    let source = HeaderFields([("a", "1"), ("b", "22"), ("c", "333")])
    var fields = HeaderFields([("z", "0")])
    fields.append(fieldAt: 1, of: source)
    fields.append(contentsOf: source)
    #expect(fields.pairs.map { "\($0.name)=\($0.value)" } == ["z=0", "b=22", "a=1", "b=22", "c=333"])
  }

  /// Of a block that came, fields are slices: what stands between them is never shown, and does not count.
  @Test func readsFieldsOutOfABlock() {
    let block = Array("GET / HTTP/1.1\r\nA:  1 \r\nB: 22\r\n\r\n".utf8)
    var fields = HeaderFields(block: block, fields: 2)
    #expect(fields.isEmpty && fields.byteCount == 0)
    fields.append(nameAt: 16..<17, valueAt: 20..<21)
    fields.append(nameAt: 24..<25, valueAt: 27..<29)
    fields.append(name: "c", value: "333")
    fields.append(nameBytes: Array("xD".utf8)[1...], valueBytes: Array("4x".utf8)[..<1])
    #expect(fields.pairs.map { "\($0.name)=\($0.value)" } == ["A=1", "B=22", "c=333", "D=4"])
    #expect(fields.byteCount == 2 + 3 + 4 + 2)
    var others = HeaderFields([("z", "0")])
    others.append(fieldAt: 0, of: fields)
    others.append(contentsOf: fields.without("c"))
    #expect(others.pairs.map { "\($0.name)=\($0.value)" } == ["z=0", "A=1", "A=1", "B=22", "D=4"])
    #expect(others.byteCount == 2 + 2 + 2 + 3 + 2)
  }

  /// Runs of fields go over as they lie where each is a line, and are made lines where they are not: the reader sees no difference.
  @Test(arguments: [
    "A: 1\r\nB: 22\r\nC: 3\r\n", "A:1\r\nB:  22 \r\nC: 3\r\n", "A: 1\nB: 22\nC: 3\n", "A: 1\r\n\r\nB: 22\r\nC: 3\r\n",
  ])
  func runsOfFieldsAreWrittenAsLines(text: String) throws {
    let block = Array(("HTTP/1.1 200 OK\r\n" + text).utf8)
    var fields = HeaderFields(block: block, fields: 3)
    for (name, value) in [("A", "1"), ("B", "22"), ("C", "3")] {
      let nameAt = try #require(block.lastIndex(of: Array(name.utf8)[0]))
      let first = try #require(block[nameAt...].firstIndex(of: Array(value.utf8)[0]))
      fields.append(nameAt: nameAt..<nameAt + 1, valueAt: first..<first + value.utf8.count)
    }
    func written(_ fields: HeaderFields, _ run: Range<Int>) -> String {
      var out = Array("x".utf8)
      fields.write(run, asLinesTo: &out)
      return String(decoding: out, as: UTF8.self)
    }
    #expect(written(fields, 0..<3) == "xA: 1\r\nB: 22\r\nC: 3\r\n")
    #expect(written(fields, 1..<2) == "xB: 22\r\n")
    #expect(written(fields, 3..<3) == "x")
    // A field behind a block is no line that follows the last one: the block may go on behind its fields.
    fields.append(name: "D", value: "")
    #expect(written(fields, 2..<4) == "xC: 3\r\nD: \r\n")
    var others = HeaderFields([("z", "0")])
    others.append(fields: 1..<4, of: fields)
    others.append(fields: 0..<0, of: fields)
    others.append(name: "e", value: "5")
    #expect(others.pairs.map { "\($0.name)=\($0.value)" } == ["z=0", "B=22", "C=3", "D=", "e=5"])
    #expect(others.byteCount == 2 + 3 + 2 + 1 + 2)
    #expect(written(others, 0..<5) == "xz: 0\r\nB: 22\r\nC: 3\r\nD: \r\ne: 5\r\n")
  }

  @Test func cutsThePathOffTheQuery() {
    #expect(RequestHead(method: "GET", target: "/v1/x?y=/z?").path == "/v1/x")
    #expect(RequestHead(method: "GET", target: "/v1/x").path == "/v1/x")
    #expect(RequestHead(method: "GET", target: "").path == "")
  }
}
