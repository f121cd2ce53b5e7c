// Closed until told, one probe first, old words void.
import Testing

@testable import AdmissionCore

@Suite struct ProbeGateTests {
  let now = Instant(nanoseconds: 0)

  @Test func oneProbeGoesFirstAndItsSuccessOpens() {
    var gate = ProbeGate()
    let early = gate.pass(at: now)
    let first = gate.close(until: now + .seconds(1), generation: early)
    #expect(first)
    let again = gate.close(until: now + .seconds(2), generation: early)
    #expect(!again)
    #expect(gate.blockedUntil(at: now) == now + .seconds(2))
    let later = now + .seconds(2)
    #expect(gate.blockedUntil(at: later) == nil)
    let probe = gate.pass(at: later)
    #expect(gate.blockedUntil(at: later) == .distantFuture)
    let old = gate.succeed(generation: early)
    #expect(!old)
    let opened = gate.succeed(generation: probe)
    #expect(opened)
    #expect(gate.state == .passing)
    let late = gate.close(until: later + .seconds(9), generation: early)
    #expect(!late)
    #expect(gate.blockedUntil(at: later) == nil)
  }

  @Test func aProbeThatTellsNothingMakesRoomForAnother() {
    var gate = ProbeGate()
    _ = gate.close(until: now, generation: gate.generation)
    let probe = gate.pass(at: now)
    gate.yield(generation: probe &- 1, at: now)
    #expect(gate.blockedUntil(at: now) == .distantFuture)
    gate.yield(generation: probe, at: now)
    #expect(gate.blockedUntil(at: now) == nil)
  }

  @Test func closingsCountUntilASuccess() {
    var gate = ProbeGate()
    for count in 1...3 {
      _ = gate.close(until: now, generation: gate.pass(at: now))
      #expect(gate.closings == count)
    }
    _ = gate.succeed(generation: gate.pass(at: now))
    #expect(gate.closings == 0)
  }
}
