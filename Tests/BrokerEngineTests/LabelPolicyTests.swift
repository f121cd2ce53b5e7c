// Labels of metrics: what the policy lists and what was really used, whatever clients invent.
import AdmissionCore
import PolicyFile
import Pricing
import Testing

@testable import BrokerEngine

@Suite struct LabelPolicyTests {
  private func labels(
    tenants: [String] = [], priced: [String] = ["gpt-*"], limited: [String] = [], routes: [String] = ["*"]
  ) -> LabelPolicy {
    var policy = Policy()
    policy.tenants = tenants.map { Tenant(id: $0) }
    var provider = Provider(id: "p", dialect: .openai, baseURL: "http://127.0.0.1:1/v1")
    provider.modelLimits = limited.map { ModelLimits(models: Glob($0), limits: Limits()) }
    policy.providers = [provider]
    policy.routes = [Route(models: routes.map { Glob($0) }, to: ["p"])]
    return LabelPolicy(
      policy: policy,
      prices: PriceList(version: "1", entries: priced.map { ModelPrice(models: Glob($0), rates: PriceRates()) }))
  }

  @Test func tenantsAreThoseOfThePolicy() {
    let some = labels(tenants: ["acme", "*"])
    #expect(some.tenant("acme") == "acme")
    for name in ["*", "invented", "default", ""] { #expect(some.tenant(name) == "other") }
    #expect(labels().tenant("default") == "default")
    #expect(labels().tenant("acme") == "other")
  }

  @Test func exactNamesAreLabelsBeforeTheyAreUsed() {
    var some = labels(priced: ["priced", "gpt-*"], limited: ["limited"], routes: ["routed", "r?"])
    for name in ["priced", "limited", "routed"] {
      #expect(some.model(name, tenant: "t", isPriced: false, wasUsed: false) == name)
    }
    for name in ["r?", "r1", "invented"] {
      #expect(some.model(name, tenant: "t", isPriced: false, wasUsed: true) == "other")
    }
    #expect(some.model("", tenant: "t", isPriced: false, wasUsed: true) == "none")
  }

  @Test func aPricedNameIsALabelFromItsFirstRealUse() {
    var some = labels()
    #expect(some.model("gpt-1", tenant: "default", isPriced: true, wasUsed: false) == "other")
    #expect(some.model("gpt-1", tenant: "default", isPriced: true, wasUsed: true) == "gpt-1")
    #expect(some.model("gpt-1", tenant: "default", isPriced: true, wasUsed: false) == "gpt-1")
    let long = "gpt-" + String(repeating: "x", count: 125)
    #expect(some.model(long, tenant: "default", isPriced: true, wasUsed: true) == "other")
    #expect(some.model(String(long.dropLast()), tenant: "default", isPriced: true, wasUsed: true) != "other")
  }

  @Test func atMostFiveHundredModelsAndTheListedOnesFirst() {
    var some = labels(priced: (0..<100).map { "exact-\($0)" } + ["gpt-*"])
    var seen: Set<String> = []
    for number in 0..<2_000 {
      seen.insert(some.model("gpt-\(number)", tenant: "default", isPriced: true, wasUsed: true))
    }
    #expect(seen.count == 401 && seen.contains("other"))
    for number in 0..<100 {
      #expect(some.model("exact-\(number)", tenant: "default", isPriced: true, wasUsed: true) == "exact-\(number)")
    }
    var many = labels(priced: (0..<600).map { "exact-\($0)" })
    #expect(many.model("exact-499", tenant: "default", isPriced: true, wasUsed: true) == "exact-499")
    #expect(many.model("exact-500", tenant: "default", isPriced: true, wasUsed: true) == "other")
  }

  @Test func oneTenantOfSeveralTakesAQuarterAtMost() {
    var some = labels(tenants: ["a", "b"])
    for number in 0..<1_000 { _ = some.model("gpt-a\(number)", tenant: "a", isPriced: true, wasUsed: true) }
    #expect(some.model("gpt-a124", tenant: "a", isPriced: true, wasUsed: true) == "gpt-a124")
    #expect(some.model("gpt-a125", tenant: "a", isPriced: true, wasUsed: true) == "other")
    #expect(some.model("gpt-b", tenant: "b", isPriced: true, wasUsed: true) == "gpt-b")
  }

  @Test func aNameWithWhatCannotBeSeenIsNoLabel() {
    var some = labels()
    for name in ["gpt-\u{1B}[2J", "gpt-\n", "gpt-\u{202E}x", "gpt-\u{0}", "gpt-\u{200B}", "gpt-\u{2028}"] {
      #expect(some.model(name, tenant: "default", isPriced: true, wasUsed: true) == "other")
    }
    #expect(some.model("gpt-\"ü\\ {}", tenant: "default", isPriced: true, wasUsed: true) == "gpt-\"ü\\ {}")
  }

  @Test func combinationsAreBoundedAndSumsStayWhole() {
    var rows = Tally<BrokerMetrics.TokenLabels, BrokerMetrics.TokenCounts>()
    var estimates = Tally<BrokerMetrics.EstimateLabels, BrokerMetrics.EstimateSums>()
    func use(_ model: Int, _ tenant: Int) {
      let wanted = BrokerMetrics.TokenLabels(provider: "p\(model % 50)", model: "m\(model)", tenant: "t\(tenant)")
      rows.count(LabelPolicy.bounded(wanted, among: rows), from: BrokerMetrics.TokenCounts()) { $0.input += 1 }
      let ratio = BrokerMetrics.EstimateLabels(provider: "p\(tenant % 50)", model: "m\(model)")
      estimates.count(LabelPolicy.bounded(ratio, among: estimates), from: BrokerMetrics.EstimateSums()) { $0.add(1, 1) }
    }
    for model in 0..<500 { for tenant in 0..<50 { use(model, tenant * 10 + model % 10) } }
    #expect(rows.rowCount <= 2 * LabelPolicy.mostRows + 50)
    #expect(rows.values.reduce(0) { $0 + $1.input } == 25_000)
    #expect(estimates.rowCount <= LabelPolicy.mostEstimates + 50)
    #expect(estimates.values.reduce(0) { $0 + $1.actual } == 25_000)
    // What has a row keeps it.
    let first = BrokerMetrics.TokenLabels(provider: "p0", model: "m0", tenant: "t0")
    #expect(LabelPolicy.bounded(first, among: rows) == first)
  }

  @Test func aStatusIsALabelWhereItIsKnown() {
    #expect([200, 429, 500, 529, 599].map { LabelPolicy.status($0) } == [200, 429, 500, 529, 599])
    #expect([0, 299, 477, 600, 999, -1].allSatisfy { LabelPolicy.status($0) == 0 })
    #expect(Set((0..<1000).map { LabelPolicy.status($0) }).count <= 80)
  }

  @Test func aNewPolicyKeepsWhatWasUsed() {
    var old = labels()
    _ = old.model("gpt-1", tenant: "default", isPriced: true, wasUsed: true)
    var new = labels(priced: ["gpt-2"])
    new.inheritLabels(from: old)
    #expect(new.model("gpt-1", tenant: "default", isPriced: false, wasUsed: false) == "gpt-1")
    #expect(new.model("gpt-2", tenant: "default", isPriced: false, wasUsed: false) == "gpt-2")
  }
}
