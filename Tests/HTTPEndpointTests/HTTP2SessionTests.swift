// HTTP/2 connections without sockets, against a real client and against raw frames, floods and random ones among them.
import AdmissionCore
import CNghttp2
import HTTPMessage
import Testing

@testable import HTTPEndpoint

@Suite struct HTTP2SessionTests {
  private func bench(_ handler: RecordingHandler, limits: EndpointLimits = EndpointLimits()) -> SessionBench {
    SessionBench(handler, limits: limits, http2: true)
  }

  @Test func answersWithTheFieldsAndBodyOfTheHandler() {
    let handler = RecordingHandler()
    handler.onReady = {
      $0.respond(status: 201, fields: [("X-Mixed", "V"), ("connection", "close"), ("bad", "\n")], body: $0.body)
    }
    let client = HTTP2TestClient(bench(handler))
    let id = client.request("POST", "/v1?x", fields: [("x-a", "1"), ("X-B", "2")], body: Array("hello".utf8))
    client.exchangeBytes()
    let answer = client.answers[id]
    #expect(
      answer?.fields
        == [":status: 201", "x-mixed: V", "content-length: 5", "date: Sun, 06 Nov 1994 08:49:37 GMT"])
    #expect(answer?.body == Array("hello".utf8))
    #expect(answer?.isComplete == true)
    #expect(handler.log == ["began POST /v1?x", "ready 5", "ended completed"])
    let head = handler.exchanges[0].head
    #expect(head.authority == "host:1")
    #expect(head.version == .http2)
    #expect(head.fields.pairs.map { "\($0.name)=\($0.value)" } == ["x-a=1", "x-b=2"])
    #expect(client.bench.openExchanges == 0)
  }

  @Test func readsTheSameHoweverTheBytesAreSplit() {
    for step in [1, 2, 3, 10, 100] {
      let client = HTTP2TestClient(bench(.echo()))
      let body = (0..<5000).map { UInt8($0 & 255) }
      let first = client.request("POST", "/1", body: body)
      let second = client.request("GET", "/2")
      client.exchangeBytes(step: step)
      #expect(client.answers[first]?.body == body)
      #expect(client.answers[second]?.status == "200")
      #expect(client.bench.handler.endings == ["ended completed", "ended completed"])
    }
  }

  @Test func carriesLargeBodiesBothWays() {
    let client = HTTP2TestClient(bench(.echo()))
    let body = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    let known = client.request("POST", "/", fields: [("content-length", "\(body.count)")], body: body)
    let unknown = client.request("POST", "/", body: body)
    client.exchangeBytes()
    #expect(client.answers[known]?.body == body)
    #expect(client.answers[unknown]?.body == body)
  }

  @Test func streamsWithTrailers() {
    let handler = RecordingHandler()
    let client = HTTP2TestClient(bench(handler))
    let id = client.request("GET", "/")
    client.exchangeBytes()
    let exchange = handler.exchanges[0]
    exchange.respond(ResponseHead(status: 200))
    client.exchangeBytes()
    #expect(client.answers[id]?.status == "200")
    exchange.send(Array("one".utf8))
    client.exchangeBytes()
    #expect(client.answers[id]?.body == Array("one".utf8))
    exchange.send(Array("two".utf8))
    exchange.finish(trailers: HeaderFields([("X-Sum", "6")]))
    client.exchangeBytes()
    #expect(client.answers[id]?.body == Array("onetwo".utf8))
    #expect(client.answers[id]?.fields.last == "x-sum: 6")
    #expect(client.answers[id]?.closeCode == 0)
    #expect(handler.endings == ["ended completed"])
  }

  @Test(arguments: [("HEAD", 200), ("GET", 204), ("GET", 304)])
  func sendsNoBodyWhereNoneMayBe(method: String, status: Int) {
    let handler = RecordingHandler()
    handler.onReady = { $0.respond(status: status, fields: [], body: Array("body".utf8)) }
    let client = HTTP2TestClient(bench(handler))
    let id = client.request(method, "/")
    client.exchangeBytes()
    #expect(client.answers[id]?.body == [])
    #expect(client.answers[id]?.closeCode == 0)
    #expect(handler.endings == ["ended completed"])
  }

  @Test func sendsContinueUnlessTheHandlerAnswered() {
    let waiting = HTTP2TestClient(bench(.echo()))
    let id = waiting.request("POST", "/", fields: [("expect", "100-continue")], body: [], ends: false)
    waiting.exchangeBytes()
    #expect(waiting.answers[id]?.fields == [":status: 100"])
    waiting.sendMore(id, [1, 2], ends: true)
    waiting.exchangeBytes()
    #expect(waiting.answers[id]?.body == [1, 2])

    let handler = RecordingHandler()
    handler.onBegan = { $0.respond(status: 401, fields: [], body: []) }
    let refusing = HTTP2TestClient(bench(handler))
    let refused = refusing.request("POST", "/", fields: [("expect", "100-continue")], body: [], ends: false)
    refusing.exchangeBytes()
    #expect(refusing.answers[refused]?.status == "401")
  }

  @Test func anEarlyAnswerStopsTheBody() {
    let handler = RecordingHandler()
    handler.onBegan = { $0.respond(status: 413, fields: [], body: Array("no".utf8)) }
    let client = HTTP2TestClient(bench(handler))
    let id = client.request("POST", "/", body: [UInt8](repeating: 0, count: 100), ends: false)
    client.exchangeBytes()
    #expect(client.answers[id]?.body == Array("no".utf8))
    #expect(client.answers[id]?.closeCode == UInt32(NGHTTP2_NO_ERROR.rawValue))
    #expect(handler.log == ["began POST /", "ended completed"])
  }

  // MARK: Limits

  @Test func limitsHeads() {
    var limits = EndpointLimits()
    limits.headerFields = 2
    let client = HTTP2TestClient(bench(.echo(), limits: limits))
    let fits = client.request("GET", "/", fields: [("a", "1"), ("b", "2")])
    let many = client.request("GET", "/x", fields: [("a", "1"), ("b", "2"), ("c", "3")])
    client.exchangeBytes()
    #expect(client.answers[fits]?.status == "200")
    #expect(client.answers[many]?.status == "431")
    #expect(client.answers[many]?.fields.contains("x-target: /x") == true)
    #expect(client.bench.handler.log.filter { $0.hasPrefix("began") } == ["began GET /"])

    limits.headerBytes = 1000
    let bytes = HTTP2TestClient(bench(.echo(), limits: limits))
    let large = bytes.request("GET", "/", fields: [("a", String(repeating: "x", count: 1000))])
    bytes.exchangeBytes()
    #expect(bytes.answers[large]?.status == "431")
    #expect(bytes.settings[Int32(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE.rawValue)] == 1000)
    let huge = bytes.request("GET", "/", fields: [("a", String(repeating: "x", count: 5000))])
    bytes.exchangeBytes()
    #expect(bytes.answers[huge]?.status == nil)
    #expect(bytes.goAwayCode == UInt32(NGHTTP2_ENHANCE_YOUR_CALM.rawValue))
  }

  @Test func limitsBodies() {
    var limits = EndpointLimits()
    limits.bodyBytes = 5
    let handler = RecordingHandler.echo()
    let client = HTTP2TestClient(bench(handler, limits: limits))
    let fits = client.request("POST", "/", body: Array("hello".utf8))
    client.exchangeBytes()
    #expect(client.answers[fits]?.status == "200")
    let announced = client.request("POST", "/", fields: [("content-length", "6")], body: [], ends: false)
    client.exchangeBytes()
    #expect(client.answers[announced]?.status == "413")
    #expect(handler.endings.count == 1)
    let unannounced = client.request("POST", "/", body: Array("hello!".utf8), ends: false)
    client.exchangeBytes()
    #expect(client.answers[unannounced]?.status == "413")
    #expect(handler.log.suffix(3) == ["began POST /", "refused 413", "ended completed"])
    #expect(client.bench.openExchanges == 0)
    let next = client.request("GET", "/")
    client.exchangeBytes()
    #expect(client.answers[next]?.status == "200", "the connection goes on")
  }

  @Test func whoeverAnswersASpoiltRequestMayTakeItsTime() {
    var limits = EndpointLimits()
    limits.bodyBytes = 5
    let handler = RecordingHandler()
    handler.onRefused = { _, _ in }
    let client = HTTP2TestClient(bench(handler, limits: limits))
    let id = client.request("POST", "/", body: Array("hello!".utf8))
    client.exchangeBytes()
    client.bench.advance(seconds: 100)
    client.exchangeBytes()
    #expect(client.answers[id]?.status == nil)
    #expect(handler.log == ["began POST /", "refused 413"])
    handler.exchanges[0].respond(status: 413, fields: [], body: Array("late".utf8))
    client.exchangeBytes()
    #expect(client.answers[id]?.status == "413")
    #expect(handler.log.last == "ended completed" && client.bench.openExchanges == 0)
  }

  @Test(arguments: ["CONNECT", "TRACE"])
  func refusesMethods(method: String) {
    let client = HTTP2TestClient(bench(.echo()))
    let id = client.request(method, "/")
    client.exchangeBytes()
    #expect(client.bench.handler.log == [])
    #expect(client.answers[id]?.status == (method == "TRACE" ? "501" : nil))
  }

  @Test func refusesPathsThatNoPathMayBe() {
    let client = HTTP2TestClient(bench(.echo()))
    let id = client.request("GET", "/a#b")
    client.exchangeBytes()
    #expect(client.answers[id]?.status != "200")
    #expect(client.bench.handler.log == [])
  }

  @Test func aBodyThatIsNotAsLongAsItSaysIsReset() {
    let handler = RecordingHandler.echo()
    let client = HTTP2TestClient(bench(handler))
    let id = client.request("POST", "/", fields: [("content-length", "9")], body: Array("four".utf8))
    client.exchangeBytes()
    #expect(client.answers[id]?.status == nil)
    #expect(client.answers[id]?.closeCode == UInt32(NGHTTP2_PROTOCOL_ERROR.rawValue))
    #expect(handler.log == ["began POST /", "ended clientLeft"])
  }

  @Test func announcesItsLimits() {
    var limits = EndpointLimits()
    limits.streamsPerConnection = 7
    let client = HTTP2TestClient(bench(.echo(), limits: limits))
    client.exchangeBytes()
    #expect(client.settings[Int32(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS.rawValue)] == 7)
    #expect(client.settings[Int32(NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES.rawValue)] == 1)
  }

  // MARK: Answers that do not fit their length

  @Test func surplusIsDroppedAndAShortAnswerReset() {
    let handler = RecordingHandler()
    let client = HTTP2TestClient(bench(handler))
    let long = client.request("GET", "/")
    let short = client.request("GET", "/")
    client.exchangeBytes()
    for exchange in handler.exchanges {
      exchange.respond(ResponseHead(status: 200, fields: HeaderFields([("content-length", "3")])))
    }
    handler.exchanges[0].send(Array("abcdef".utf8))
    handler.exchanges[1].send(Array("ab".utf8))
    for exchange in handler.exchanges { exchange.finish(trailers: nil) }
    client.exchangeBytes()
    #expect(client.answers[long]?.body == Array("abc".utf8))
    #expect(client.answers[short]?.closeCode == UInt32(NGHTTP2_INTERNAL_ERROR.rawValue))
    #expect(handler.endings.sorted() == ["ended aborted", "ended completed"])
  }

  // MARK: Leaving

  @Test func aStreamThatIsResetIsReportedInEveryState() {
    for state in 0..<4 {
      let handler = RecordingHandler()
      let client = HTTP2TestClient(bench(handler))
      let id = client.request("POST", "/", body: [1], ends: state != 0)
      client.exchangeBytes()
      let exchange = handler.exchanges[0]
      if state >= 2 { exchange.respond(ResponseHead(status: 200)) }
      if state == 3 { exchange.send([1, 2, 3]) }
      client.exchangeBytes()
      client.reset(id)
      client.exchangeBytes()
      #expect(handler.endings == ["ended clientLeft"], "state \(state)")
      #expect(exchange.isClosed)
      exchange.respond(ResponseHead(status: 200))
      exchange.send([1])
      exchange.finish(trailers: nil)
      exchange.abort()
      client.exchangeBytes()
      #expect(handler.endings.count == 1)
      let next = client.request("GET", "/")
      client.exchangeBytes()
      handler.exchanges[1].respond(status: 200, fields: [], body: [])
      client.exchangeBytes()
      #expect(client.answers[next]?.status == "200", "the connection goes on")
    }
  }

  @Test func aConnectionThatIsLostEndsEveryExchangeOnce() {
    for byEnd in [true, false] {
      let handler = RecordingHandler()
      let client = HTTP2TestClient(bench(handler))
      for _ in 0..<3 { client.request("GET", "/") }
      client.exchangeBytes()
      handler.exchanges[0].respond(ResponseHead(status: 200))
      if byEnd { client.bench.session.receivedEnd() } else { client.bench.session.connectionLost(.clientLeft) }
      client.bench.session.connectionLost(.aborted)
      #expect(handler.endings == ["ended clientLeft", "ended clientLeft", "ended clientLeft"])
      #expect(client.bench.session.fate == .broken)
      #expect(client.bench.openExchanges == 0)
    }
  }

  @Test func abortResetsTheStream() {
    let handler = RecordingHandler()
    let client = HTTP2TestClient(bench(handler))
    let id = client.request("GET", "/")
    client.exchangeBytes()
    handler.exchanges[0].respond(ResponseHead(status: 200))
    handler.exchanges[0].send([1, 2, 3])
    client.exchangeBytes()
    handler.exchanges[0].abort()
    #expect(handler.endings == [])
    client.exchangeBytes()
    #expect(handler.endings == ["ended aborted"])
    #expect(client.answers[id]?.closeCode == UInt32(NGHTTP2_INTERNAL_ERROR.rawValue))
    #expect(client.answers[id]?.isComplete == false)
  }

  @Test func aHandlerMayCloseTheConnectionInsideItsCall() {
    let handler = RecordingHandler()
    let bench = bench(handler)
    handler.onBegan = { _ in bench.session.connectionLost(.aborted) }
    let client = HTTP2TestClient(bench)
    client.request("GET", "/1")
    client.request("GET", "/2")
    client.exchangeBytes()
    #expect(handler.log == ["began GET /1", "ended aborted"])
  }

  // MARK: Backpressure

  @Test func framesOnlyWhatTheWindowAllows() {
    let handler = RecordingHandler()
    var limits = EndpointLimits()
    limits.lowWater = 1000
    let client = HTTP2TestClient(bench(handler, limits: limits), window: 1000)
    let id = client.request("GET", "/")
    client.exchangeBytes()
    let exchange = handler.exchanges[0]
    exchange.respond(ResponseHead(status: 200))
    exchange.send([UInt8](repeating: 5, count: 3000))
    client.exchangeBytes()
    #expect(client.answers[id]?.body.count == 1000)
    #expect(exchange.pendingBytes == 2000)
    #expect(!handler.log.contains("drained"))
    client.take(id, 1000)
    client.exchangeBytes()
    #expect(exchange.pendingBytes == 1000)
    #expect(!handler.log.contains("drained"))
    client.take(id, 1000)
    client.exchangeBytes()
    #expect(exchange.pendingBytes == 0)
    #expect(handler.log.filter { $0 == "drained" }.count == 1)
  }

  @Test func framesNoMoreThanTheSocketTakes() {
    let handler = RecordingHandler()
    let bench = bench(handler)
    let client = HTTP2TestClient(bench)
    let id = client.request("GET", "/")
    client.exchangeBytes()
    let page = [UInt8](repeating: 5, count: 60_000)
    handler.exchanges[0].respond(ResponseHead(status: 200))
    handler.exchanges[0].send(page[...])
    client.exchangeBytes()
    handler.exchanges[0].send([UInt8](repeating: 6, count: 200_000))
    bench.session.produce()
    #expect(bench.output.pending < 64 * 1024 + 20_000)
    client.exchangeBytes()
    handler.exchanges[0].finish(trailers: nil)
    client.exchangeBytes()
    #expect(client.answers[id]?.body.count == 260_000)
  }

  // MARK: Floods

  /// Frames of one kind without end.
  @Test(arguments: ["ping", "settings", "priority", "empty data"])
  func floodsEndInGoAway(kind: String) {
    var limits = EndpointLimits()
    limits.controlFrameBurst = 50
    let handler = RecordingHandler()
    let bench = bench(handler, limits: limits)
    bench.feed(HTTP2TestClient.preface)
    bench.feed(HTTP2TestClient.frame(type: 1, flags: 4, stream: 1, HTTP2TestClient.getBlock))
    bench.flush()
    let frame =
      switch kind {
      case "ping": HTTP2TestClient.frame(type: 6, flags: 0, stream: 0, [0, 0, 0, 0, 0, 0, 0, 0])
      case "settings": HTTP2TestClient.frame(type: 4, flags: 0, stream: 0, [])
      case "priority": HTTP2TestClient.frame(type: 2, flags: 0, stream: 3, [0, 0, 0, 0, 16])
      default: HTTP2TestClient.frame(type: 0, flags: 0, stream: 1, [])
      }
    var sent = 0
    while bench.session.fate == .open, sent < 1000 {
      bench.feed(frame)
      sent += 1
    }
    #expect(sent == 50, "the settings of the preface are the first of 51")
    let answer = bench.flush()
    // GOAWAY (type 7), the last frame, with ENHANCE_YOUR_CALM (11).
    #expect(answer.suffix(17).dropFirst(3).first == 7)
    #expect(answer.last == 11)
    bench.session.connectionLost(.clientLeft)
    #expect(handler.endings == ["ended clientLeft"])
  }

  @Test func rapidResetEndsInGoAway() {
    var limits = EndpointLimits()
    limits.controlFrameBurst = 50
    let handler = RecordingHandler()
    let bench = bench(handler, limits: limits)
    bench.feed(HTTP2TestClient.preface)
    var id: UInt32 = 1
    while bench.session.fate == .open, id < 2000 {
      bench.feed(HTTP2TestClient.frame(type: 1, flags: 5, stream: id, HTTP2TestClient.getBlock))
      bench.feed(HTTP2TestClient.frame(type: 3, flags: 0, stream: id, [0, 0, 0, 8]))
      bench.flush()
      id += 2
    }
    #expect((id - 1) / 2 == 50)
    bench.session.connectionLost(.clientLeft)
    #expect(handler.log.filter { $0.hasPrefix("began") }.count == handler.endings.count)
  }

  @Test func continuationsWithoutEndAreCutOff() {
    let bench = bench(.echo())
    bench.feed(HTTP2TestClient.preface)
    bench.feed(HTTP2TestClient.frame(type: 1, flags: 1, stream: 1, HTTP2TestClient.getBlock))
    var sent = 0
    // A literal field without indexing, 4,000 bytes long.
    let field: [UInt8] = [0x00, 0x01, 0x61, 0x7F, 0xA1, 0x1E] + [UInt8](repeating: 0x62, count: 4000)
    while bench.session.fate == .open, sent < 1000 {
      bench.feed(HTTP2TestClient.frame(type: 9, flags: 0, stream: 1, field))
      sent += 1
    }
    #expect(sent < 100)
    #expect(bench.handler.log == [])
  }

  @Test func garbageIsCutOff() {
    let bench = bench(.echo())
    bench.feed(HTTP2TestClient.preface)
    bench.feed(HTTP2TestClient.frame(type: 0, flags: 0, stream: 0, [1]))
    bench.flush()
    #expect(bench.session.fate == .closing(lingers: true))
  }

  @Test(arguments: 0..<4)
  func nothingTrapsUnderRandomFrames(block: Int) {
    for number in 0..<200 {
      let seed = block * 200 + number
      var random = SeededRandom(seed: UInt64(seed))
      let bench = bench(.echo())
      bench.feed(HTTP2TestClient.preface)
      for _ in 0..<30 {
        var payload =
          Bool.random(using: &random)
          ? HTTP2TestClient.getBlock
          : (0..<Int.random(in: 0...20, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
        if Int.random(in: 0..<4, using: &random) == 0, let place = payload.indices.randomElement(using: &random) {
          payload[place] = UInt8.random(in: 0...255, using: &random)
        }
        bench.feed(
          HTTP2TestClient.frame(
            type: UInt8.random(in: 0...10, using: &random), flags: UInt8.random(in: 0...255, using: &random) & 0x2D,
            stream: UInt32.random(in: 0...7, using: &random), payload))
        bench.flush()
      }
      bench.session.connectionLost(.clientLeft)
      #expect(
        bench.handler.log.filter { $0.hasPrefix("began") }.count == bench.handler.endings.count, "seed \(seed)")
      #expect(bench.openExchanges == 0, "seed \(seed)")
    }
  }

  // MARK: Time

  @Test func timesOut() {
    let body = HTTP2TestClient(bench(.echo()))
    let id = body.request("POST", "/", body: [1], ends: false)
    body.exchangeBytes()
    body.bench.advance(seconds: 30)
    body.exchangeBytes()
    #expect(body.answers[id]?.status == nil)
    body.bench.advance(seconds: 1)
    body.exchangeBytes()
    #expect(body.answers[id]?.status == "408")
    #expect(body.bench.handler.endings == ["ended completed"])

    let idle = HTTP2TestClient(bench(.echo()))
    idle.exchangeBytes()
    idle.bench.advance(seconds: 75)
    #expect(idle.bench.session.fate == .open)
    idle.bench.advance(seconds: 1)
    idle.exchangeBytes()
    #expect(idle.goAwayCode == UInt32(NGHTTP2_NO_ERROR.rawValue))
    #expect(idle.bench.session.fate == .closing(lingers: true))

    let block = bench(.echo())
    block.feed(HTTP2TestClient.preface)
    block.feed(HTTP2TestClient.frame(type: 1, flags: 1, stream: 1, HTTP2TestClient.getBlock))
    block.advance(seconds: 10)
    #expect(block.session.fate == .open)
    block.advance(seconds: 1)
    #expect(block.session.fate == .closing(lingers: true))

    let handler = RecordingHandler()
    let slow = HTTP2TestClient(bench(handler), window: 10)
    let stalled = slow.request("GET", "/")
    slow.exchangeBytes()
    handler.exchanges[0].respond(ResponseHead(status: 200))
    handler.exchanges[0].send([UInt8](repeating: 0, count: 20))
    slow.exchangeBytes()
    slow.bench.advance(seconds: 120)
    slow.exchangeBytes()
    #expect(handler.endings == [])
    slow.bench.advance(seconds: 1)
    slow.exchangeBytes()
    #expect(handler.endings == ["ended clientLeft"])
    #expect(slow.answers[stalled]?.closeCode == UInt32(NGHTTP2_CANCEL.rawValue))
  }

  // MARK: Draining

  @Test func drainsPolitely() {
    let idle = HTTP2TestClient(bench(.echo()))
    idle.exchangeBytes()
    idle.bench.session.drain(closesIdle: true)
    idle.exchangeBytes()
    #expect(idle.goAwayCode == 0)
    #expect(idle.bench.session.fate == .closing(lingers: true))

    let handler = RecordingHandler()
    let busy = HTTP2TestClient(bench(handler))
    let id = busy.request("GET", "/")
    busy.exchangeBytes()
    busy.bench.session.drain(closesIdle: true)
    busy.exchangeBytes()
    #expect(busy.goAwayCode == 0)
    #expect(busy.bench.session.fate == .open)
    busy.bench.advance(seconds: 1)
    busy.exchangeBytes()
    #expect(busy.bench.session.fate == .open)
    handler.exchanges[0].respond(status: 200, fields: [], body: [1])
    busy.exchangeBytes()
    #expect(busy.answers[id]?.body == [1])
    #expect(busy.bench.session.fate == .closing(lingers: true))
  }
}
