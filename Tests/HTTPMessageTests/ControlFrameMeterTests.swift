// The meter of control frames: a burst, then a rate.
import HTTPMessage
import Testing

@Suite struct ControlFrameMeterTests {
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
