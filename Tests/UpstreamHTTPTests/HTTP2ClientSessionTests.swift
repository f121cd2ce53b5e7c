// The client's side of HTTP/2 without a socket: frames written by hand go in, what the streams hear and what is sent come out.
import HTTPMessage
import Testing

@testable import UpstreamHTTP

@Suite struct HTTP2ClientSessionTests {
  /// What one stream heard.
  private final class Owner: HTTP2StreamOwner {
    private(set) var head: ResponseHead?
    private(set) var body: [UInt8] = []
    private(set) var ending: HTTP2StreamEnding?
    private(set) var timesSent = 0
    func streamSent() { timesSent += 1 }
    func streamResponded(_ head: ResponseHead) { self.head = head }
    func streamReceived(_ bytes: [UInt8]) { body.append(contentsOf: bytes) }
    func streamEnded(_ ending: HTTP2StreamEnding) { self.ending = ending }
  }

  private struct Frame {
    var type: UInt8
    var flags: UInt8
    var stream: UInt32
    var payload: [UInt8]
  }

  private final class Bench {
    var now: UInt64 = 1
    private(set) lazy var session = HTTP2ClientSession(maxHeaderBytes: 1000) { [unowned self] in now }
    private var sawPreface = false

    /// The provider's settings, with at most this many streams.
    func greet(streams: UInt32? = nil) {
      feed(4, 0, 0, streams.map { [0, 3] + Bench.word($0) } ?? [])
    }

    func request(_ owner: Owner, _ method: String = "POST", body: [UInt8] = [1, 2, 3]) throws -> Int32 {
      let request = UpstreamRequest(
        provider: "p", method: method, url: "https://host/v1", fields: HeaderFields([(name: "X-A", value: " b ")]),
        body: body, timeouts: UpstreamTimeouts(connect: nil, firstByte: nil, idle: nil, total: nil))
      let destination = try #require(try Destination(request.url))
      let fields = try #require(HTTP2RequestFields(request, destination))
      return try #require(session.begin(fields, body: body, owner: owner))
    }

    func feed(_ type: UInt8, _ flags: UInt8, _ stream: UInt32, _ payload: [UInt8]) {
      let length = UInt32(payload.count)
      feed(
        raw: [UInt8(length >> 16 & 255), UInt8(length >> 8 & 255), UInt8(length & 255), type, flags]
          + Bench.word(stream) + payload)
    }
    func feed(raw bytes: [UInt8]) { session.receive(bytes[...]) }

    /// What is sent, frame by frame.
    func sent() -> [Frame] {
      var bytes: [UInt8] = []
      session.produce(into: &bytes, limit: 1 << 20)
      if !sawPreface {
        sawPreface = true
        #expect(bytes.starts(with: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8))
        bytes.removeFirst(min(24, bytes.count))
      }
      var frames: [Frame] = []
      while bytes.count >= 9 {
        let length = Int(bytes[0]) << 16 | Int(bytes[1]) << 8 | Int(bytes[2])
        let stream = bytes[5..<9].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        frames.append(
          Frame(type: bytes[3], flags: bytes[4], stream: stream, payload: Array(bytes[9..<(9 + length)])))
        bytes.removeFirst(9 + length)
      }
      #expect(bytes.isEmpty)
      return frames
    }

    static func word(_ value: UInt32) -> [UInt8] {
      [UInt8(value >> 24), UInt8(value >> 16 & 255), UInt8(value >> 8 & 255), UInt8(value & 255)]
    }
  }

  private static let ok: [UInt8] = [0x88]
  private static func field(_ name: String, _ value: String) -> [UInt8] {
    [0, UInt8(name.utf8.count)] + Array(name.utf8) + [UInt8(value.utf8.count)] + Array(value.utf8)
  }
  private static func goAway(last: UInt32, code: UInt32 = 0) -> [UInt8] { Bench.word(last) + Bench.word(code) }

  /// A bench with requests on streams 1, 3, ...
  private func running(_ count: Int = 1, sent: Bool = true) throws -> (Bench, [Owner]) {
    let bench = Bench()
    bench.greet()
    let owners = (0..<count).map { _ in Owner() }
    for owner in owners { _ = try bench.request(owner) }
    if sent { _ = bench.sent() }
    return (bench, owners)
  }

  @Test func takesNothingBeforeTheProvidersSettings() {
    let bench = Bench()
    #expect(bench.session.room == 0)
    bench.greet()
    #expect(bench.session.room == HTTP2ClientSession.streamLimit)
    for (allowed, room) in [(UInt32(0), 0), (1, 1), (99, 99), (100, 100), (101, 100), (.max, 100)] {
      let other = Bench()
      other.greet(streams: allowed)
      #expect(other.session.room == room)
    }
  }

  @Test func sendsWhatTheRequestHolds() throws {
    let (bench, _) = try running(sent: false)
    let frames = bench.sent()
    let head = try #require(frames.first { $0.type == 1 })
    #expect(head.stream == 1 && head.flags == 4)
    let data = try #require(frames.first { $0.type == 0 })
    #expect(data.payload == [1, 2, 3] && data.flags == 1)
    let empty = Bench()
    empty.greet()
    _ = try empty.request(Owner(), "GET", body: [])
    #expect(empty.sent().first { $0.type == 1 }?.flags == 5)
  }

  @Test func anAnswerIsWholeWithItsEnd() throws {
    let (bench, owners) = try running()
    bench.feed(1, 4, 1, [0x48, 3] + Array("103".utf8) + Self.field("link", "x"))
    #expect(owners[0].head == nil)
    bench.feed(1, 4, 1, Self.ok + Self.field("a", "1"))
    #expect(owners[0].head?.status == 200)
    #expect(owners[0].head?.fields.pairs.map(\.name) == ["a"])
    bench.feed(0, 0, 1, [7])
    bench.feed(0, 0, 1, [])
    #expect(owners[0].ending == nil)
    bench.feed(1, 5, 1, Self.field("x-trailer", "y"))
    #expect(owners[0].ending == .whole)
    #expect(owners[0].body == [7])
    #expect(bench.session.openStreams == 0)
  }

  @Test func withoutItsEndItIsNot() throws {
    let (bench, owners) = try running(3)
    for id in [1, 3, 5] as [UInt32] {
      bench.feed(1, 4, id, Self.ok)
      bench.feed(0, 0, id, [7])
    }
    bench.feed(3, 0, 1, Bench.word(0))
    #expect(owners[0].ending == .reset(0))
    bench.feed(3, 0, 3, Bench.word(2))
    #expect(owners[1].ending == .reset(2))
    bench.session.connectionLost("gone")
    #expect(owners[2].ending == .lost("gone"))
  }

  @Test func lengthsThatLieBreakTheAnswer() throws {
    let (bench, owners) = try running(2)
    for id in [1, 3] as [UInt32] { bench.feed(1, 4, id, Self.ok + Self.field("content-length", "2")) }
    bench.feed(0, 1, 1, [1])
    bench.feed(0, 0, 3, [1, 2, 3])
    _ = bench.sent()
    #expect(owners[0].ending != nil && owners[0].ending != .whole)
    #expect(owners[1].ending != nil && owners[1].ending != .whole)
    #expect(!bench.session.isFinished)
  }

  @Test func whatWasNotProcessedIsToldApart() throws {
    let (bench, owners) = try running(4)
    bench.feed(3, 0, 1, Bench.word(7))
    #expect(owners[0].ending == .notProcessed)
    bench.feed(7, 0, 0, Self.goAway(last: 3))
    #expect(owners.map(\.ending) == [.notProcessed, nil, .notProcessed, .notProcessed])
    #expect(bench.session.isLeaving && bench.session.room == 0)
    bench.feed(1, 5, 3, Self.ok)
    #expect(owners[1].ending == .whole)
  }

  @Test func whatWasNeverSentIsNotProcessed() throws {
    let (bench, owners) = try running(2, sent: false)
    #expect(!bench.session.mayHaveArrived(1))
    bench.session.connectionLost("gone")
    #expect(owners.map(\.ending) == [.notProcessed, .notProcessed])
  }

  @Test func placesThatAreTakenAwayAreLeft() throws {
    let (bench, owners) = try running(3, sent: false)
    bench.greet(streams: 1)
    #expect(owners.map(\.ending) == [nil, .notProcessed, .notProcessed])
    #expect(bench.session.room == 0)
    #expect(bench.sent().filter { $0.type == 1 }.map(\.stream) == [1])
    bench.greet(streams: 0)
    #expect(owners[0].ending == nil, "what runs goes on")
    #expect(bench.session.allowedStreams == 0)
  }

  @Test(
    arguments: [
      [0, 0, 7, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7],  // PING of seven bytes
      [0, 0, 1, 0, 0, 0, 0, 0, 0, 1],  // DATA on stream 0
      [0, 0, 5, 4, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5],  // SETTINGS of five bytes
      [0, 0, 1, 1, 4, 0, 0, 0, 1, 0xFF],  // fields that cannot be unpacked
      Array("HTTP/1.1 200 OK\r\n\r\n".utf8),
    ] as [[UInt8]]) func aBrokenProtocolEndsTheConnectionAndNoAnswerIsWhole(bytes: [UInt8]) throws
  {
    let (bench, owners) = try running()
    bench.feed(1, 4, 1, Self.ok)
    bench.feed(0, 0, 1, [7])
    bench.feed(raw: bytes)
    _ = bench.sent()
    if owners[0].ending == nil {
      #expect(bench.session.isFinished)
      bench.session.connectionLost("broken")
    }
    #expect(owners[0].ending != nil && owners[0].ending != .whole)
  }

  @Test func aWindowOpensOnlyForWhatWasConsumed() throws {
    let (bench, owners) = try running()
    // Our settings hold once the provider has acknowledged them.
    bench.feed(4, 1, 0, [])
    bench.feed(1, 4, 1, Self.ok)
    let piece = [UInt8](repeating: 1, count: 16 << 10)
    let pieces = Int(HTTP2ClientSession.streamWindow) / piece.count
    for _ in 0..<pieces { bench.feed(0, 0, 1, piece) }
    #expect(owners[0].body.count == Int(HTTP2ClientSession.streamWindow))
    #expect(!bench.sent().contains { $0.type == 8 && $0.stream == 1 })
    bench.session.consumed(owners[0].body.count, of: 1)
    #expect(bench.sent().contains { $0.type == 8 && $0.stream == 1 })
    // One byte above the window breaks the stream.
    for _ in 0..<pieces { bench.feed(0, 0, 1, piece) }
    bench.feed(0, 0, 1, [1])
    _ = bench.sent()
    #expect(owners[0].ending == .reset(3) || bench.session.isFinished)
  }

  @Test func anEarlyAnswerEndsTheRequest() throws {
    let bench = Bench()
    bench.greet()
    let owner = Owner()
    // More than the provider's window takes.
    _ = try bench.request(owner, body: [UInt8](repeating: 1, count: 100_000))
    _ = bench.sent()
    bench.feed(1, 4, 1, [0x48, 3] + Array("413".utf8))
    bench.feed(0, 1, 1, [7])
    #expect(owner.ending == .whole && owner.head?.status == 413 && owner.body == [7])
    #expect(bench.sent().contains { $0.type == 3 && $0.stream == 1 })
    #expect(bench.session.room == HTTP2ClientSession.streamLimit)
  }

  @Test func headsAreBounded() throws {
    for (size, isFine) in [(900, true), (1100, false)] {
      let (bench, owners) = try running()
      var block = Self.ok
      for _ in 0..<size / 100 { block += Self.field("n", String(repeating: "v", count: 95)) }
      bench.feed(1, 5, 1, block)
      _ = bench.sent()
      #expect((owners[0].ending == .whole) == isFine)
      if !isFine { #expect(owners[0].ending == .malformed("the header lines are longer than 1000 bytes")) }
      #expect(!bench.session.isFinished, "the others go on")
    }
  }

  @Test func floodsEndTheConnection() throws {
    for (type, payload) in [(UInt8(6), [UInt8](repeating: 0, count: 8)), (4, []), (0, [])] {
      let (bench, _) = try running()
      bench.feed(1, 4, 1, Self.ok)
      for _ in 0..<9_000 { bench.feed(type, 0, type == 0 ? 1 : 0, payload) }
      _ = bench.sent()
      // Acknowledgements that nobody takes are nghttp2's to bound; ours is what comes at all.
      let survived = !bench.session.isFinished
      for _ in 0..<2_000 { bench.feed(type, 0, type == 0 ? 1 : 0, payload) }
      _ = bench.sent()
      #expect(bench.session.isFinished)
      if type == 0 { #expect(survived) }
    }
  }

  /// A server says after each read what it has room for, for the stream and for the connection.
  @Test func windowUpdatesInProportionToWhatIsSentAreNoFlood() throws {
    let bench = Bench()
    bench.greet()
    // Room for all that follows, at once.
    bench.feed(8, 0, 0, Bench.word(1 << 30))
    var updates = 0
    for number in 0..<400 {
      let owner = Owner()
      let id = UInt32(try bench.request(owner, body: [UInt8](repeating: 1, count: 60_000)))
      let frames = bench.sent().count { $0.type == 0 }
      #expect(frames == 4 && owner.timesSent == 1)
      for _ in 0..<2 * frames {
        bench.feed(8, 0, 0, Bench.word(100))
        bench.feed(8, 0, id, Bench.word(100))
      }
      updates += 4 * frames
      bench.feed(1, 5, id, Self.ok)
      #expect(owner.ending == .whole, "call \(number)")
    }
    #expect(updates == 6_400 && !bench.session.isFinished)
    // More of them than frames of any other kind may come at once, and none was counted.
    for _ in 0..<9_900 { bench.feed(6, 1, 0, [UInt8](repeating: 0, count: 8)) }
    #expect(!bench.session.isFinished)
  }

  /// Those that nothing was sent for are counted: 10,000 at once.
  @Test(arguments: [(10_000, false), (10_001, true)])
  func windowUpdatesForNothingAreAFlood(_ count: Int, _ isFlood: Bool) throws {
    let bench = Bench()
    bench.greet()
    // The settings are counted too.
    bench.now += 1_000_000_000
    for _ in 0..<count { bench.feed(8, 0, 0, Bench.word(1)) }
    _ = bench.sent()
    #expect(bench.session.isFinished == isFlood)
  }

  @Test(arguments: [0, 1, 60_000, 70_000]) func aRequestIsSentWithItsLastByte(_ size: Int) throws {
    let bench = Bench()
    bench.greet()
    let owner = Owner()
    _ = try bench.request(owner, body: [UInt8](repeating: 1, count: size))
    #expect(owner.timesSent == 0)
    _ = bench.sent()
    // The provider's window ends at 65,535 bytes.
    #expect(owner.timesSent == (size < 65_536 ? 1 : 0))
    bench.feed(8, 0, 0, Bench.word(10_000))
    bench.feed(8, 0, 1, Bench.word(10_000))
    _ = bench.sent()
    #expect(owner.timesSent == 1)
  }

  @Test func whoIsCancelledHearsNothingMore() throws {
    let (bench, owners) = try running(2)
    bench.feed(1, 4, 1, Self.ok)
    bench.session.cancel(1)
    let reset = bench.sent().first { $0.type == 3 }
    #expect(reset?.stream == 1 && reset?.payload == Bench.word(8))
    bench.feed(0, 1, 1, [7])
    #expect(owners[0].ending == nil && owners[0].body.isEmpty)
    bench.feed(1, 5, 3, Self.ok)
    #expect(owners[1].ending == .whole)
  }

  @Test func fieldsThatCannotBeSentAreRefused() throws {
    for (name, value) in [("a b", "x"), ("", "x"), ("a:", "x"), ("a", "x\ny"), ("a", "x\0")] {
      let request = UpstreamRequest(
        provider: "p", method: "POST", url: "https://host/v1", fields: HeaderFields([(name: name, value: value)]),
        body: [], timeouts: UpstreamTimeouts(connect: nil, firstByte: nil, idle: nil, total: nil))
      let destination = try #require(try Destination(request.url))
      #expect(HTTP2RequestFields(request, destination) == nil)
    }
  }
}
