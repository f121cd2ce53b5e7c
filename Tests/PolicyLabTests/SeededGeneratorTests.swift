// The generator: ranges, chances, streams that do not depend on one another.
import AdmissionCore
import Testing

@testable import PolicyLab

@Suite struct SeededGeneratorTests {
  @Test func sameSeedSameNumbersOtherSeedOthers() {
    var one = SeededGenerator(seed: 7)
    var same = SeededGenerator(seed: 7)
    var other = SeededGenerator(seed: 8)
    let first = (0..<20).map { _ in one.next() }
    var part = SeededGenerator(seed: 7, part: 1)
    let again = (0..<20).map { _ in same.next() }
    let others = (0..<20).map { _ in other.next() }
    let parts = (0..<20).map { _ in part.next() }
    #expect(first == again)
    #expect(first != others && first != parts)
  }

  @Test func drawsStayInRangeAndReachBothEnds() {
    var generator = SeededGenerator(seed: 3)
    var counts = [Int](repeating: 0, count: 5)
    for _ in 0..<5000 { counts[generator.int(-2...2) + 2] += 1 }
    for count in counts { #expect((850...1150).contains(count)) }
    let only = generator.int(4...4)
    #expect(only == 4)
    for _ in 0..<100 {
      let span = generator.span(.milliseconds(1) ... .milliseconds(2))
      #expect(span >= .milliseconds(1) && span <= .milliseconds(2) && span.nanoseconds % 1000 == 0)
    }
  }

  @Test func chanceFollowsItsPercentage() {
    var generator = SeededGenerator(seed: 9)
    let never = (0..<1000).count { _ in generator.chance(0) }
    let always = (0..<1000).count { _ in generator.chance(100) }
    #expect(never == 0 && always == 1000)
    let hits = (0..<10_000).count { _ in generator.chance(20) }
    #expect((1800...2200).contains(hits))
  }

  @Test func traceHashDependsOnOrder() {
    var left = TraceHash()
    var right = TraceHash()
    left.mix(UInt64(1))
    left.mix(UInt64(2))
    right.mix(UInt64(2))
    right.mix(UInt64(1))
    #expect(left != right)
    var again = TraceHash()
    again.mix(UInt64(1))
    again.mix(UInt64(2))
    #expect(left == again)
  }
}
