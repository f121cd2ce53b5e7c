// What the broker asks a policy: tenants, routes, providers, model limits.
import AdmissionCore
import PolicyFile
import Testing

@Suite struct PolicyLookupTests {
  private var policy: Policy {
    var policy = Policy()
    policy.providers = ["a", "b"].map { Provider(id: $0, dialect: .openai, baseURL: "http://\($0)/v1") }
    policy.providers[0].modelLimits = [
      ModelLimits(models: "x-*", limits: Limits(concurrency: 1)),
      ModelLimits(models: "*", limits: Limits(concurrency: 2)),
    ]
    policy.routes = [Route(models: ["x-*", "y"], to: ["b", "a"]), Route(models: ["z*"], to: ["a"])]
    return policy
  }

  @Test func firstMatchingRouteWins() {
    #expect(policy.route(forModel: "x-1")?.to == ["b", "a"])
    #expect(policy.route(forModel: "y")?.to == ["b", "a"])
    #expect(policy.route(forModel: "z")?.to == ["a"])
    #expect(policy.route(forModel: "other") == nil)
    #expect(policy.providers(forModel: "x-1").map(\.id) == ["b", "a"])
    #expect(policy.providers(forModel: "other").isEmpty)
    #expect(policy.providerWithoutModel?.id == "a")
    #expect(Policy().providerWithoutModel == nil)
  }

  @Test func firstMatchingModelLimitsWin() throws {
    let provider = try #require(policy.provider(named: "a"))
    #expect(policy.modelLimits(of: provider, model: "x-1")?.limits.concurrency == 1)
    #expect(policy.modelLimits(of: provider, model: "y")?.limits.concurrency == 2)
    #expect(policy.provider(named: "c") == nil)
  }

  @Test func withoutTenantsThereIsDefaultOnly() {
    #expect(Policy().tenant(named: "default") == Tenant(id: "default"))
    #expect(Policy().tenant(named: "acme") == nil)
    #expect(Policy().tenantsByKey.isEmpty)
  }

  @Test func templateMakesTenantsThatAreNotListed() {
    var policy = Policy()
    var template = Tenant(id: "*")
    template.weight = 7
    policy.tenants = [template, Tenant(id: "acme")]
    #expect(policy.tenant(named: "acme")?.weight == 1)
    #expect(policy.tenant(named: "other")?.weight == 7)
    #expect(policy.tenant(named: "other")?.id == "other")
    #expect(policy.tenant(named: "*") == nil)
    #expect(policy.tenant(named: "") == nil)
    policy.tenants.removeFirst()
    #expect(policy.tenant(named: "other") == nil)
  }

  @Test func keysLeadToTheirTenant() {
    var policy = Policy()
    var acme = Tenant(id: "acme")
    acme.keys = [ClientKeyHash(bytes: [1]), ClientKeyHash(bytes: [2])]
    policy.tenants = [acme, Tenant(id: "other")]
    #expect(policy.tenantsByKey == [ClientKeyHash(bytes: [1]): "acme", ClientKeyHash(bytes: [2]): "acme"])
  }

  @Test func emptyModelListsAllowAll() {
    var tenant = Tenant(id: "a")
    #expect(tenant.allows(model: "anything"))
    tenant.models = ["gpt-*", "o3"]
    #expect(tenant.allows(model: "gpt-6") && tenant.allows(model: "o3") && !tenant.allows(model: "o3-mini"))
    var key = ProviderKey(id: "a", source: .text(Secret("x")))
    #expect(key.allows(model: "anything"))
    key.models = ["gpt-*"]
    #expect(key.allows(model: "gpt-6") && !key.allows(model: "o3"))
  }
}
