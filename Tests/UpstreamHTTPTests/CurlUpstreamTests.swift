// Whole attempts against a scripted server: what goes out, what comes back, connections, pause and cancel.
import Foundation
import HTTPMessage
import SharedState
import Testing

@testable import UpstreamHTTP

private let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

/// Answers each request of each connection with `answer`, and keeps what was asked.
private final class Echo: Sendable {
  let server: ScriptedServer
  private let box: Box

  init(_ answer: String = ok) throws {
    let box = Box()
    server = try ScriptedServer { connection in
      while true {
        let request = try connection.readRequest()
        box.asked.withLock { $0.append(request) }
        try connection.send(answer)
      }
    }
    self.box = box
  }

  private final class Box: Sendable { let asked = Guarded<[ScriptedRequest]>([]) }
  var requests: [ScriptedRequest] { box.asked.withLock { $0 } }
  deinit { server.stop() }
}

@Suite struct RequestsOnTheWire {
  @Test func aPostCarriesItsFieldsAndNothingElse() throws {
    let bench = try Bench()
    let echo = try Echo()
    let fields: [(name: String, value: String)] = [
      ("X-First", "1"), ("content-type", "application/json"), ("x-FIRST", "2"), ("X-Empty", ""),
      ("Authorization", "Bearer k"),
    ]
    let recorder = bench.run(
      echo.server.url + "/a/../b/%2e%2E/./c?q=%20x&y", fields: fields, body: Array("{}".utf8))
    #expect(recorder.ending == .completed)
    let request = try #require(echo.requests.first)
    #expect(
      request.lines == [
        "POST /a/../b/%2e%2E/./c?q=%20x&y HTTP/1.1", "Host: 127.0.0.1:\(echo.server.port)", "X-First: 1",
        "content-type: application/json", "x-FIRST: 2", "X-Empty:", "Authorization: Bearer k", "Content-Length: 2",
      ])
    #expect(request.body == Array("{}".utf8))
  }

  @Test func framingFieldsOfTheCallerAreDropped() throws {
    let bench = try Bench()
    let echo = try Echo()
    _ = bench.run(
      echo.server.url + "/",
      fields: [
        ("Host", "evil"), ("Content-Length", "99"), ("Transfer-Encoding", "chunked"), ("Connection", "close, x-y"),
        ("Keep-Alive", "1"), ("TE", "trailers"), ("Upgrade", "h2c"), ("Expect", "100-continue"),
        ("Proxy-Connection", "x"), ("Trailer", "x"), ("X-Kept", "y"),
      ], body: [0x7B])
    let request = try #require(echo.requests.first)
    #expect(
      request.lines == [
        "POST / HTTP/1.1", "Host: 127.0.0.1:\(echo.server.port)", "X-Kept: y", "Content-Length: 1",
      ])
  }

  @Test func fieldValuesKeepTheirBytes() throws {
    let bench = try Bench()
    let raw = Guarded<[UInt8]>([])
    let server = try ScriptedServer { connection in
      let bytes = try connection.read()
      raw.withLock { $0 = bytes }
      try connection.send(ok)
    }
    defer { server.stop() }
    var fields = HeaderFields()
    fields.append(name: "x-latin".utf8, value: [0x61, 0xE9, 0xFF, 0x09, 0x62])
    let recorder = Recorder()
    _ = bench.upstream.begin(
      UpstreamRequest(
        provider: "p", method: "GET", url: server.url + "/", fields: fields, body: [], timeouts: Bench.timeouts),
      events: recorder)
    bench.turn(until: { recorder.ending != nil })
    let expected = Array("x-latin: ".utf8) + [0x61, 0xE9, 0xFF, 0x09, 0x62, 0x0D, 0x0A]
    #expect(raw.withLock { $0.firstRange(of: expected) } != nil)
  }

  @Test(arguments: ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
  func methodsWithoutABody(_ method: String) throws {
    let bench = try Bench()
    let echo = try Echo(method == "HEAD" ? "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" : ok)
    let recorder = bench.run(echo.server.url + "/m", method: method)
    #expect(recorder.ending == .completed)
    #expect(recorder.text == (method == "HEAD" ? "" : "ok"))
    let request = try #require(echo.requests.first)
    #expect(request.requestLine == "\(method) /m HTTP/1.1")
    let saysZero = ["POST", "PUT", "PATCH"].contains(method)
    #expect(request.values("content-length") == (saysZero ? ["0"] : []))
  }

  @Test(arguments: ["GET", "POST", "PUT", "PATCH", "DELETE", "REPORT"])
  func methodsWithABody(_ method: String) throws {
    let bench = try Bench()
    let echo = try Echo()
    let recorder = bench.run(echo.server.url + "/m", method: method, body: Array("abc".utf8))
    #expect(recorder.ending == .completed)
    let request = try #require(echo.requests.first)
    #expect(request.requestLine == "\(method) /m HTTP/1.1")
    #expect(request.values("content-length") == ["3"])
    #expect(request.body == Array("abc".utf8))
  }

  /// The same handle serves them one after another: nothing of one may show in the next.
  @Test func oneHandleForAllMethodsInTurn() throws {
    let bench = try Bench()
    let echo = try Echo()
    for (method, body) in [("POST", "x"), ("GET", ""), ("POST", ""), ("DELETE", "yy"), ("DELETE", ""), ("POST", "zzz")]
    {
      let recorder = bench.run(echo.server.url + "/", method: method, body: Array(body.utf8))
      #expect(recorder.text == "ok")
    }
    let seen = echo.requests.map { "\($0.requestLine.prefix(6)) \($0.values("content-length")) \($0.body.count)" }
    #expect(
      seen
        == [
          "POST / [\"1\"] 1", "GET / [] 0", "POST / [\"0\"] 0", "DELETE [\"2\"] 2", "DELETE [] 0", "POST / [\"3\"] 3",
        ].map { $0.replacingOccurrences(of: "GET /", with: "GET / ") })
    #expect(echo.server.connections == 1)
  }

  @Test(arguments: [16_383, 61_440, 61_441, 65_536, 200_000, 3_000_000])
  func bodiesOfEverySizeArriveWhole(_ size: Int) throws {
    let bench = try Bench()
    let echo = try Echo()
    let body = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
    let recorder = bench.run(echo.server.url + "/", body: body)
    #expect(recorder.ending == .completed)
    let request = try #require(echo.requests.first)
    #expect(request.body == body)
    #expect(request.values("expect") == [])
  }

  @Test func aFieldWithALineBreakIsNotSent() throws {
    let bench = try Bench()
    let echo = try Echo()
    for fields in [[("x", "a\r\nY: b")], [("x", "a\0b")], [("x y", "a")], [("", "a")], [("x:", "a")]] {
      let recorder = bench.run(echo.server.url + "/", fields: fields.map { (name: $0.0, value: $0.1) })
      #expect(recorder.failure?.kind == .local)
      #expect(recorder.failure?.requestMayHaveArrived == false)
    }
    #expect(echo.requests.isEmpty)
  }
}

@Suite struct Answers {
  private func answer(_ bytes: [UInt8], method: String = "POST") throws -> Recorder {
    let bench = try Bench()
    let server = try ScriptedServer { connection in
      _ = try connection.readRequest()
      try connection.send(bytes)
    }
    defer { server.stop() }
    return bench.run(server.url + "/", method: method)
  }

  @Test func fieldsKeepOrderCaseRepetitionAndBytes() throws {
    let recorder = try answer(
      Array("HTTP/1.1 207 Odd\r\nSet-Cookie: a=1\r\nX-B:  two  \r\nset-cookie: b=2\r\nX-Empty:\r\nX-L: ".utf8)
        + [0xE9, 0xFF] + Array("\r\nContent-Length: 3\r\n\r\nabc".utf8))
    #expect(recorder.ending == .completed)
    let head = try #require(recorder.head)
    #expect(head.status == 207)
    #expect(head.fields.pairs.map(\.name) == ["Set-Cookie", "X-B", "set-cookie", "X-Empty", "X-L", "Content-Length"])
    #expect((0..<4).map { head.fields.value(at: $0) } == ["a=1", "two", "b=2", ""])
    #expect(Array(head.fields.valueBytes(at: 4)) == [0xE9, 0xFF])
    #expect(recorder.text == "abc")
  }

  @Test func chunksAreUndoneAndTrailersDropped() throws {
    let recorder = try answer(
      Array(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n1\r\nd\r\n0\r\nX-Trailer: t\r\n\r\n".utf8)
    )
    #expect(recorder.ending == .completed)
    #expect(recorder.text == "abcd")
    #expect(recorder.head?.fields.contains("x-trailer") == false)
  }

  @Test func contentCodingsStay() throws {
    let recorder = try answer(
      Array("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n".utf8) + [0x1F, 0x8B, 0x08, 0x00])
    #expect(recorder.ending == .completed)
    #expect(recorder.body == [0x1F, 0x8B, 0x08, 0x00])
  }

  @Test func informationalAnswersAreSkipped() throws {
    let recorder = try answer(
      Array(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n\(ok)"
          .utf8))
    #expect(recorder.ending == .completed)
    #expect(recorder.head?.status == 200)
    #expect(recorder.head?.fields.pairs.map(\.name) == ["Content-Length"])
    #expect(recorder.text == "ok")
  }

  @Test(arguments: [204, 304]) func answersWithoutABody(_ status: Int) throws {
    let recorder = try answer(Array("HTTP/1.1 \(status) X\r\nETag: e\r\n\r\n".utf8))
    #expect(recorder.ending == .completed)
    #expect(recorder.head?.status == status)
    #expect(recorder.body.isEmpty)
  }

  @Test(arguments: [301, 302, 303, 307, 308]) func redirectsAreNotFollowed(_ status: Int) throws {
    let recorder = try answer(
      Array("HTTP/1.1 \(status) X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 1\r\n\r\nr".utf8))
    #expect(recorder.ending == .completed)
    #expect(recorder.head?.status == status)
    #expect(recorder.text == "r")
  }

  @Test(arguments: [400, 401, 403, 404, 417, 429, 500, 503, 529]) func errorsPassWithTheirBodies(_ status: Int) throws {
    let recorder = try answer(Array("HTTP/1.1 \(status) X\r\nRetry-After: 1\r\nContent-Length: 3\r\n\r\nerr".utf8))
    #expect(recorder.ending == .completed)
    #expect(recorder.head?.status == status)
    #expect(recorder.text == "err")
  }

  @Test func aBodyUntilTheConnectionCloses() throws {
    let recorder = try answer(Array("HTTP/1.0 200 OK\r\n\r\nuntil the end".utf8))
    #expect(recorder.ending == .completed)
    #expect(recorder.text == "until the end")
  }

  @Test func anAnswerBeforeTheBodyWasSentIsNotLost() throws {
    let bench = try Bench()
    let server = try ScriptedServer { connection in
      _ = try connection.read(atMost: 1024)
      try connection.send("HTTP/1.1 413 Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
      connection.waitForClose()
    }
    defer { server.stop() }
    let recorder = bench.run(server.url + "/", body: [UInt8](repeating: 0x61, count: 8 << 20))
    #expect(recorder.ending == .completed)
    #expect(recorder.head?.status == 413)
    #expect(recorder.text == "no")
  }

  @Test func aLargeBodyArrivesWhole() throws {
    let body = (0..<2_000_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    let recorder = try answer(Array("HTTP/1.1 200 OK\r\nContent-Length: \(body.count)\r\n\r\n".utf8) + body)
    #expect(recorder.ending == .completed)
    #expect(recorder.body == body)
  }
}
