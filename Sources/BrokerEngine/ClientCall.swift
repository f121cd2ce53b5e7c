// What a client asks for: head, target and caller when the request begins, the facts of its body and where it may go when that is here.
//
// Everything here is read and nothing is decided upon but whether the call may be made at all: what may not is thrown as a `Refusal`.
// A reload does not change the rules of a call that has begun; `rules` are those under which it came, `newest` those of now.
// It is not copyable: its exchange holds it, and everybody else looks at it there. A copy would cost some forty reference counts.
import AdmissionCore
import HTTPMessage
import PolicyFile
import Pricing
import ProviderWire

struct ClientCall: ~Copyable {
  let head: RequestHead
  let target: RequestTarget
  let path: PathFacts
  let rules: BrokerRules
  let caller: Caller
  /// True where a browser's page asked: who may read is then for the policy to say.
  let isFromPage: Bool
  /// The origin of the page that may read the answer.
  let readableOrigin: String?
  /// What its answer is charged for; known once the body is here, as all that follows.
  private(set) var charge = ChargeRule.asAnswered
  /// True where the call costs nothing and need not say which model it means.
  private(set) var namesNoModel = false
  private(set) var facts = RequestFacts()
  /// What its tokens cost, for holds; nil where that is unknown.
  private(set) var price: CallPrice?
  /// The providers between which it may choose, by the rules under which it came.
  private(set) var candidateNames: [String] = []
  /// Whether the price list knows what its model costs.
  private(set) var isPriced = false
  /// When the body was complete: nanoseconds since 1970.
  private var readyAt: Int64 = 0

  init(head: RequestHead, target: RequestTarget, path: PathFacts, rules: BrokerRules, caller: Caller) {
    self.head = head
    self.target = target
    self.path = path
    self.rules = rules
    self.caller = caller
    isFromPage = head.fields.contains("origin")
    readableOrigin = isFromPage ? rules.readableOrigin(head) : nil
  }

  var dialect: Dialect { path.dialect }

  // MARK: The body

  /// Reads the body, which is complete.
  /// - Parameters:
  ///   - wall: nanoseconds since 1970, now.
  ///   - room: bytes of memory that a decoded copy may take.
  ///   - providers: knows under which model work was begun.
  mutating func read(
    _ body: [UInt8], at wall: Int64, reader: RequestReader, room: Int, providers: ProviderNotes
  ) throws(Refusal) {
    readyAt = wall
    charge = ChargeRule(method: head.method, path: target.path, facts: path, hasBody: !body.isEmpty)
    namesNoModel = charge.needsNoModel(at: path.endpoint, hasBody: !body.isEmpty)
    switch readFacts(body, reader, room: room) {
    case .facts(let facts): self.facts = facts
    case .malformed(let reason, let position):
      throw .malformed("the request body cannot be read: \(reason) at byte \(position)")
    case .decodedTooLarge(let limit):
      throw Refusal(
        .rejectedTooLarge,
        limit < rules.policy.maxBody
          ? "the request body unfolds to more than \(limit) bytes, a hundred times what was sent"
          : "the decoded request body is larger than the limit of \(limit) bytes")
    case .noRoom: throw .memoryFull
    case .unsupportedEncoding(let name):
      throw .malformed("the content-encoding '\(name)' is not understood; allowed are gzip, deflate and zstd")
    }
    // What is read goes where it was begun, and is counted under that model.
    if facts.model == nil, case .later(let work) = charge {
      facts.model = providers.works.model(
        of: work.id, at: namedProvider.map { [$0] } ?? rules.policy.providers.map(\.id))
    }
  }

  private func readFacts(_ body: [UInt8], _ reader: RequestReader, room: Int) -> RequestReading {
    guard !body.isEmpty else {
      var facts = RequestFacts()
      facts.model = path.modelInPath
      facts.isStreaming = path.streamInPath
      facts.producesOutput = false
      noteModelsOutside(&facts)
      return .facts(facts)
    }
    let fields = head.fields
    // Which of two a server believes nobody knows.
    if (0..<fields.count).count(where: { fields.nameIs("content-type", at: $0) }) > 1 {
      return .malformed(reason: "content-type is given more than once", position: 0)
    }
    var reader = reader
    let reading = reader.read(
      body, path: path, contentType: fields.first("content-type"), contentEncoding: fields.first("content-encoding"),
      decodedLimit: rules.policy.maxBody, room: room, everyModel: mustNameModel)
    guard case .facts(var facts) = reading, target.query != nil || mustNameModel else { return reading }
    noteModelsOutside(&facts)
    return .facts(facts)
  }

  // MARK: Its class

  func classification() -> Classification { classification(model: facts.model) }

  /// Whether its class is `high` as far as the head tells.
  var isUrgentByHead: Bool { classification(model: path.modelInPath).priority == .high }

  private func classification(model: String?) -> Classification {
    let fields = head.fields
    return rules.classifier.classify(
      ClassificationFacts(path: String(target.path), model: model, tenant: caller.name, pathHints: target.hints),
      header: { fields.first(named: $0) })
  }

  /// Fields with our prefix that we do not know, such as `x-tollgate-prioriy`.
  func forEachUnknownField(_ body: (_ name: String, _ value: String) -> Void) {
    let fields = head.fields
    for index in 0..<fields.count where fields.nameStarts(with: "x-tollgate-", at: index) {
      let name = fields.name(at: index).lowercased()
      guard !TollgateFields.hints.contains(String(name.dropFirst(11))) else { continue }
      body(name, fields.value(at: index))
    }
  }

  // MARK: Where it may go

  /// The provider that the client names.
  private var namedProvider: String? { target.provider ?? head.fields.first("x-tollgate-provider") }

  /// The providers that may serve it.
  /// - Parameter now: nanoseconds since 1970.
  mutating func candidates(_ newest: BrokerRules, at now: Int64) throws(Refusal) -> [Candidate] {
    if let model = facts.model { price = callPrice(model) }
    try checkModels()
    isPriced = price != nil
    // What a free call costs is known: nothing.
    if charge.isFree { price = .nothing }
    // A reload came between its head and its body.
    if rules !== newest { price = price(newest, at: now) }
    if let name = namedProvider {
      guard rules.provider(name) != nil else { throw .model("there is no provider '\(name)' here") }
      candidateNames = [name]
      return [Candidate(provider: ProviderID(name), price: price)]
    }
    let names = rules.candidates(model: facts.model)
    guard !names.isEmpty else {
      throw .model(facts.model.map { "no route takes the model '\($0)'" } ?? "no provider is configured for this path")
    }
    candidateNames = names
    return names.map { Candidate(provider: ProviderID($0), price: price) }
  }

  /// What a model costs by the prices under which the request came.
  func callPrice(_ model: String) -> CallPrice? {
    rules.prices.callPrice(
      model: model, tier: facts.serviceTier, estimatedInput: facts.estimatedInput, at: readyAt)
  }

  /// What its tokens cost by the newest prices; nil where that is unknown.
  func price(_ newest: BrokerRules, at now: Int64) -> CallPrice? {
    // What a free call costs is known: nothing.
    if charge.isFree { return .nothing }
    guard let model = facts.model else { return nil }
    return newest.prices.callPrice(
      model: model, tier: facts.serviceTier, estimatedInput: facts.estimatedInput, at: now)
  }

  /// The providers that the newest rules have for it, with its price of now; nil where it keeps those with which it came: it named its
  /// provider, or no route takes it now. Never one that expects another dialect than those did.
  mutating func candidatesAnew(_ newest: BrokerRules, at now: Int64) -> [Candidate]? {
    let newPrice = price(newest, at: now)
    let isRepriced = newPrice != price
    price = newPrice
    var names: [String] = []
    if namedProvider == nil {
      let before = rules.candidates(model: facts.model).compactMap { rules.provider($0)?.policy.dialect }
      names = newest.candidates(model: facts.model).filter { name in
        newest.provider(name).map { before.contains($0.policy.dialect) } ?? false
      }
    }
    if names.isEmpty, isRepriced { names = candidateNames }
    return names.isEmpty ? nil : names.map { Candidate(provider: ProviderID($0), price: newPrice) }
  }

  /// The rules by which a grant that comes now is carried out: address, dialect and secret are of one and the same policy. The newest,
  /// but where its provider speaks another dialect than the request does, those with which the request came.
  func rules(ofGrant provider: ProviderID, _ newest: BrokerRules) -> BrokerRules {
    if newest === rules { return rules }
    guard let new = newest.provider(provider.name) else { return rules }
    guard let old = rules.provider(provider.name), old.policy.dialect != new.policy.dialect else { return newest }
    return rules
  }

  // MARK: For the ticket

  /// Our own header first, then the path's hint, then what agents send of themselves, then the body's cache key.
  func sessionName() -> String {
    let fields = head.fields
    let name =
      fields.first("x-tollgate-session") ?? target.hints["session"] ?? fields.first("x-claude-code-session-id")
      ?? fields.first("session_id") ?? fields.first("session-id") ?? facts.sessionHint ?? ""
    return name.utf8.count <= 128 ? name : String(decoding: name.utf8.prefix(128), as: UTF8.self)
  }

  /// How often the client's SDK has already retried it.
  var clientRetryCount: Int { head.fields.first("x-stainless-retry-count").flatMap { Int($0) } ?? 0 }

  enum Patience {
    case endless
    case bounded(Span)
    /// The hint cannot be read.
    case unclear(String)
  }

  /// How long its client waits.
  var patience: Patience {
    guard let text = head.fields.first("x-tollgate-timeout") else { return .endless }
    guard let seconds = Double(text), seconds >= 0, seconds < 1e9 else { return .unclear(text) }
    return .bounded(Span(nanoseconds: Int64(seconds * 1e9)))
  }
}

extension CallPrice {
  fileprivate static let nothing = CallPrice(inputMicroPerToken: 0, outputMicroPerToken: 0)
}
