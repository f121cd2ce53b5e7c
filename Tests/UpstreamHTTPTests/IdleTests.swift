// How long a provider may be silent within its answer: counted from its last byte, whatever it is, and not before the head.
import HTTPMessage
import Testing

@testable import UpstreamHTTP

@Suite struct IdleTests {
  /// A carrier whose answer has begun, or not.
  private final class Carrier: CallCarrier {
    var isAnswering = true
    override var headComplete: Bool { isAnswering }
  }

  private static let limit: UInt64 = 600_000_000_000

  private func call(_ bench: Bench, _ carrier: Carrier) -> CurlCall {
    let call = CurlCall(
      UpstreamRequest(
        provider: "p", method: "POST", url: "http://host/v1", fields: HeaderFields([]), body: [],
        timeouts: UpstreamTimeouts(connect: nil, firstByte: nil, idle: .seconds(600), total: nil)),
      events: Recorder(), upstream: bench.upstream, now: bench.upstream.now)
    call.carrier = carrier
    return call
  }

  @Test func silenceAtUnderAndOverTheLimit() throws {
    let bench = try Bench()
    let call = call(bench, Carrier())
    call.deliver(ResponseHead(status: 200, fields: HeaderFields([])))
    let last = bench.upstream.now
    #expect(call.nextDeadline == last + Self.limit)
    #expect(call.expired(at: last + Self.limit - 1) == nil)
    #expect(call.expired(at: last + Self.limit)?.kind == .idleTimedOut)
    #expect(call.expired(at: last + Self.limit + 1)?.kind == .idleTimedOut)
    call.carrier = nil
  }

  /// A provider that trickles, byte by byte and inside an event, is not silent.
  @Test func eachByteRenewsIt() throws {
    let bench = try Bench()
    let call = call(bench, Carrier())
    call.deliver(ResponseHead(status: 200, fields: HeaderFields([])))
    for byte in "data: {}".utf8 {
      let before = bench.upstream.now
      // A turn in which something was begun.
      bench.begin("http://127.0.0.1:1", events: Recorder()).cancel()
      bench.turn { bench.upstream.now > before }
      #expect(call.nextDeadline == before + Self.limit)
      call.deliver([byte][...])
      #expect(call.nextDeadline == bench.upstream.now + Self.limit)
      #expect(call.expired(at: before + Self.limit) == nil)
      #expect(call.expired(at: bench.upstream.now + Self.limit)?.kind == .idleTimedOut)
    }
    call.carrier = nil
  }

  @Test func beforeTheHeadItDoesNotCount() throws {
    let bench = try Bench()
    let carrier = Carrier()
    carrier.isAnswering = false
    let call = call(bench, carrier)
    #expect(call.nextDeadline == .max)
    #expect(call.expired(at: .max - 1) == nil)
    call.carrier = nil
  }

  /// A client that reads slowly makes the silence, not the provider.
  @Test func aPausedProviderIsNotSilent() throws {
    let bench = try Bench()
    let call = call(bench, Carrier())
    call.deliver(ResponseHead(status: 200, fields: HeaderFields([])))
    call.isPaused = true
    #expect(call.expired(at: bench.upstream.now + 2 * Self.limit) == nil)
    call.isPaused = false
    call.noteResumed(at: bench.upstream.now + Self.limit)
    #expect(call.expired(at: bench.upstream.now + 2 * Self.limit - 1) == nil)
    #expect(call.expired(at: bench.upstream.now + 2 * Self.limit)?.kind == .idleTimedOut)
    call.carrier = nil
  }
}
