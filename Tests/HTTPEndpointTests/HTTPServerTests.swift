// The server on real sockets: clients that leave, read slowly, are refused or are one too many, and both ways to stop.
import EventLoop
import Foundation
import HTTPMessage
import Testing

@testable import HTTPEndpoint

@Suite struct HTTPServerTests {
  private let get = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"

  @Test func servesManyRequestsOnOneConnection() throws {
    let bench = try ServerBench(.echo())
    let client = try TestClient(bench, port: bench.listen())
    for round in 0..<3 {
      client.send("POST /\(round) HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello")
      bench.turn { client.text.hasSuffix("hello") }
      #expect(client.text.hasPrefix("HTTP/1.1 200 OK\r\n"))
      client.forget()
    }
    bench.turn { bench.handler.endings.count == 3 }
    #expect(bench.server.connectionCount == 1)
    #expect(bench.server.openExchanges == 0)
    #expect(bench.handler.exchanges[0].peer.hasPrefix("127.0.0.1:"))
  }

  @Test func answersAThousandPipelinedRequestsInOrder() throws {
    let handler = RecordingHandler()
    handler.onReady = { $0.respond(status: 200, fields: [("x-target", $0.head.target)], body: []) }
    let bench = try ServerBench(handler)
    let client = try TestClient(bench, port: bench.listen())
    client.send((0..<1000).map { "GET /\($0) HTTP/1.1\r\nHost: h\r\n\r\n" }.joined())
    bench.turn { client.text.contains("x-target: /999\r\n") }
    let targets = client.text.components(of: "x-target: /").dropFirst().map { $0.prefix { $0.isNumber } }
    #expect(targets.map { Int($0) } == (0..<1000).map { $0 })
  }

  @Test func carriesLargeBodies() throws {
    let bench = try ServerBench(.echo())
    let client = try TestClient(bench, port: bench.listen())
    let body = (0..<5_000_000).map { UInt8(truncatingIfNeeded: $0 &* 13) }
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: \(body.count)\r\n\r\n")
    client.send(body)
    bench.turn { client.received.count > body.count }
    bench.turn { bench.handler.endings == ["ended completed"] }
    #expect(Array(client.received.suffix(body.count)) == body)
  }

  @Test func speaksHTTP2ToThoseWhoBeginWithItsPreface() throws {
    let bench = try ServerBench(.echo())
    let client = try TestClient(bench, port: bench.listen())
    for byte in HTTP2TestClient.preface {
      client.send([byte])
      bench.loop.turn(waiting: true)
    }
    client.send(
      HTTP2TestClient.frame(type: 1, flags: 4, stream: 1, [0x83] + HTTP2TestClient.getBlock.dropFirst())
        + HTTP2TestClient.frame(type: 0, flags: 1, stream: 1, Array("hello".utf8)))
    bench.turn { client.text.contains("hello") }
    bench.turn { bench.handler.endings == ["ended completed"] }
    #expect(bench.handler.exchanges[0].head.version == .http2)
  }

  @Test(arguments: [
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", true), ("PRI * HTTP/2", nil), ("P", nil), ("POST", false),
    ("PRI * HTTP/2.1", false),
  ])
  func tellsTheProtocolByTheFirstBytes(text: String, isHTTP2: Bool?) {
    #expect(Connection.sniff(Array(text.utf8)[...]) == isHTTP2)
  }

  // MARK: Clients that leave

  @Test(arguments: [false, true])
  func noticesAtOnceThatAWaitingClientLeft(resets: Bool) throws {
    let bench = try ServerBench(RecordingHandler())
    let client = try TestClient(bench, port: bench.listen())
    client.send(get)
    bench.turn { bench.handler.log.count == 2 }
    client.leave(resets: resets)
    bench.turn { bench.handler.endings == ["ended clientLeft"] }
    #expect(bench.server.connectionCount == 0)
    #expect(bench.server.openExchanges == 0)
  }

  @Test(arguments: [false, true])
  func noticesThatAClientLeftWhoseAnswerStreams(pausesReading: Bool) throws {
    let handler = RecordingHandler()
    handler.onReady = {
      $0.respond(ResponseHead(status: 200))
      $0.send(Array("first".utf8))
      if pausesReading { $0.send([UInt8](repeating: 0, count: 30_000_000)) }
    }
    let bench = try ServerBench(handler)
    let client = try TestClient(bench, port: bench.listen())
    client.send(get)
    bench.turn { client.text.contains("first") }
    if pausesReading { client.isReading = false }
    client.leave()
    bench.turn { handler.endings == ["ended clientLeft"] }
    #expect(bench.server.connectionCount == 0)
  }

  @Test func noticesThatAClientLeftWhoHadSentMoreThanIsRead() throws {
    var limits = EndpointLimits()
    limits.pipelinedBytes = 100
    let bench = try ServerBench(RecordingHandler(), limits: limits)
    let client = try TestClient(bench, port: bench.listen())
    client.send(get)
    bench.turn { bench.handler.log.count == 2 }
    client.send(String(repeating: "x", count: 1000))
    for _ in 0..<3 { bench.loop.turn(waiting: false) }
    client.leave(resets: true)
    bench.turn { !bench.handler.endings.isEmpty }
    #expect(bench.handler.endings == ["ended clientLeft"])
  }

  @Test func servesWhatAClientAskedForBeforeItShutItsSide() throws {
    let handler = RecordingHandler()
    let bench = try ServerBench(handler)
    let client = try TestClient(bench, port: bench.listen())
    client.send(get + get)
    client.shutDownSending()
    bench.turn { handler.log.count == 2 }
    for _ in 0..<3 { bench.loop.turn(waiting: false) }
    #expect(handler.endings == [])
    handler.exchanges[0].respond(status: 200, fields: [], body: [])
    bench.turn { handler.exchanges.count == 2 }
    handler.exchanges[1].respond(status: 200, fields: [], body: Array("last".utf8))
    bench.turn { client.isAtEnd }
    #expect(client.text.hasSuffix("last"))
    #expect(handler.endings == ["ended completed", "ended completed"])
  }

  @Test func noticesAResetAfterTheClientShutItsSide() throws {
    let handler = RecordingHandler()
    let bench = try ServerBench(handler)
    let client = try TestClient(bench, port: bench.listen())
    client.send(get + get)
    client.shutDownSending()
    bench.turn { handler.log.count == 2 }
    for _ in 0..<3 { bench.loop.turn(waiting: false) }
    handler.exchanges[0].respond(ResponseHead(status: 200))
    bench.turn { client.text.hasPrefix("HTTP/1.1 200") }
    client.leave(resets: true)
    bench.turn { handler.endings == ["ended clientLeft"] }
    #expect(bench.server.connectionCount == 0)
  }

  @Test func noticesAnHTTP2ClientThatLeft() throws {
    let bench = try ServerBench(RecordingHandler())
    let client = try TestClient(bench, port: bench.listen())
    client.send(
      HTTP2TestClient.preface + HTTP2TestClient.frame(type: 1, flags: 5, stream: 1, HTTP2TestClient.getBlock)
        + HTTP2TestClient.frame(type: 1, flags: 5, stream: 3, HTTP2TestClient.getBlock))
    bench.turn { bench.handler.log.count == 4 }
    client.leave()
    bench.turn { bench.handler.endings == ["ended clientLeft", "ended clientLeft"] }
    #expect(bench.server.openExchanges == 0)
  }

  // MARK: Slow readers

  @Test func waitsForASlowReader() throws {
    let handler = RecordingHandler()
    let page = [UInt8](repeating: 0x2E, count: 20_000_000)
    handler.onReady = {
      $0.respond(ResponseHead(status: 200, fields: HeaderFields([("content-length", "\(page.count + 3)")])))
      $0.send(page[...])
    }
    handler.onDrained = {
      $0.send(Array("end".utf8))
      $0.finish(trailers: nil)
    }
    let bench = try ServerBench(handler)
    let client = try TestClient(bench, port: bench.listen())
    client.isReading = false
    client.send(get)
    bench.turn { handler.log.count == 2 }
    for _ in 0..<20 { bench.loop.turn(waiting: false) }
    #expect(handler.exchanges[0].pendingBytes > 1_000_000)
    client.isReading = true
    bench.turn { client.text.hasSuffix("end") }
    bench.turn { handler.endings == ["ended completed"] }
    #expect(handler.log.filter { $0 == "drained" }.count == 1)
  }

  @Test func dropsAClientThatReadsNothing() throws {
    let handler = RecordingHandler()
    handler.onReady = { $0.respond(status: 200, fields: [], body: [UInt8](repeating: 0, count: 20_000_000)) }
    let bench = try ServerBench(handler)
    let client = try TestClient(bench, port: bench.listen())
    client.isReading = false
    client.send(get)
    bench.turn { handler.log.count == 2 }
    for _ in 0..<20 { bench.loop.turn(waiting: false) }
    bench.pass(seconds: 119)
    #expect(handler.endings == [])
    bench.pass(seconds: 122)
    #expect(handler.endings == ["ended clientLeft"])
    #expect(bench.server.connectionCount == 0)
  }

  // MARK: Refusals

  @Test func aRefusedClientReadsTheAnswerThoughItSendsOn() throws {
    var limits = EndpointLimits()
    limits.bodyBytes = 1000
    let bench = try ServerBench(.echo(), limits: limits)
    let client = try TestClient(bench, port: bench.listen())
    client.send("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n")
    client.send([UInt8](repeating: 0, count: 3_000_000))
    bench.turn { client.isAtEnd }
    #expect(client.text.hasPrefix("HTTP/1.1 413 "))
    #expect(client.text.hasSuffix("refused"))
    #expect(!client.wasReset)
    client.leave()
    bench.turn { bench.server.connectionCount == 0 }
  }

  @Test func aRefusedClientThatStaysIsClosedAfterAWhile() throws {
    let bench = try ServerBench(.echo())
    let client = try TestClient(bench, port: bench.listen())
    client.send("bad\r\n\r\n")
    bench.turn { client.isAtEnd }
    #expect(bench.server.connectionCount == 1)
    bench.pass(seconds: 6)
    #expect(bench.server.connectionCount == 0)
  }

  @Test func refusesConnectionsAboveTheLimit() throws {
    var limits = EndpointLimits()
    limits.maxConnections = 1
    let bench = try ServerBench(.echo(), limits: limits)
    var notices: [String] = []
    bench.server.onNotice = { notices.append($0) }
    let port = try bench.listen()
    let first = try TestClient(bench, port: port)
    bench.turn { bench.server.connectionCount == 1 }
    let second = try TestClient(bench, port: port)
    bench.turn { second.isAtEnd }
    #expect(second.text.hasPrefix("HTTP/1.1 503 Service Unavailable\r\n"))
    #expect(second.text.hasSuffix("refused"))
    #expect(notices.count == 1)
    first.leave()
    bench.turn { bench.server.connectionCount == 0 }
    let third = try TestClient(bench, port: port)
    third.send(get)
    bench.turn { third.text.hasPrefix("HTTP/1.1 200") }
  }

  @Test func theNewestTakesThePlaceOfTheStillest() throws {
    var limits = EndpointLimits()
    limits.maxConnections = 3
    limits.newestWins = true
    let handler = RecordingHandler()
    let bench = try ServerBench(handler, limits: limits)
    let port = try bench.listen()
    // One that waits for its answer, then two that are idle.
    let busy = try TestClient(bench, port: port)
    busy.send(get)
    bench.turn { handler.exchanges.count == 1 }
    let idle = try TestClient(bench, port: port)
    bench.turn { bench.server.connectionCount == 2 }
    let younger = try TestClient(bench, port: port)
    bench.turn { bench.server.connectionCount == 3 }
    let newest = try TestClient(bench, port: port)
    newest.send(get)
    bench.turn { handler.exchanges.count == 2 }
    #expect(bench.server.connectionCount == 3)
    bench.turn { idle.isAtEnd || younger.isAtEnd }
    #expect(!busy.isAtEnd)
    // Where all are busy, the stillest of them goes.
    let third = idle.isAtEnd ? younger : idle
    third.send(get)
    bench.turn { handler.exchanges.count == 3 }
    let last = try TestClient(bench, port: port)
    last.send(get)
    bench.turn { handler.exchanges.count == 4 }
    bench.turn { busy.isAtEnd || newest.isAtEnd || third.isAtEnd }
    #expect(bench.server.connectionCount == 3)
    #expect(handler.endings == ["ended aborted"])
    #expect(!last.isAtEnd)
  }

  @Test func anAbortedAnswerIsSeenAsIncomplete() throws {
    let handler = RecordingHandler()
    handler.onReady = {
      $0.respond(ResponseHead(status: 200))
      $0.send(Array("part".utf8))
    }
    let bench = try ServerBench(handler)
    let client = try TestClient(bench, port: bench.listen())
    client.send(get)
    bench.turn { client.text.contains("part") }
    handler.exchanges[0].abort()
    bench.turn { client.isAtEnd }
    #expect(client.text.hasSuffix("4\r\npart\r\n"))
    #expect(handler.endings == ["ended aborted"])
  }

  // MARK: Time

  @Test func closesSilentConnections() throws {
    let bench = try ServerBench(.echo())
    let port = try bench.listen()
    let silent = try TestClient(bench, port: port)
    let idle = try TestClient(bench, port: port)
    idle.send(get)
    bench.turn { idle.text.hasPrefix("HTTP/1.1 200") && bench.server.connectionCount == 2 }
    bench.pass(seconds: 74)
    #expect(bench.server.connectionCount == 2)
    bench.pass(seconds: 77)
    #expect(bench.server.connectionCount == 0)
    bench.turn { silent.isAtEnd && idle.isAtEnd }
  }

  @Test func closesConnectionsThatStopInsideThePreface() throws {
    let bench = try ServerBench(.echo())
    let client = try TestClient(bench, port: bench.listen())
    client.send("PRI * HT")
    bench.turn { bench.server.connectionCount == 1 }
    bench.loop.turn(waiting: false)
    bench.pass(seconds: 12)
    bench.turn { client.isAtEnd }
    #expect(bench.server.connectionCount == 0)
  }

  // MARK: Ends

  @Test func stopsAcceptingButAnswersWhatItHas() throws {
    let handler = RecordingHandler()
    let bench = try ServerBench(handler)
    let port = try bench.listen()
    let idle = try TestClient(bench, port: port)
    let busy = try TestClient(bench, port: port)
    busy.send(get)
    bench.turn { handler.log.count == 2 && bench.server.connectionCount == 2 }
    bench.server.stopAccepting()
    bench.turn { idle.isAtEnd }
    #expect(bench.server.connectionCount == 1)
    handler.exchanges[0].respond(status: 200, fields: [], body: Array("done".utf8))
    bench.turn { busy.isAtEnd }
    #expect(busy.text.contains("connection: close\r\n"))
    #expect(busy.text.hasSuffix("done"))
    #expect(bench.server.connectionCount == 0)
    #expect(throws: (any Error).self) { try TestClient(bench, port: port) }
  }

  @Test func closeEndsEverything() throws {
    let handler = RecordingHandler()
    let bench = try ServerBench(handler)
    let client = try TestClient(bench, port: bench.listen())
    client.send(get)
    bench.turn { handler.log.count == 2 }
    bench.server.close()
    #expect(handler.endings == ["ended aborted"])
    #expect(bench.server.connectionCount == 0)
    bench.turn { client.isAtEnd }
    bench.server.close()
    #expect(handler.endings.count == 1)
  }

  @Test(arguments: [false, true])
  func aHandlerMayCloseTheServerInsideItsCall(http2: Bool) throws {
    let handler = RecordingHandler()
    let bench = try ServerBench(handler)
    handler.onBegan = { [unowned bench] _ in bench.server.close() }
    let client = try TestClient(bench, port: bench.listen())
    client.send(
      http2
        ? HTTP2TestClient.preface + HTTP2TestClient.frame(type: 1, flags: 5, stream: 1, HTTP2TestClient.getBlock)
        : Array(get.utf8))
    bench.turn { client.isAtEnd }
    #expect(handler.log == ["began GET /\(http2 ? "" : "a")", "ended aborted"])
  }
}
