// How much is looked at for each event where much waits: counted, not timed. 50 providers with 5 families each, 1,000 sessions of 500 tenants,
// 10,000 requests that wait, and every place taken.
import PolicyLab
import Testing

@testable import AdmissionCore

@Suite struct DecisionCountTests {
  /// The largest number of looks at one provider for one request, of any event, and the mean.
  private static func looks(
    _ shape: FullQueue.Shape, rounds: Int, looksEverywhere: Bool = false
  ) throws -> (most: UInt64, mean: Double) {
    var queue = FullQueue(shape)
    for _ in 0..<queue.fill { queue.send(queue.arrival()) }
    if looksEverywhere { queue.lookEverywhere() }
    let filled = queue.grants
    var most: UInt64 = 0
    let before = queue.core.placements
    for _ in 0..<rounds {
      let end = queue.end()
      for event in [try #require(end), queue.arrival()] {
        let known = queue.core.placements
        queue.send(event)
        most = max(most, queue.core.placements - known)
      }
    }
    #expect(queue.grants - filled >= rounds * 9 / 10, "an end lets another go")
    return (most, Double(queue.core.placements - before) / Double(2 * rounds))
  }

  /// A provider has five routes here. Those of the other models lack permits: the head that goes is tried, the one behind it, and now and
  /// then one whose band's credit covers it.
  @Test func anEventLooksAtItsOwnProviderAndModelOnly() throws {
    let looks = try Self.looks(FullQueue.Shape(), rounds: 2000)
    #expect(looks.most <= 8 && looks.mean <= 1.5, "\(looks)")
  }

  /// However many models of the provider have heads that wait for their permits.
  @Test(arguments: [2, 20, 64]) func headsOfOtherModelsAreLeftAlone(families: Int) throws {
    // As many tenants as sessions: a turn of one moves no other route's head.
    let shape = FullQueue.Shape(
      providers: 1, families: families, lanes: 4 * families, tenants: 4 * families, queued: 40 * families)
    let looks = try Self.looks(shape, rounds: 1000)
    #expect(looks.mean <= 2, "\(looks)")
  }

  /// The same where some route connects all providers. The credits of a class are the cluster's, so that now and then a grant lets the
  /// front of another provider have its floor turn, and who claimed there is tried again.
  /// With few tenants of many sessions a grant moves its tenant's heads on many routes, and each of these is tried once.
  @Test(arguments: [(500, 4.0), (10, 20), (1, 4)]) func aLargeClusterIsNotLookedAtAsAWhole(
    _ tenants: Int, _ most: Double
  ) throws {
    let looks = try Self.looks(FullQueue.Shape(tenants: tenants, reach: .cluster), rounds: 2000)
    #expect(looks.mean <= most, "\(looks)")
  }

  /// An event at the provider that takes all calls concerns all routes, others do not.
  @Test func aProviderThatAllShareCostsWhatItIsUsed() throws {
    let looks = try Self.looks(FullQueue.Shape(reach: .fallback), rounds: 1000)
    #expect(looks.mean <= 8, "\(looks)")
  }

  /// Five routes with fifty providers each: a few heads, each held against all of them.
  @Test func longRoutesAreLookedAtOncePerHead() throws {
    let looks = try Self.looks(FullQueue.Shape(reach: .everywhere), rounds: 300)
    #expect(looks.most <= 15 * 50 && looks.mean <= 150, "\(looks)")
  }

  /// What these counts are about: a core that looks everywhere looks at each provider for each event.
  @Test func lookingEverywhereIsSeen() throws {
    let looks = try Self.looks(FullQueue.Shape(), rounds: 20, looksEverywhere: true)
    #expect(looks.mean > 50, "\(looks)")
  }
}

extension FullQueue {
  fileprivate mutating func lookEverywhere() { change { $0.looksEverywhere = true } }
}
