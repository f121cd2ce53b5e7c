// Counts by labels, whatever was counted before.
import Testing

@testable import BrokerEngine

@Suite struct TallyTests {
  /// Any order of counting gives what a dictionary gives.
  @Test func theOrderOfCountingDoesNotMatter() {
    var tally = Tally<String, Int>()
    var expected: [String: Int] = [:]
    #expect(tally["a"] == nil)
    for (index, name) in ["a", "a", "b", "a", "c", "c", "b", "b", "a"].enumerated() {
      tally.count(name, from: 100) { $0 += index }
      expected[name, default: 100] += index
      #expect(tally[name] == expected[name])
    }
    #expect(Dictionary(uniqueKeysWithValues: tally.map { ($0.key, $0.value) }) == expected)
    #expect(tally.map(\.key) == ["a", "b", "c"])
    #expect(tally.values == ["a", "b", "c"].map { expected[$0] })
    #expect(tally["d"] == nil)
  }

  @Test func eachCallCountsOne() {
    var tally = Tally<Int, Int>()
    for number in [1, 2, 2, 1, 2] { tally.add(number) }
    #expect(tally[1] == 2)
    #expect(tally[2] == 3)
  }
}
