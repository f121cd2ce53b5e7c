// HTTP/1.1 answers without sockets: each framing, whole and split at every byte, and what is refused.
import HTTPMessage
import Testing

@testable import HTTP1Codec

private struct Read: Equatable {
  var status: Int?
  var body = ""
  var ended = false
  var left = 0
  var keepsAlive = false
  var malformed: String?
  var mayEndHere = false
}

/// Reads `pieces` one after another until the answer ended or was refused.
private func read(_ pieces: [[UInt8]], isHead: Bool = false, limit: Int = 4096) -> Read {
  var reader = AnswerReader()
  reader.reset(isHeadRequest: isHead)
  var result = Read()
  for piece in pieces where !result.ended && result.malformed == nil {
    var at = 0
    reading: while true {
      switch reader.next(piece, from: &at, maxHeaderBytes: limit) {
      case .needsMore: break reading
      case .head(let head): result.status = head.status
      case .body(let part): result.body += String(decoding: piece[part], as: UTF8.self)
      case .end:
        result.ended = true
        result.left = piece.count - at
        break reading
      case .malformed(let why):
        result.malformed = why
        break reading
      }
    }
  }
  result.keepsAlive = reader.keepsAlive
  result.mayEndHere = reader.mayEndHere()
  return result
}

private func read(_ text: String, isHead: Bool = false, limit: Int = 4096) -> Read {
  read([Array(text.utf8)], isHead: isHead, limit: limit)
}

@Suite struct AnswerFraming {
  static let wholes: [(text: String, body: String, keepsAlive: Bool)] = [
    ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc", true),
    ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", true),
    ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "abc", true),
    ("HTTP/1.1 200 OK\r\ncontent-length:1\r\nConnection: x, CLOSE\r\n\r\na", "a", false),
    ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", "a", false),
    ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: Keep-Alive\r\n\r\na", "a", true),
    (
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n00A ; x=y\r\n0123456789\r\n0\r\n\r\n",
      "abc0123456789", true
    ),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: y\r\nZ: z\r\n\r\n", "a", true),
    ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n1\na\n0\n\n", "a", true),
    ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", "a", false),
    ("HTTP/1.1 204 No\r\n\r\n", "", true),
    ("HTTP/1.1 304 Same\r\nContent-Length: 77\r\n\r\n", "", true),
    (
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
      "a", true
    ),
  ]

  @Test(arguments: wholes) func wholeAndSplitAtEveryByte(_ text: String, _ body: String, _ keepsAlive: Bool) {
    let bytes = Array(text.utf8)
    for cut in 0...bytes.count {
      let result = read([Array(bytes[..<cut]), Array(bytes[cut...])])
      #expect(result.ended && result.malformed == nil && result.left == 0, "cut at \(cut)")
      #expect(result.body == body && result.keepsAlive == keepsAlive, "cut at \(cut)")
    }
    #expect(read(bytes.map { [$0] }).body == body)
    #expect(!read([Array(bytes.dropLast())]).ended)
  }

  @Test func whatFollowsTheAnswerIsLeft() {
    let result = read("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1")
    #expect(result.ended && result.left == 8)
  }

  /// However a head comes, whole or line by line, its fields are the same: as they were sent, without the blanks around values.
  @Test(arguments: [
    "HTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nA: 1\r\nBc:2 \r\nD:\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\nA: 1\nBc:  2\nD: \nContent-Length: 0\n\n",
    "HTTP/1.1 200 OK\r\nA: 1\r\nBc: 2\r\nD: \r\nContent-Length: 0\r\n\r\n",
  ])
  func fieldsAreTheSameInWholeHeadsAndInLines(text: String) throws {
    func fields(_ pieces: [[UInt8]]) throws -> HeaderFields {
      var reader = AnswerReader()
      reader.reset(isHeadRequest: false)
      var found: HeaderFields?
      for piece in pieces where found == nil {
        var at = 0
        if case .head(let head) = reader.next(piece, from: &at, maxHeaderBytes: 4096) { found = head.fields }
      }
      return try #require(found)
    }
    let whole = try fields([Array(text.utf8)])
    let inBytes = try fields(text.utf8.map { [$0] })
    for fields in [whole, inBytes] {
      #expect(fields.pairs.map { "\($0.name)=\($0.value)" } == ["A=1", "Bc=2", "D=", "Content-Length=0"])
      var lines: [UInt8] = []
      fields.write(0..<4, asLinesTo: &lines)
      #expect(String(decoding: lines, as: UTF8.self) == "A: 1\r\nBc: 2\r\nD: \r\nContent-Length: 0\r\n")
    }
  }

  @Test func headRequestsHaveNoBody() {
    let result = read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", isHead: true)
    #expect(result.ended && result.body == "" && result.keepsAlive)
  }

  @Test func onlyABodyWithoutFramingEndsWithTheConnection() {
    let open = read("HTTP/1.1 200 OK\r\n\r\nabc")
    #expect(open.body == "abc" && open.mayEndHere && !open.ended && !open.keepsAlive)
    for text in [
      "", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "HTTP/1.1 100 Continue\r\n\r\n",
    ] {
      #expect(!read(text).mayEndHere, "\(text)")
    }
  }

  @Test(arguments: [
    "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 1234567890123456789\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1234567812345678\r\n",
    "ICY 200 OK\r\n\r\n", "\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n",
  ])
  func refused(_ text: String) {
    #expect(read(text).malformed != nil)
    #expect(read(Array(text.utf8).map { [$0] }).malformed != nil)
  }

  @Test func boundsAtUnderAndOver() {
    func head(_ size: Int) -> String {
      let frame = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: \r\n\r\n".utf8.count
      return "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: \(String(repeating: "x", count: size - frame))\r\n\r\n"
    }
    #expect(read(head(199), limit: 200).ended)
    #expect(read(head(200), limit: 200).ended)
    #expect(read(head(201), limit: 200).malformed != nil)
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    #expect(read(chunked + "0\r\n" + String(repeating: "X: y\r\n", count: 40) + "\r\n", limit: 200).malformed != nil)
    #expect(read(chunked + "1;" + String(repeating: "x", count: 5000)).malformed != nil)
  }
}
