// The list of models behind `GET /v1/models`: asked of every provider once in ten minutes, merged in the order of the policy, and cut to
// what the tenant may use. Providers that do not answer are left out; only when none answers does the client get an error.
import AdmissionCore
import HTTPMessage
import PolicyFile
import ProviderWire

final class ModelCatalog {
  private struct List {
    var ids: [String]
    var fetchedAt: UInt64
  }

  /// A client that waits for lists.
  private final class Waiter {
    let exchange: Exchange
    var missing: Set<String>
    init(_ exchange: Exchange, missing: Set<String>) {
      self.exchange = exchange
      self.missing = missing
    }
  }

  private unowned let broker: Broker
  private var lists: [String: List] = [:]
  private var fetches: [String: ModelFetch] = [:]
  private var waiters: [Waiter] = []
  private static let freshness: UInt64 = 600 * 1_000_000_000

  init(broker: Broker) { self.broker = broker }

  func forget() { lists = [:] }

  func answer(_ exchange: Exchange) {
    let now = broker.clock.monotonic()
    let providers = ModelCatalog.providers(of: exchange.rules)
    var missing: Set<String> = []
    for name in providers {
      if let list = lists[name], now &- list.fetchedAt < ModelCatalog.freshness { continue }
      missing.insert(name)
      fetch(name, for: exchange)
    }
    if missing.isEmpty { reply(exchange) } else { waiters.append(Waiter(exchange, missing: missing)) }
  }

  /// Every provider that a route leads to, in the order in which routes name them.
  private static func providers(of rules: BrokerRules) -> [String] {
    var seen: Set<String> = []
    return rules.policy.routes.flatMap(\.to).filter { seen.insert($0).inserted }
  }

  private func fetch(_ name: String, for exchange: Exchange) {
    guard fetches[name] == nil, let provider = exchange.rules.provider(name) else { return }
    var credential: (name: String, value: String)?
    if let key = provider.policy.keys.first,
      let secret = exchange.rules.secrets.secret(provider: name, key: key.id)
    {
      credential = provider.credential(secret.revealed)
    }
    let target: String
    switch provider.policy.dialect {
    case .openai: target = "/v1/models"
    case .anthropic: target = "/v1/models?limit=1000"
    case .gemini: target = "/v1beta/models?pageSize=1000"
    }
    var fields = HeaderFields([(name: "accept", value: "application/json")])
    if provider.policy.dialect == .anthropic { fields.append(name: "anthropic-version", value: "2023-06-01") }
    if let credential { fields.append(name: credential.name, value: credential.value) }
    if provider.policy.passThrough {
      fields = ForwardedFields.forProvider(
        exchange.head.fields, credential: nil, passThrough: true, identityOnly: true)
    }
    let fetch = ModelFetch { [weak self] ids in
      self?.fetched(name, ids, isShareable: !provider.policy.passThrough)
    }
    fetches[name] = fetch
    fetch.call = broker.upstream.begin(
      UpstreamRequest(
        provider: name, method: "GET", url: provider.url(for: target), fields: fields, body: [],
        timeouts: UpstreamTimeouts(
          connect: provider.policy.connectTimeout, firstByte: .seconds(10), idle: .seconds(10), total: .seconds(15))),
      events: fetch)
  }

  private func fetched(_ name: String, _ ids: [String]?, isShareable: Bool) {
    fetches[name] = nil
    if let ids { lists[name] = List(ids: ids, fetchedAt: broker.clock.monotonic()) }
    var ready: [Waiter] = []
    waiters.removeAll { waiter in
      waiter.missing.remove(name)
      if waiter.missing.isEmpty { ready.append(waiter) }
      return waiter.missing.isEmpty
    }
    for waiter in ready { reply(waiter.exchange) }
    // What a client's own credential may see is not for the next client.
    if !isShareable { lists[name] = nil }
  }

  private func reply(_ exchange: Exchange) {
    let rules = exchange.rules
    var entries: [ModelList.Entry] = []
    var someList = false
    for name in ModelCatalog.providers(of: rules) {
      guard let list = lists[name] else { continue }
      someList = true
      for id in list.ids where BrokerRules.mayUse(id, exchange.caller) && rules.candidates(model: id).contains(name) {
        entries.append(ModelList.Entry(id: id, owner: name))
      }
    }
    guard someList else {
      return exchange.reject(.failedUpstream, "No provider gave a list of its models.")
    }
    let isAnthropic = exchange.head.fields.contains("anthropic-version")
    let dialect = isAnthropic ? .anthropic : exchange.dialect
    exchange.complete(
      status: 200, fields: [(name: "content-type", value: "application/json")],
      body: ModelList.body(entries, dialect: dialect))
  }
}

/// One provider's list on its way.
final class ModelFetch: UpstreamEvents {
  private static let limit = 4 << 20
  private var status = 0
  private var body: [UInt8] = []
  private let done: ([String]?) -> Void
  var call: (any UpstreamCall)?

  init(done: @escaping ([String]?) -> Void) { self.done = done }

  func upstreamResponded(_ head: ResponseHead) { status = head.status }

  func upstreamReceived(_ bytes: ArraySlice<UInt8>) {
    if body.count + bytes.count <= ModelFetch.limit { body.append(contentsOf: bytes) }
  }

  func upstreamEnded(_ ending: UpstreamEnding) {
    call = nil
    done(ending == .completed && status == 200 ? ModelList.ids(in: body) : nil)
  }
}
