// The manual clock and the timeline: time never goes back, equals keep their order.
import AdmissionCore
import Testing

@testable import PolicyLab

@Suite struct ManualClockTests {
  @Test func standsStillUntilMoved() {
    var clock = ManualClock(at: Instant(nanoseconds: 5))
    #expect(clock.now == Instant(nanoseconds: 5))
    clock.advance(by: .zero)
    #expect(clock.now == Instant(nanoseconds: 5))
    clock.advance(by: .milliseconds(2))
    #expect(clock.now == Instant(nanoseconds: 2_000_005))
  }

  @Test func neverGoesBack() {
    var clock = ManualClock(at: Instant(nanoseconds: 100))
    clock.advance(to: Instant(nanoseconds: 99))
    #expect(clock.now == Instant(nanoseconds: 100))
    clock.advance(to: Instant(nanoseconds: 101))
    #expect(clock.now == Instant(nanoseconds: 101))
  }

  @Test func timelineGivesEarliestFirstAndKeepsTheOrderOfEquals() {
    var timeline = Timeline<String>()
    timeline.schedule("late", at: Instant(nanoseconds: 30))
    timeline.schedule("first", at: Instant(nanoseconds: 10))
    timeline.schedule("second", at: Instant(nanoseconds: 10))
    #expect(timeline.nextDue == Instant(nanoseconds: 10))
    let popped16 = timeline.popDue(at: Instant(nanoseconds: 9))
    #expect(popped16 == nil)
    let popped17 = timeline.popDue(at: Instant(nanoseconds: 10))
    #expect(popped17 == "first")
    timeline.schedule("third", at: Instant(nanoseconds: 10))
    let popped18 = timeline.popDue(at: Instant(nanoseconds: 10))
    #expect(popped18 == "second")
    let popped19 = timeline.popDue(at: Instant(nanoseconds: 10))
    #expect(popped19 == "third")
    let popped20 = timeline.popDue(at: Instant(nanoseconds: 29))
    #expect(popped20 == nil)
    #expect(timeline.count == 1)
    let popped21 = timeline.popDue(at: .distantFuture)
    #expect(popped21 == "late")
    #expect(timeline.isEmpty && timeline.nextDue == nil)
  }

  @Test func timelineAgreesWithASort() {
    var generator = SeededGenerator(seed: 1)
    var timeline = Timeline<Int>()
    var expected: [(due: Int64, index: Int)] = []
    for index in 0..<500 {
      let due = generator.int64(0...50)
      timeline.schedule(index, at: Instant(nanoseconds: due))
      expected.append((due, index))
    }
    expected.sort { ($0.due, $0.index) < ($1.due, $1.index) }
    var popped: [Int] = []
    while let next = timeline.popDue(at: .distantFuture) { popped.append(next) }
    #expect(popped == expected.map(\.index))
  }
}
