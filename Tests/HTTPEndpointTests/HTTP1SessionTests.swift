// HTTP/1.1 connections without sockets: every state with every event, split at every byte, on a clock that stands still.
import HTTPMessage
import Testing

@testable import HTTPEndpoint

@Suite struct HTTP1SessionTests {
  private let get = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"

  private func responses(_ text: String) -> Int { text.components(of: "HTTP/1.1 200").count - 1 }

  @Test func answersInOneRoundTrip() {
    let bench = SessionBench(.echo())
    bench.feed("POST /v1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello")
    #expect(bench.openExchanges == 1)
    #expect(
      bench.flushText()
        == "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\nhello")
    #expect(bench.handler.log == ["began POST /v1", "ready 5", "ended completed"])
    #expect(bench.openExchanges == 0)
    #expect(bench.session.fate == .open)
  }

  @Test func readsTheSameHoweverTheBytesAreSplit() {
    let text =
      "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
      + "POST /2 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\nT: t\r\n\r\n"
      + "\r\nGET /3 HTTP/1.1\r\nHost: h\r\n\r\n"
    let bytes = Array(text.utf8)
    let whole = SessionBench(.echo())
    whole.feed(bytes)
    let expected = whole.flushText()
    #expect(whole.handler.log.count == 9)
    for split in 0...bytes.count {
      let bench = SessionBench(.echo())
      bench.feed(Array(bytes[..<split]))
      var answer = bench.flushText()
      bench.feed(Array(bytes[split...]))
      answer += bench.flushText()
      #expect(answer == expected)
      #expect(bench.handler.log == whole.handler.log)
    }
    let drip = SessionBench(.echo())
    var answer = ""
    for byte in bytes {
      drip.feed([byte])
      answer += drip.flushText()
    }
    #expect(answer == expected)
  }

  @Test func pipelinedRequestsAreAnsweredInOrderOneAtATime() {
    let handler = RecordingHandler()
    let bench = SessionBench(handler)
    bench.feed("GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n")
    #expect(handler.log == ["began GET /1", "ready 0"])
    handler.exchanges[0].respond(status: 200, fields: [], body: [])
    bench.flush()
    #expect(handler.log == ["began GET /1", "ready 0", "ended completed", "began GET /2", "ready 0"])
  }

  @Test func pipelinedBytesAreBounded() {
    var limits = EndpointLimits()
    limits.pipelinedBytes = 100
    let bench = SessionBench(RecordingHandler(), limits: limits)
    bench.feed(get)
    bench.feed(String(repeating: "x", count: 99))
    #expect(bench.session.wantsInput)
    bench.feed("x")
    #expect(!bench.session.wantsInput)
    #expect(bench.session.fate == .open)
  }

  @Test func streamsInChunks() {
    let handler = RecordingHandler()
    let bench = SessionBench(handler)
    bench.feed("GET / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\n\r\n")
    let exchange = handler.exchanges[0]
    exchange.respond(ResponseHead(status: 200, fields: HeaderFields([("Content-Type", "text/event-stream")])))
    #expect(
      bench.flushText().hasSuffix(
        "Content-Type: text/event-stream\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\ntransfer-encoding: chunked\r\n\r\n"))
    exchange.send(Array("0123456789abcdef!".utf8))
    exchange.send([])
    #expect(bench.flushText() == "11\r\n0123456789abcdef!\r\n")
    exchange.finish(trailers: HeaderFields([("x-sum", "1")]))
    #expect(exchange.isClosed)
    #expect(handler.endings == [])
    #expect(bench.flushText() == "0\r\nx-sum: 1\r\n\r\n")
    #expect(handler.endings == ["ended completed"])
  }

  @Test func trailersNeedTheClientsConsent() {
    let handler = RecordingHandler()
    let bench = SessionBench(handler)
    bench.feed(get)
    handler.exchanges[0].respond(ResponseHead(status: 200))
    handler.exchanges[0].finish(trailers: HeaderFields([("x-sum", "1")]))
    #expect(bench.flushText().hasSuffix("\r\n\r\n0\r\n\r\n"))
  }

  @Test(arguments: [("HEAD", 200), ("GET", 204), ("GET", 304)])
  func sendsNoBodyWhereNoneMayBe(method: String, status: Int) {
    let handler = RecordingHandler()
    let bench = SessionBench(handler)
    bench.feed("\(method) / HTTP/1.1\r\nHost: h\r\n\r\n")
    handler.exchanges[0].respond(status: status, fields: [], body: Array("body".utf8))
    let answer = bench.flushText()
    #expect(answer.hasSuffix("\r\n\r\n"))
    #expect(!answer.contains("transfer-encoding"))
    #expect(answer.contains("content-length: 4") == (status != 204))
    #expect(handler.endings == ["ended completed"])
  }

  @Test func oldClientsGetWhatTheyUnderstand() {
    let handler = RecordingHandler()
    let bench = SessionBench(handler)
    bench.feed("GET / HTTP/1.0\r\n\r\n")
    handler.exchanges[0].respond(ResponseHead(status: 200))
    handler.exchanges[0].send(Array("all".utf8))
    handler.exchanges[0].finish(trailers: nil)
    let answer = bench.flushText()
    #expect(answer.hasSuffix("connection: close\r\n\r\nall"))
    #expect(!answer.contains("transfer-encoding"))
    #expect(bench.session.fate == .closing(lingers: false))

    let kept = SessionBench(.echo())
    kept.feed("POST / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx")
    #expect(kept.flushText().contains("connection: keep-alive\r\n"))
    #expect(kept.session.fate == .open)
  }

  @Test func anAbortedAnswerWithoutFramingResetsTheConnection() {
    let handler = RecordingHandler()
    let bench = SessionBench(handler)
    bench.feed("GET / HTTP/1.0\r\n\r\n")
    handler.exchanges[0].respond(ResponseHead(status: 200))
    handler.exchanges[0].abort()
    bench.flush()
    #expect(bench.session.fate == .reset)
  }

  @Test func closesWhenTheClientAsks() {
    let bench = SessionBench(.echo())
    bench.feed("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    #expect(bench.flushText().contains("connection: close\r\n"))
    #expect(bench.session.fate == .closing(lingers: false))
  }

  @Test func sendsContinueOnlyWhereItIsOfUse() {
    let expecting = "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    let waiting = SessionBench(.echo())
    waiting.feed(expecting)
    #expect(waiting.flushText() == "HTTP/1.1 100 Continue\r\n\r\n")
    waiting.feed("hi")
    #expect(waiting.flushText().hasPrefix("HTTP/1.1 200 OK"))

    let eager = SessionBench(.echo())
    eager.feed(expecting + "h")
    #expect(eager.flushText() == "")

    let refusing = RecordingHandler()
    refusing.onBegan = { $0.respond(status: 401, fields: [], body: []) }
    let refused = SessionBench(refusing)
    refused.feed(expecting)
    let answer = refused.flushText()
    #expect(answer.hasPrefix("HTTP/1.1 401 Unauthorized"))
    // The client may send the body or not: what comes next could be either.
    #expect(answer.contains("connection: close\r\n"))
    #expect(refused.session.fate == .closing(lingers: true))
    #expect(refusing.log == ["began POST /", "ended completed"])
  }

  @Test func anEarlyAnswerDrainsAShortBodyAndKeepsTheConnection() {
    let handler = RecordingHandler()
    handler.onBegan = { if $0.head.target == "/early" { $0.respond(status: 403, fields: [], body: []) } }
    handler.onReady = { $0.respond(status: 200, fields: [], body: []) }
    let bench = SessionBench(handler)
    bench.feed("POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n12345")
    let answer = bench.flushText()
    #expect(answer.hasPrefix("HTTP/1.1 403"))
    #expect(!answer.contains("connection: close"))
    #expect(handler.log == ["began POST /early", "ended completed"])
    bench.feed("67890" + get)
    #expect(bench.flushText().hasPrefix("HTTP/1.1 200"))
    #expect(handler.log.suffix(3) == ["began GET /a", "ready 0", "ended completed"])
  }

  @Test func anEarlyAnswerToALongBodyClosesAndLingers() {
    let handler = RecordingHandler()
    handler.onBegan = { $0.respond(status: 403, fields: [], body: []) }
    var limits = EndpointLimits()
    limits.drainedBytes = 100
    for (length, closes) in [(100, false), (101, true)] {
      let bench = SessionBench(handler, limits: limits)
      bench.feed("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: \(length)\r\n\r\n")
      #expect(bench.flushText().contains("connection: close") == closes)
      #expect(bench.session.fate == (closes ? .closing(lingers: true) : .open))
    }
  }

  @Test func answersWrongRequestsAndCloses() {
    let bench = SessionBench(.echo())
    bench.feed("GET /x HTTP/1.1\r\nHost: a\r\nbad\r\n\r\n" + get)
    let answer = bench.flushText()
    #expect(answer.hasPrefix("HTTP/1.1 400 Bad Request\r\nx-target: /x\r\n"))
    #expect(answer.hasSuffix("connection: close\r\n\r\nrefused"))
    #expect(bench.session.fate == .closing(lingers: true))
    #expect(bench.handler.log == [])
    bench.feed(get)
    #expect(bench.flushText() == "")
  }

  @Test func limitsBodies() {
    var limits = EndpointLimits()
    limits.bodyBytes = 5
    func answer(_ text: String) -> (String, [String]) {
      let bench = SessionBench(.echo(), limits: limits)
      bench.feed(text)
      return (bench.flushText(), bench.handler.log)
    }
    let length = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: "
    #expect(answer(length + "5\r\n\r\nhello").0.hasPrefix("HTTP/1.1 200"))
    #expect(answer(length + "6\r\n\r\n").0.hasPrefix("HTTP/1.1 413 Content Too Large"))
    #expect(answer(length + "6\r\n\r\n").1 == [])
    let chunked = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    #expect(answer(chunked + "2\r\nde\r\n0\r\n\r\n").0.hasPrefix("HTTP/1.1 200"))
    #expect(answer(chunked + "3\r\n").0.hasPrefix("HTTP/1.1 413"))
    #expect(answer(chunked + "3\r\n").1 == ["began POST /", "refused 413", "ended completed"])
  }

  @Test func whoeverAnswersASpoiltRequestMayTakeItsTime() {
    let handler = RecordingHandler()
    handler.onRefused = { _, _ in }
    let bench = SessionBench(handler)
    bench.feed("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\nGET /next HTTP/1.1\r\n\r\n")
    bench.feed("GET /more HTTP/1.1\r\nHost: h\r\n\r\n")
    bench.advance(seconds: 100)
    #expect(bench.flushText() == "" && bench.session.fate == .open)
    #expect(handler.log == ["began POST /", "refused 400"])
    #expect(handler.exchanges[0].body.isEmpty)
    handler.exchanges[0].respond(status: 400, fields: [], body: Array("late".utf8))
    let answer = bench.flushText()
    #expect(answer.hasPrefix("HTTP/1.1 400") && answer.hasSuffix("late"))
    #expect(answer.lowercased().contains("connection: close"))
    #expect(handler.log.last == "ended completed" && bench.session.fate == .closing(lingers: true))
    #expect(bench.openExchanges == 0)
  }

  @Test func limitsHeads() {
    var limits = EndpointLimits()
    limits.headerBytes = get.utf8.count
    let fits = SessionBench(.echo(), limits: limits)
    fits.feed(get)
    #expect(fits.flushText().hasPrefix("HTTP/1.1 200"))
    limits.headerBytes -= 1
    let large = SessionBench(.echo(), limits: limits)
    large.feed(get)
    #expect(large.flushText().hasPrefix("HTTP/1.1 431 Request Header Fields Too Large"))
  }

  /// A head without an end is refused when it passes the limit, not left unread until it times out.
  @Test func anEndlessHeadIsRefusedAtItsLimit() {
    let bench = SessionBench(.echo())
    let piece = String(repeating: "x", count: 16 << 10)
    bench.feed("GET /")
    for _ in 0..<4 {
      #expect(bench.session.wantsInput)
      bench.feed(piece)
    }
    #expect(bench.flushText().hasPrefix("HTTP/1.1 431"))
  }

  @Test(arguments: ["\u{16}\u{3}\u{1}", " GET / HTTP/1.1", "{\"a\":1}", "\0"])
  func whatIsNoRequestIsRefusedAtItsFirstByte(_ text: String) {
    let bench = SessionBench(.echo())
    bench.feed(text)
    #expect(bench.flushText().hasPrefix("HTTP/1.1 400"))
  }

  // MARK: Content-Length of answers

  @Test func anAnswerIsNeverLongerThanItSays() {
    let handler = RecordingHandler()
    let bench = SessionBench(handler)
    bench.feed(get)
    handler.exchanges[0].respond(ResponseHead(status: 200, fields: HeaderFields([("content-length", "3")])))
    handler.exchanges[0].send(Array("abcdef".utf8))
    handler.exchanges[0].finish(trailers: nil)
    #expect(bench.flushText().hasSuffix("\r\n\r\nabc"))
    #expect(handler.endings == ["ended completed"])
  }

  @Test func anAnswerThatIsTooShortBreaksTheConnection() {
    let handler = RecordingHandler()
    let bench = SessionBench(handler)
    bench.feed(get)
    handler.exchanges[0].respond(ResponseHead(status: 200, fields: HeaderFields([("content-length", "3")])))
    handler.exchanges[0].send(Array("ab".utf8))
    handler.exchanges[0].finish(trailers: nil)
    bench.flush()
    #expect(handler.endings == ["ended aborted"])
    #expect(bench.session.fate == .broken)
  }

  @Test func fieldsThatFrameAreOurs() {
    let handler = RecordingHandler()
    let bench = SessionBench(handler)
    bench.feed(get)
    handler.exchanges[0].respond(
      ResponseHead(
        status: 200,
        fields: HeaderFields([
          ("Transfer-Encoding", "gzip"), ("Connection", "x"), ("Keep-Alive", "y"), ("Date", "mine"),
          ("Bad", "a\r\nb: c"),
        ])))
    #expect(bench.flushText() == "HTTP/1.1 200 OK\r\nDate: mine\r\ntransfer-encoding: chunked\r\n\r\n")
  }

  // MARK: Leaving

  @Test func aClientThatLeavesIsReportedInEveryState() {
    // Before the body is complete, while the handler thinks, while the answer streams.
    for state in 0..<3 {
      for byEnd in [true, false] {
        let handler = RecordingHandler()
        let bench = SessionBench(handler)
        bench.feed(state == 0 ? "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nx" : get)
        if state == 2 {
          handler.exchanges[0].respond(ResponseHead(status: 200))
          bench.flush()
        }
        if byEnd { bench.session.receivedEnd() } else { bench.session.connectionLost(.clientLeft) }
        #expect(handler.endings == ["ended clientLeft"], "state \(state)")
        #expect(bench.session.fate == .broken)
        #expect(handler.exchanges[0].isClosed)
        #expect(bench.openExchanges == 0)
        // Whatever a handler does afterwards is of no effect.
        handler.exchanges[0].respond(ResponseHead(status: 200))
        handler.exchanges[0].send([1])
        handler.exchanges[0].finish(trailers: nil)
        handler.exchanges[0].abort()
        bench.session.connectionLost(.aborted)
        #expect(handler.endings.count == 1)
      }
    }
  }

  @Test func aFinishedAnswerIsStillSentToAClientThatShutItsSide() {
    let handler = RecordingHandler()
    let bench = SessionBench(handler)
    bench.feed(get)
    handler.exchanges[0].respond(status: 200, fields: [], body: Array("abc".utf8))
    bench.session.receivedEnd()
    #expect(bench.flushText().hasSuffix("abc"))
    #expect(handler.endings == ["ended completed"])
    #expect(bench.session.fate == .closing(lingers: false))
  }

  @Test func requestsThatCameBeforeTheEndAreServed() {
    let bench = SessionBench(.echo())
    bench.feed(get + get + "GET /half")
    bench.session.receivedEnd()
    #expect(responses(bench.flushText()) == 2)
    #expect(bench.session.fate == .closing(lingers: false))
  }

  @Test func anIdleClientThatLeavesIsClosed() {
    for text in ["", "GET / HT", get] {
      let bench = SessionBench(.echo())
      if !text.isEmpty { bench.feed(text) }
      bench.flush()
      bench.session.receivedEnd()
      #expect(bench.session.fate == .closing(lingers: false))
    }
  }

  @Test func anExchangeThatWasAbortedInsideItsCallEndsAfterIt() {
    let handler = RecordingHandler()
    handler.onBegan = {
      $0.abort()
      handler.log.append("returned")
    }
    let bench = SessionBench(handler)
    bench.feed(get)
    bench.flush()
    #expect(handler.log == ["began GET /a", "returned", "ended aborted"])
    #expect(bench.session.fate == .broken)
  }

  // MARK: Backpressure

  @Test func reportsDrainedBelowTheLowWaterMarkOnceItWasAbove() {
    let handler = RecordingHandler()
    var limits = EndpointLimits()
    limits.lowWater = 1000
    let bench = SessionBench(handler, limits: limits)
    bench.feed(get)
    let exchange = handler.exchanges[0]
    exchange.respond(ResponseHead(status: 200, fields: HeaderFields([("content-length", "5000")])))
    bench.flush()
    exchange.send([UInt8](repeating: 1, count: 1000))
    #expect(exchange.pendingBytes == 1000)
    bench.flush()
    #expect(!handler.log.contains("drained"))
    exchange.send([UInt8](repeating: 1, count: 1001))
    bench.flush(taking: 1)
    #expect(exchange.pendingBytes == 1000)
    #expect(!handler.log.contains("drained"))
    bench.flush(taking: 1)
    #expect(handler.log.filter { $0 == "drained" }.count == 1)
    bench.flush()
    #expect(handler.log.filter { $0 == "drained" }.count == 1)
  }

  // MARK: Time

  @Test func timesOut() {
    let limits = EndpointLimits()
    let slowHead = SessionBench(.echo(), limits: limits)
    slowHead.feed("GET / HT")
    slowHead.advance(seconds: 10)
    #expect(slowHead.session.fate == .open)
    slowHead.feed("T")
    slowHead.advance(seconds: 1)
    #expect(slowHead.flushText().hasPrefix("HTTP/1.1 408 Request Timeout"))

    let silentBody = SessionBench(.echo(), limits: limits)
    silentBody.feed("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n")
    silentBody.advance(seconds: 30)
    #expect(silentBody.session.fate == .open)
    silentBody.advance(seconds: 1)
    #expect(silentBody.flushText().hasPrefix("HTTP/1.1 408"))
    #expect(silentBody.handler.endings == ["ended completed"])

    let dripping = SessionBench(.echo(), limits: limits)
    dripping.feed("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9000\r\n\r\n")
    for _ in 0..<4 {
      dripping.advance(seconds: 10)
      dripping.feed("x")
    }
    #expect(dripping.flushText().hasPrefix("HTTP/1.1 408"))

    let idle = SessionBench(.echo(), limits: limits)
    idle.feed(get)
    idle.flush()
    idle.advance(seconds: 75)
    #expect(idle.session.fate == .open)
    idle.advance(seconds: 1)
    #expect(idle.session.fate == .closing(lingers: false))

    let thinking = SessionBench(RecordingHandler(), limits: limits)
    thinking.feed(get)
    thinking.advance(seconds: 100_000)
    #expect(thinking.session.fate == .open)
  }

  // MARK: Draining

  @Test func drainsPolitely() {
    let idle = SessionBench(.echo())
    idle.session.drain(closesIdle: true)
    #expect(idle.session.fate == .closing(lingers: false))

    let handler = RecordingHandler()
    let busy = SessionBench(handler)
    busy.feed(get)
    busy.session.drain(closesIdle: true)
    #expect(busy.session.fate == .open)
    handler.exchanges[0].respond(status: 200, fields: [], body: [])
    #expect(busy.flushText().contains("connection: close\r\n"))
    #expect(busy.session.fate == .closing(lingers: false))
  }

  // MARK: Direct reading

  @Test func largeBodiesAreReceivedInPlace() {
    let bench = SessionBench(.echo())
    let body = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    bench.feed("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: \(body.count)\r\n\r\n")
    bench.feed(Array(body[..<1000]))
    var at = 1000
    while bench.session.wantsDirectInput {
      bench.session.receiveDirectly { space in
        let count = min(space.freeCapacity, 77_777, body.count - at)
        for byte in body[at..<at + count] { space.append(byte) }
        at += count
      }
    }
    bench.feed(Array(body[at...]))
    #expect(bench.handler.exchanges[0].body == body)
    #expect(bench.handler.log.contains("ready 3000000"))
  }
}

extension String {
  func components(of separator: String) -> [Substring] {
    var parts: [Substring] = []
    var rest = self[...]
    while let range = rest.firstRange(of: separator) {
      parts.append(rest[..<range.lowerBound])
      rest = rest[range.upperBound...]
    }
    return parts + [rest]
  }
}
