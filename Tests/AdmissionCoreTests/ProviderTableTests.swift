// Providers, keys and models over changes of policy, and the routes to them.
import Testing

@testable import AdmissionCore

@Suite struct ProviderTableTests {
  private let start = Instant(nanoseconds: 0)

  private func table(_ providers: [ProviderPolicy]) -> ProviderTable {
    var table = ProviderTable()
    table.install(providers, dayEnd: .distantFuture, at: start)
    return table
  }

  private func ticket(_ model: String = "m", to providers: [ProviderID]) -> Ticket {
    Ticket(
      id: RequestID(high: 0, low: 1), tenant: "t", session: "s", priority: .low,
      candidates: providers.map { Candidate(provider: $0) }, model: model, keptBytes: 1, estimatedInput: 1)
  }

  @Test func aProviderKeepsItsPlaceOverAChangeOfPolicy() throws {
    var table = table([ProviderPolicy(id: "a"), ProviderPolicy(id: "b")])
    let b = try #require(table.index(of: "b"))
    table[b].capacity.permits.take(in: 0)
    table.install([ProviderPolicy(id: "c")], dayEnd: .distantFuture, at: start)
    #expect(table.index(of: "b") == nil && table[b].isRetired && table[b].policy.id == "b", "a lease may have it")
    #expect(table.index(of: "c")?.position == 0, "nothing runs at a: its place is free")
    table.install([ProviderPolicy(id: "b")], dayEnd: .distantFuture, at: start)
    #expect(table.index(of: "b") == b && table[b].capacity.permits.running == 1)
    #expect(table.inForce == [b])
  }

  @Test func clustersKeepTheirNumbers() {
    func provider(_ id: ProviderID, in cluster: ProviderID?) -> ProviderPolicy {
      var provider = ProviderPolicy(id: id)
      provider.cluster = cluster
      return provider
    }
    var table = table([provider("a", in: "x"), provider("b", in: "y"), provider("c", in: nil)])
    func cluster(_ id: ProviderID) -> Int? { table.index(of: id).map { table[$0].cluster.position } }
    #expect([cluster("a"), cluster("b"), cluster("c")] == [1, 2, 0])
    table.install([provider("d", in: "y")], dayEnd: .distantFuture, at: start)
    #expect(cluster("d") == 2)
  }

  @Test func routesNameProvidersModelsAndKeys() throws {
    var table = table([
      ProviderPolicy(
        id: "a", modelLimits: [ModelLimits(models: Glob("big*"), limits: Limits(concurrency: 1))],
        keys: [
          KeyPolicy(id: "all"), KeyPolicy(id: "small", models: [Glob("small*")]),
        ]),
      ProviderPolicy(id: "b", keys: [KeyPolicy(id: "other", models: [Glob("other")])]),
    ])
    let big = table.route(of: TicketBox(ticket("big-1", to: ["a", "nobody", "b"])))
    let known = try #require(big)
    let legs = table.routes[known.route].legs
    #expect(legs.map(\.candidate) == [0, 2])
    #expect(legs[0].model != nil && legs[0].keys.count == 1 && !legs[0].hasNoKey)
    #expect(legs[1].model == nil && legs[1].keys.isEmpty && legs[1].hasNoKey)
    #expect(table.keyless(known.route) == nil)
    let alike = table.route(of: TicketBox(ticket("big-2", to: ["a", "nobody", "b"])))
    #expect(alike?.route == known.route, "one route for both")
    let other = table.route(of: TicketBox(ticket("small-1", to: ["a"])))
    #expect(other != nil && other?.route != known.route)
    let served = table.route(of: TicketBox(ticket("big-1", to: ["b"])))
    let keyless = try #require(served)
    #expect(table.keyless(keyless.route) == "b")
    let none = table.route(of: TicketBox(ticket(to: ["nobody"])))
    #expect(none == nil)
    let nowhere = table.nowhere()
    #expect(table.routes[nowhere].legs.isEmpty)
    #expect(table.routes.leading(to: 1) == [known.route, keyless.route])
  }

  @Test func numbersCountForWhoeverHasTheQuota() throws {
    var table = table([
      ProviderPolicy(
        id: "shared", modelLimits: [ModelLimits(models: Glob("m"), limits: Limits(concurrency: 9))],
        keys: [KeyPolicy(id: "k")]),
      ProviderPolicy(id: "own", keys: [KeyPolicy(id: "k")], quota: .perKey),
    ])
    let shared = try #require(table.index(of: "shared"))
    let own = try #require(table.index(of: "own"))
    let model = try #require(table[shared].modelOrder.first)
    func placement(_ provider: ProviderIndex, _ model: ModelIndex?, _ key: KeyIndex?) -> Placement {
      Placement(leg: 0, provider: provider, model: model, key: key, units: .zero, estimate: .zero)
    }
    #expect(table.holder(of: placement(shared, nil, 0)) == .provider)
    #expect(table.holder(of: placement(shared, model, 0)) == .model(model))
    #expect(table.numbersHolder(of: placement(shared, model, 0)) == .model(model))
    table[shared].models[model].name = "m"
    #expect(table.numbersHolder(of: placement(shared, model, 0)) == .provider, "the policy has no entry for it")
    #expect(table.holder(of: placement(own, nil, 0)) == .key(0))
    table[own].keys[0].capacity.permits.take(in: 1)
    #expect(table.counted(at: .key(0), of: own) == 1 && table.counted(at: .provider, of: own) == 0)
  }
}
