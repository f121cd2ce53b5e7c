// The list of models behind `GET /v1/models`: fetched from every provider at most once in ten minutes, merged in the
// order of the policy, and cut to the models that the tenant may use.
//
// Promises: a client waits for at most two seconds, and then gets what is there; a provider that gave no list is not
// asked again for a minute, and its earlier list stays; the client gets an error only where no provider has ever given
// a list. Where clients' own credentials are passed on, each credential has its own request and its own list, so that
// no client sees what only another may see.
import AdmissionCore
import EventLoop
import HTTPMessage
import PolicyFile
import ProviderWire

final class ModelCatalog {
  /// Identifies a list: by the provider, and by the client's credential where it is passed on.
  private struct ListKey: Hashable {
    var provider: String
    /// A hash of the client's credential; nil where a key of the policy is used.
    var credential: [UInt8]?
    /// Grows with each new policy: lists from before it are not used after it.
    var generation: Int
  }

  private struct List {
    /// The models; nil where no list has come yet.
    var ids: [String]?
    var fetchedAt: UInt64 = 0
    /// When the last fetch failed; nil where it succeeded.
    var failedAt: UInt64?
    var usedAt: UInt64 = 0
  }

  /// A client that waits for lists.
  private final class Waiter {
    let exchange: Exchange
    let keys: [ListKey]
    var missing: Set<ListKey>
    let deadline: UInt64
    init(_ exchange: Exchange, keys: [ListKey], missing: Set<ListKey>, deadline: UInt64) {
      self.exchange = exchange
      self.keys = keys
      self.missing = missing
      self.deadline = deadline
    }
  }

  private let services: EngineServices
  private let hash: ([UInt8]) -> [UInt8]
  private var lists: [ListKey: List] = [:]
  private var fetches: [ListKey: ModelFetch] = [:]
  private var waiters: [Waiter] = []
  private var generation = 0
  private lazy var timer = services.turnEnd.map { LoopTimer($0.loop) { [unowned self] in deadlineReached() } }

  private static let freshness: UInt64 = 600 * 1_000_000_000
  private static let failureRest: UInt64 = 60 * 1_000_000_000
  private static let patience: UInt64 = 2 * 1_000_000_000
  /// The most lists of clients' own credentials that are kept, and the most fetches with such credentials at the same
  /// time.
  static let mostPrivateLists = 64
  static let mostFetches = 256

  /// - Parameter hash: SHA-256, for clients' own credentials.
  init(_ services: EngineServices, hash: @escaping ([UInt8]) -> [UInt8]) {
    self.services = services
    self.hash = hash
  }

  /// Forgets all lists, since a new policy is in force.
  func forget() {
    lists = [:]
    generation += 1
  }

  /// Forgets failures, since new secrets may be accepted where old ones were refused.
  func forgetFailures() {
    for key in lists.keys { lists[key]?.failedAt = nil }
  }

  /// When the client that has waited longest is answered, whatever is missing, in monotonic nanoseconds; nil where none
  /// waits.
  var nextDeadline: UInt64? { waiters.first?.deadline }

  /// Answers the clients whose time is up.
  func deadlineReached() {
    let now = services.time.now
    var due: [Waiter] = []
    while let first = waiters.first, first.deadline <= now { due.append(waiters.removeFirst()) }
    for waiter in due { reply(waiter) }
    armTimer()
  }

  private func armTimer() {
    guard let deadline = nextDeadline else { return }
    timer?.schedule(at: deadline)
  }

  func answer(_ exchange: Exchange) {
    let now = services.time.now
    var keys: [ListKey] = []
    var missing: Set<ListKey> = []
    let isOllama = exchange.call.dialect == .ollama
    for name in exchange.call.target.provider.map({ [$0] }) ?? ModelCatalog.providers(of: exchange.call.rules) {
      guard let provider = exchange.call.rules.provider(name),
        !isOllama || exchange.call.target.provider != nil || provider.policy.native == .ollama
      else { continue }
      let own = provider.policy.passThrough ? OwnCredential(exchange) : nil
      let key = ListKey(
        provider: name, credential: own.map { hash($0.bytes) }, generation: generation)
      keys.append(key)
      lists[key]?.usedAt = now
      if let list = lists[key] {
        if list.ids != nil, now &- list.fetchedAt < ModelCatalog.freshness { continue }
        if let failed = list.failedAt, now &- failed < ModelCatalog.failureRest { continue }
      }
      if fetches[key] == nil {
        guard fetches.count < ModelCatalog.mostFetches else { continue }
        fetch(key, provider, own, exchange.call.rules)
      }
      missing.insert(key)
    }
    let waiter = Waiter(exchange, keys: keys, missing: missing, deadline: now &+ ModelCatalog.patience)
    if keys.isEmpty, isOllama {
      return exchange.reject(.model("no provider speaks Ollama's own API: set 'native: ollama' for one"))
    }
    guard !missing.isEmpty else { return reply(waiter) }
    waiters.append(waiter)
    armTimer()
  }

  /// Every provider of a route, in the order in which routes name them.
  private static func providers(of rules: BrokerRules) -> [String] {
    var seen: Set<String> = []
    return rules.policy.routes.flatMap(\.to).filter { seen.insert($0).inserted }
  }

  /// The credential of a client's request. Nothing else of the request is sent, so that the list depends on nothing
  /// else.
  private struct OwnCredential {
    var fields = HeaderFields()
    /// Google's clients may send the credential in the query.
    var query: String?

    init(_ exchange: Exchange) {
      let names: [StaticString] = [
        "authorization", "x-api-key", "api-key", "x-goog-api-key", "x-goog-user-project", "openai-organization",
        "openai-project", "cookie",
      ]
      let all = exchange.call.head.fields
      for index in 0..<all.count where names.contains(where: { all.nameIs($0, at: index) }) {
        fields.append(fieldAt: index, of: all)
      }
      query = exchange.call.target.query?.split(separator: "&").first { $0.hasPrefix("key=") }.map(String.init)
    }

    /// Each part is preceded by its length, so that no two credentials give the same bytes.
    var bytes: [UInt8] {
      var out: [UInt8] = []
      func append(_ part: some Collection<UInt8>) {
        out.append(contentsOf: String(part.count).utf8)
        out.append(UInt8(ascii: ":"))
        out.append(contentsOf: part)
      }
      for index in 0..<fields.count {
        append(fields.nameBytes(at: index).map(asciiLowercased))
        append(fields.valueBytes(at: index))
      }
      append((query ?? "").utf8)
      return out
    }
  }

  private func fetch(_ key: ListKey, _ provider: ProviderTarget, _ own: OwnCredential?, _ rules: BrokerRules) {
    let credential = own?.fields ?? secret(of: provider, rules).map { HeaderFields([provider.credential($0.revealed)]) }
    let fetch = ModelFetch { [weak self] ids in self?.fetched(key, ids) }
    fetches[key] = fetch
    fetch.call = services.upstream.begin(
      provider.listRequest(credential ?? HeaderFields(), query: own?.query), events: fetch)
  }

  /// The secret of the first key that is not refused; of the first key where all are.
  private func secret(of provider: ProviderTarget, _ rules: BrokerRules) -> Secret? {
    let disabled = Set(
      services.dispatcher.snapshot().providers.first { $0.id == provider.id }?.keys.filter { $0.state == .disabled }
        .map(\.id.name)
        ?? [])
    let key = provider.policy.keys.first { !disabled.contains($0.id) } ?? provider.policy.keys.first
    return key.flatMap { rules.secrets.secret(provider: provider.policy.id, key: $0.id) }
  }

  private func fetched(_ key: ListKey, _ ids: [String]?) {
    fetches[key] = nil
    let now = services.time.now
    if key.generation == generation || waiters.contains(where: { $0.missing.contains(key) }) {
      var list = lists[key] ?? List(usedAt: now)
      if let ids {
        list.ids = ids
        list.fetchedAt = now
        list.failedAt = nil
      } else {
        list.failedAt = now
      }
      lists[key] = list
      if key.credential != nil { boundPrivateLists() }
    }
    var ready: [Waiter] = []
    waiters.removeAll { waiter in
      waiter.missing.remove(key)
      if waiter.missing.isEmpty { ready.append(waiter) }
      return waiter.missing.isEmpty
    }
    for waiter in ready { reply(waiter) }
    if key.generation != generation, !waiters.contains(where: { $0.keys.contains(key) }) { lists[key] = nil }
  }

  /// Removes the least recently used lists first.
  private func boundPrivateLists() {
    let own = lists.filter { $0.key.credential != nil }
    guard own.count > ModelCatalog.mostPrivateLists else { return }
    if let oldest = own.min(by: { $0.value.usedAt < $1.value.usedAt }) { lists[oldest.key] = nil }
  }

  private func reply(_ waiter: Waiter) {
    let exchange = waiter.exchange
    let rules = exchange.call.rules
    var entries: [ModelList.Entry] = []
    var someList = false
    for key in waiter.keys {
      guard let ids = lists[key]?.ids else { continue }
      someList = true
      for id in ids where BrokerRules.mayUse(id, exchange.call.caller) {
        // Where the client names the provider, routes do not matter.
        guard exchange.call.target.provider != nil || rules.candidates(model: id).contains(key.provider) else {
          continue
        }
        entries.append(ModelList.Entry(id: id, owner: key.provider))
      }
    }
    guard someList else {
      return exchange.reject(Refusal(.failedUpstream, "No provider gave a list of its models."))
    }
    exchange.complete(
      ResponseDocument(
        status: 200, fields: [(name: "content-type", value: "application/json")],
        body: ModelList.body(entries, form: ModelCatalog.form(for: exchange))))
  }

  /// Five vendors' SDKs use the same path; a header field of its own tells each of them.
  private static func form(for exchange: Exchange) -> ModelList.Form {
    switch exchange.call.dialect {
    case .ollama: return .ollama
    case .anthropic: return .anthropic
    case .gemini: return .gemini
    case .openai, .cohere: break
    }
    let fields = exchange.call.head.fields
    if fields.contains("anthropic-version") { return .anthropic }
    if fields.contains("x-goog-api-key") || fields.contains("x-goog-api-client") { return .gemini }
    if fields.first("x-fern-sdk-name")?.hasPrefix("cohere") == true { return .cohere }
    if fields.first("user-agent")?.hasPrefix("mistral-client") == true { return .mistral }
    return .openai
  }
}

/// One fetch of a provider's list.
final class ModelFetch: UpstreamEvents {
  private static let limit = 4 << 20
  private var status = 0
  private var body: [UInt8] = []
  private var isWhole = true
  private let done: ([String]?) -> Void
  var call: (any UpstreamCall)?

  init(done: @escaping ([String]?) -> Void) { self.done = done }

  func upstreamResponded(_ head: ResponseHead) { status = head.status }

  func upstreamReceived(_ bytes: ArraySlice<UInt8>) {
    if body.count + bytes.count <= ModelFetch.limit { body.append(contentsOf: bytes) } else { isWhole = false }
  }

  func upstreamEnded(_ ending: UpstreamEnding) {
    call = nil
    done(ending == .completed && status == 200 && isWhole ? ModelList.ids(in: body) : nil)
  }
}
