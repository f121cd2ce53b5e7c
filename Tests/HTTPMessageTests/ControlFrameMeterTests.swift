// The meter of control frames: a burst, then a rate.
import HTTPMessage
import Testing

@Suite struct ControlFrameMeterTests {
  @Test func whatAsksForNothingIsCounted() {
    // RFC 9113 section 6, and a type of nobody's: DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE,
    // CONTINUATION.
    let counted = (UInt8(0)...10).filter { ControlFrameMeter.counts(type: $0, length: 8, flags: 0) }
    #expect(counted == [2, 3, 4, 6])
    #expect(ControlFrameMeter.counts(type: 0, length: 0, flags: 0))
    #expect(ControlFrameMeter.counts(type: 0, length: 0, flags: 8), "padding is no content")
    #expect(!ControlFrameMeter.counts(type: 0, length: 0, flags: 1), "the end of a message")
    #expect(!ControlFrameMeter.counts(type: 0, length: 1, flags: 0))
  }

  @Test func allowsABurstAndThenARate() {
    var meter = ControlFrameMeter(burst: 3, perSecond: 2, now: 0)
    #expect((0..<4).map { _ in meter.admit(now: 0) } == [true, true, true, false])
    var later = ControlFrameMeter(burst: 3, perSecond: 2, now: 0)
    for _ in 0..<3 { _ = later.admit(now: 0) }
    #expect((0..<3).map { _ in later.admit(now: 1_000_000_000) } == [true, true, false])
    var rested = ControlFrameMeter(burst: 3, perSecond: 2, now: 0)
    #expect((0..<4).map { _ in rested.admit(now: 1_000_000_000_000) } == [true, true, true, false])
  }
}
