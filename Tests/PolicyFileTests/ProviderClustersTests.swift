// Clusters over chains of routes, in any order of routes, and providers that stand alone.
import AdmissionCore
import Testing

@testable import PolicyFile

@Suite struct ProviderClustersTests {
  private func clusters(_ routes: [[String]]) -> [String] {
    ["a", "b", "c", "d", "e"].map { ProviderPolicy(id: ProviderID($0)) }
      .clustered(by: routes.map { Route(models: ["*"], to: $0) })
      .map { $0.cluster?.name ?? "-" }
  }

  @Test func aProviderAloneIsItsOwn() {
    #expect(clusters([]) == ["a", "b", "c", "d", "e"])
    #expect(clusters([["a"], ["c"]]) == ["a", "b", "c", "d", "e"])
  }

  @Test func routesPutProvidersTogetherAlsoOverOthers() {
    #expect(clusters([["a", "c"], ["d", "e"]]) == ["a", "b", "a", "d", "d"])
    #expect(clusters([["a", "c"], ["d", "e"], ["e", "c"]]) == ["a", "b", "a", "a", "a"])
    #expect(clusters([["e", "d"], ["d", "c"], ["c", "b"], ["b", "a"]]) == ["a", "a", "a", "a", "a"])
  }

  @Test func aNameThatNobodyHasIsPassedOver() {
    #expect(clusters([["x", "b", "c"]]) == ["a", "b", "b", "d", "e"])
  }
}
