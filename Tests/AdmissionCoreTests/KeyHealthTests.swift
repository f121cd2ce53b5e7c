// Cooling, disabling, re-probing, the operator's word.
import Testing

@testable import AdmissionCore

@Suite struct KeyHealthTests {
  let start = Instant(nanoseconds: 0)

  @Test func aRefusedKeyIsProbedAfterOneTwoFourToSixtyMinutes() {
    var key = KeyHealth()
    var now = start
    for minutes in [1, 2, 4, 8, 16, 32, 60, 60] as [Int64] {
      let news = key.refused(generation: key.pass(at: now), at: now)
      #expect(news)
      #expect(key.name == "disabled")
      #expect(key.unusableUntil(at: now) == now + .seconds(60 * minutes))
      now = now + .seconds(60 * minutes)
      #expect(key.unusableUntil(at: now) == nil)
    }
    let probe = key.pass(at: now)
    #expect(key.unusableUntil(at: now) == .distantFuture)
    let back = key.succeed(generation: probe)
    #expect(back)
    #expect(key.name == "usable")
    #expect(!key.isOut)
  }

  @Test func anUnpaidKeyRestsTenMinutes() {
    var key = KeyHealth()
    _ = key.unpaid(generation: key.pass(at: start), at: start)
    #expect(key.name == "cooling")
    #expect(key.isOut)
    #expect(key.unusableUntil(at: start) == start + .seconds(600))
  }

  @Test func aThrottledKeyCoolsAsTold() {
    var key = KeyHealth()
    _ = key.throttled(until: start + .seconds(3), generation: key.pass(at: start))
    #expect(key.name == "cooling")
    #expect(!key.isOut)
    #expect(key.hopeBegins(at: start) == start + .seconds(3))
    #expect(key.unusableUntil(at: start + .seconds(3)) == nil)
  }

  @Test func whatTheOperatorDisabledStaysSo() {
    var key = KeyHealth()
    let running = key.pass(at: start)
    key.disable()
    let back = key.succeed(generation: running)
    #expect(!back)
    #expect(key.unusableUntil(at: start + .seconds(1_000_000)) == .distantFuture)
    key.enable()
    #expect(key.unusableUntil(at: start) == nil)
  }
}
