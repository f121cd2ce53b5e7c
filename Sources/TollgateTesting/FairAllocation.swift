// The max-min fair allocation of one capacity to several demands: no demand can get more without taking from one that
// has less for its weight. It is found by filling: the level rises for all, and a demand that is satisfied drops out.

public enum FairAllocation {
  /// - Parameters:
  ///   - demands: how much each would take, 0 or more.
  ///   - weights: above 0, one for each demand.
  ///   - capacity: 0 or more.
  /// - Returns: how much each gets, in the order of `demands`; the sum is at most `capacity`.
  public static func maxMin(demands: [Double], weights: [Double], capacity: Double) -> [Double] {
    precondition(demands.count == weights.count && weights.allSatisfy { $0 > 0 } && demands.allSatisfy { $0 >= 0 })
    var given = [Double](repeating: 0, count: demands.count)
    var left = max(0, capacity)
    var wanting = demands.indices.filter { demands[$0] > 0 }
    // In the order in which the rising level satisfies them.
    wanting.sort { demands[$0] / weights[$0] < demands[$1] / weights[$1] }
    var weight = wanting.reduce(0) { $0 + weights[$1] }
    for index in wanting {
      let share = left * weights[index] / weight
      given[index] = min(demands[index], share)
      left -= given[index]
      weight -= weights[index]
    }
    return given
  }

  /// Two levels: `groups` share the capacity by weight, then the members of each group share its part equally.
  public static func maxMin(groups: [(weight: Double, demands: [Double])], capacity: Double) -> [[Double]] {
    let ofGroups = maxMin(
      demands: groups.map { $0.demands.reduce(0, +) }, weights: groups.map(\.weight), capacity: capacity)
    return zip(groups, ofGroups).map { group, given in
      maxMin(demands: group.demands, weights: group.demands.map { _ in 1 }, capacity: given)
    }
  }
}
