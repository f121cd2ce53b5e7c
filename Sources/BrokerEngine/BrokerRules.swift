// A policy prepared for the hot path: providers and tenants by name, routes, the classifier, the hashes of client keys.
import AdmissionCore
import HTTPMessage
import PolicyFile
import Pricing
import ProviderWire
import TextForms

/// The caller of a request, once it is known.
struct Caller {
  /// The tenant's name as metrics and the ledger know it.
  var name: String
  /// The client key that was shown, as the start of its hash.
  var key: ClientKeyID?
  /// The tenant's rules; nil where the policy has no tenants.
  var tenant: Tenant?
}

/// A class, since every request keeps a reference to the rules under which it came in.
final class BrokerRules {
  let policy: Policy
  let classifier: Classifier
  let secrets: KeySecrets
  let prices: PriceBook
  /// Who may call from a browser, and by which names.
  let sites: SiteRules
  /// The last authority that was found to be one of our names.
  private var lastAuthority: String?
  private let providers: [String: ProviderTarget]
  private let tenantsByKey: [[UInt8]: (tenant: Int, id: ClientKeyID)]
  private let tenantsByName: [String: Int]
  private let template: Tenant?
  private let someTenantHasKeys: Bool
  /// True where callers must identify themselves, by a client key or by a trusted platform's header. An unidentified
  /// caller could be a page in a browser on this machine.
  let callersAreKnown: Bool

  init(policy: Policy, secrets: KeySecrets, prices: PriceBook) {
    self.policy = policy
    self.secrets = secrets
    self.prices = prices
    classifier = Classifier(policy)
    sites = SiteRules(dataPortOf: policy)
    providers = Dictionary(policy.providers.map { ($0.id, ProviderTarget($0)) }) { first, _ in first }
    var byKey: [[UInt8]: (tenant: Int, id: ClientKeyID)] = [:]
    var byName: [String: Int] = [:]
    for (index, tenant) in policy.tenants.enumerated() {
      byName[tenant.id] = index
      for key in tenant.keys { byKey[key.bytes] = (index, ClientKeyID(BrokerRules.shortHash(key.bytes))) }
    }
    tenantsByKey = byKey
    tenantsByName = byName
    template = policy.tenants.first { $0.id == "*" }
    someTenantHasKeys = !byKey.isEmpty
    callersAreKnown = !policy.tenants.isEmpty && (!byKey.isEmpty || policy.trustTenantHeader)
  }

  func provider(_ id: String) -> ProviderTarget? { providers[id] }

  /// The secret of a key. Older rules may not have a newer policy's key: then the secret of the provider's first key.
  func secret(of provider: ProviderTarget, key: String) -> Secret? {
    if let secret = secrets.secret(provider: provider.policy.id, key: key) { return secret }
    return provider.policy.keys.lazy.compactMap { [secrets] in secrets.secret(provider: provider.policy.id, key: $0.id)
    }
    .first
  }

  /// The caller of a request, or nil where it must be refused with 401.
  /// - Parameter hash: SHA-256 of the given bytes. Since hashes are looked up, timing reveals nothing about the keys.
  func caller(head: RequestHead, target: RequestTarget, hash: ([UInt8]) -> [UInt8]) -> Caller? {
    guard !policy.tenants.isEmpty else { return Caller(name: "default", key: nil, tenant: nil) }
    var found: Caller?
    if someTenantHasKeys {
      guard let key = BrokerRules.clientKey(head, target: target), let known = tenantsByKey[hash(key)] else {
        return nil
      }
      let tenant = policy.tenants[known.tenant]
      found = Caller(name: tenant.id, key: known.id, tenant: tenant)
    }
    if policy.trustTenantHeader, let name = head.fields.first("x-tollgate-tenant"), !name.isEmpty {
      var caller = named(name)
      caller?.key = found?.key
      return caller
    }
    if let found { return found }
    return named("default") ?? (policy.tenants.count == 1 ? named(policy.tenants[0].id) : nil)
  }

  private func named(_ name: String) -> Caller? {
    if name != "*", let index = tenantsByName[name] {
      return Caller(name: name, key: nil, tenant: policy.tenants[index])
    }
    // A tenant's name from a header becomes a label and a log field, so only valid ids are accepted.
    guard let template, name.utf8.count <= 64, name != "*", name != Tenant.reservedID,
      name.utf8.allSatisfy(BrokerRules.isNameByte)
    else {
      return nil
    }
    return Caller(name: name, key: nil, tenant: template)
  }

  /// The first six bytes of a key's hash in hexadecimal.
  private static func shortHash(_ hash: [UInt8]) -> String { Hexadecimal.text(hash.prefix(6)) }

  private static func isNameByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."),
      UInt8(ascii: "@"), UInt8(ascii: ":"):
      true
    default: false
    }
  }

  /// The key that the client shows: a bearer token, one of the vendors' fields, or Gemini's query parameter.
  static func clientKey(_ head: RequestHead, target: RequestTarget) -> [UInt8]? {
    Credentials.clientSecret(head.fields, query: target.query ?? "").map { Array($0.utf8) }
  }

  /// The providers for a model in order of preference; empty where no route takes the model.
  func candidates(model: String?) -> [String] {
    guard let model else { return policy.providerWithoutModel.map { [$0.id] } ?? [] }
    return policy.routes.first { $0.models.contains { $0.matches(model) } }?.to ?? []
  }

  /// Why there is no provider for a model.
  func whyNoCandidate(model: String?) -> String {
    guard let model else { return "no provider is configured for this path" }
    guard policy.isBuiltIn else { return "no route takes the model '\(model)'" }
    let variables = Policy.builtInVariables(forModel: model).joined(separator: " or ")
    return "no provider for '\(model)'; set \(variables)"
  }

  /// Why a request that shows no client key must not be answered; nil where it may be.
  func objection(to head: RequestHead) -> SiteRules.Objection? {
    // Agents use one name and send neither field, so one comparison lets them through.
    if head.authority == lastAuthority, !head.fields.contains("origin"), !head.fields.contains("sec-fetch-site") {
      return nil
    }
    let objection = sites.objection(to: head)
    if objection == nil { lastAuthority = head.authority }
    return objection
  }

  /// The origin of the page that may read the answer; nil where the page may not, and where no page asks.
  func readableOrigin(_ head: RequestHead) -> String? {
    head.fields.first("origin").flatMap { sites.mayCall(origin: $0) ? $0 : nil }
  }

  /// True where a call must name its model: its tenant may use only some models, or models without a price are refused.
  func mustNameModel(_ caller: Caller) -> Bool {
    policy.unknownPrice == .reject || caller.tenant?.models.isEmpty == false
  }

  static func mayUse(_ model: String, _ caller: Caller) -> Bool {
    guard let tenant = caller.tenant, !tenant.models.isEmpty else { return true }
    return tenant.models.contains { $0.matches(model) }
  }
}
