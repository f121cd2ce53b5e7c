// The max-min oracle: worked examples, two levels, and the definition on random demands.
import PolicyLab
import Testing

@testable import TollgateTesting

/// The oracle itself: worked by hand, then by the definition of max-min fairness.
@Suite struct FairAllocationTests {
  private func even(_ demands: [Double], _ capacity: Double) -> [Double] {
    FairAllocation.maxMin(demands: demands, weights: demands.map { _ in 1 }, capacity: capacity)
  }
  private func close(_ left: [Double], _ right: [Double]) -> Bool {
    left.count == right.count && zip(left, right).allSatisfy { abs($0 - $1) < 1e-9 }
  }

  @Test func workedExamples() {
    #expect(even([], 5) == [])
    #expect(even([3], 5) == [3])
    #expect(even([8], 5) == [5])
    #expect(even([0, 4], 5) == [0, 4])
    #expect(even([10, 10], 0) == [0, 0])
    #expect(close(even([1, 1, 1], 3), [1, 1, 1]))
    #expect(close(even([2, 8, 4, 5], 12), [2, 10.0 / 3, 10.0 / 3, 10.0 / 3]))
    #expect(close(even([1, 2, 6], 9), [1, 2, 6]))
    #expect(close(even([5, 1, 9], 12), [5, 1, 6]))
    #expect(close(FairAllocation.maxMin(demands: [10, 10], weights: [1, 3], capacity: 8), [2, 6]))
    #expect(close(FairAllocation.maxMin(demands: [10, 2], weights: [1, 3], capacity: 8), [6, 2]))
  }

  @Test func twoLevels() {
    let given = FairAllocation.maxMin(
      groups: [(1, [10]), (1, [10, 1, 10]), (2, [1])], capacity: 13)
    #expect(close(given[2], [1]))
    #expect(close(given[0], [6]))
    #expect(close(given[1], [2.5, 1, 2.5]))
  }

  /// Nobody gets more than he asks; nothing is left while somebody wants; whoever is left wanting has the highest share
  /// by weight.
  @Test func definitionHoldsForRandomDemands() {
    for seed in UInt64(0)..<500 {
      var generator = SeededGenerator(seed: seed)
      let count = generator.int(1...12)
      let demands = (0..<count).map { _ in Double(generator.int(0...100)) }
      let weights = (0..<count).map { _ in Double(generator.int(1...9)) }
      let capacity = Double(generator.int(0...600))
      let given = FairAllocation.maxMin(demands: demands, weights: weights, capacity: capacity)
      let total = given.reduce(0, +)
      #expect(abs(total - min(capacity, demands.reduce(0, +))) < 1e-6)
      for index in demands.indices {
        #expect(given[index] <= demands[index] + 1e-9 && given[index] >= 0)
        if given[index] < demands[index] - 1e-9 {
          for other in demands.indices {
            #expect(given[index] / weights[index] >= given[other] / weights[other] - 1e-9)
          }
        }
      }
    }
  }
}
