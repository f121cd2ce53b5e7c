// What a client asks for: at first head, target and caller; once the body is complete also its facts, and where the
// request may go.
//
// This type reads, and decides only whether the call may be made at all: if not, it throws a `Refusal`. A reload does
// not change the rules of a call that has begun: `rules` are those under which the call came, `newest` the current
// ones. A call is not copyable, since a copy would cost some forty reference counts: the exchange owns the call, and
// all others read it there.
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
  /// True where a browser's page asked: then the policy says which pages may read the answer.
  let isFromPage: Bool
  /// The origin of the page that may read the answer.
  let readableOrigin: String?
  /// How the answer is charged. Known once the body is here, as are the properties below.
  private(set) var charge = ChargeRule.asAnswered
  /// True where the call costs nothing and need not name a model.
  private(set) var namesNoModel = false
  private(set) var facts = RequestFacts()
  /// The price of the call's tokens, for holds; nil where it is unknown.
  private(set) var price: CallPrice?
  /// The providers that the call may go to, by the rules under which it came.
  private(set) var candidateNames: [String] = []
  /// True where the price list has a price for the call's model.
  private(set) var isPriced = false
  /// When the body was complete, in nanoseconds since 1970.
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
  ///   - providers: know the model with which work was begun.
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
    // A call that reads the result of earlier work goes to the provider of that work, and is counted under its model.
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
    // We cannot know which of two content types a server would use.
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

  // MARK: Its class and its session

  /// Decides what the call is for, whose it is and its class, when the body was read.
  /// - Parameters:
  ///   - titles: finds the sessions of titles.
  ///   - nameless: the session of the call's connection, for a client that names none.
  ///   - now: monotonic nanoseconds.
  func classified(
    _ memory: TurnMemory, titles: TitleThreads, nameless: (NamelessSessions.Identity) -> NamelessSessions.Place,
    at now: UInt64
  ) -> Classed {
    let hints = ClientHints(head.fields, isCount: path.endpoint == .countTokens, hasTools: facts.hasTools)
    let agent = RecordText.name(hints.agent)
    let (tenant, own, ofBody) = (caller.name, sessionOfClient, facts.sessionHint)
    let ofTurn =
      hints.hint?.kind == Kinds.title
      ? titles.session(tenant: tenant, installation: RecordText.name(hints.installation), at: now) : nil
    func name(_ ofRule: String?) -> String {
      RecordText.name(own ?? ofRule ?? ofTurn ?? hints.session ?? ofBody.map { ClientHints.session(inUser: $0) } ?? "")
    }
    let result = classification(model: facts.model, hints) { ofRule in
      memory.priority(tenant: tenant, session: name(ofRule), agent: agent, at: now)
    }
    let session = name(result.session)
    guard session.isEmpty else {
      return Classed(
        classification: result, session: session, group: nil, agent: agent,
        installation: RecordText.name(hints.installation), patience: hints.patience)
    }
    let place = nameless(identity)
    return Classed(
      classification: result, session: place.session, group: place.caller.group, agent: agent, patience: hints.patience)
  }

  /// True where the class is `high` as far as the head tells.
  func isUrgentByHead(_ memory: TurnMemory, at now: UInt64) -> Bool {
    let hints = ClientHints(head.fields, isCount: path.endpoint == .countTokens, hasTools: true)
    let (tenant, own) = (caller.name, sessionOfClient)
    return classification(model: path.modelInPath, hints) { ofRule in
      memory.priority(
        tenant: tenant, session: RecordText.name(own ?? ofRule ?? hints.session ?? ""),
        agent: RecordText.name(hints.agent), at: now)
    }.priority == .high
  }

  private func classification(
    model: String?, _ hints: borrowing ClientHints, lastTurn: (_ session: String?) -> Priority?
  ) -> Classification {
    let fields = head.fields
    return rules.classifier.classify(
      ClassificationFacts(
        path: String(target.path), model: model, tenant: caller.name, pathHints: target.hints, isFree: charge.isFree),
      hints: hints, header: { fields.first(named: $0) }, lastTurn: lastTurn)
  }

  /// The session that the client names to us.
  private var sessionOfClient: String? {
    let name = head.fields.first("x-tollgate-session") ?? target.hints["session"]
    return name?.isEmpty == true ? nil : name
  }

  /// Who calls, as far as the session's name does not say it.
  private var identity: NamelessSessions.Identity {
    NamelessSessions.Identity(
      tenant: caller.name,
      credential: caller.key?.name ?? Credentials.clientSecret(head.fields, query: target.query ?? "") ?? "",
      userAgent: head.fields.first("user-agent") ?? "")
  }

  /// Calls `body` for each field with our prefix that we do not know, such as `x-tollgate-prioriy`.
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
    // A free call is known to cost nothing.
    if charge.isFree { price = .nothing }
    // A reload came between the request's head and its body.
    if rules !== newest { price = price(newest, at: now) }
    if let name = namedProvider {
      guard let provider = rules.provider(name) else { throw .model("there is no provider '\(name)' here") }
      // Below `/p/` any path is sent; elsewhere Ollama's own API goes only where the policy says that it is spoken.
      guard target.provider != nil || dialect != .ollama || provider.policy.native == .ollama else {
        throw .model("the provider '\(name)' does not speak Ollama's own API: its 'native: ollama' is not set")
      }
      candidateNames = [name]
      return [Candidate(provider: ProviderID(name), price: price)]
    }
    var names = rules.candidates(model: facts.model)
    guard !names.isEmpty else { throw .model(rules.whyNoCandidate(model: facts.model)) }
    if dialect == .ollama {
      names.removeAll { rules.provider($0)?.policy.native != .ollama }
      guard !names.isEmpty else {
        throw .model(
          "no provider of the route of '\(facts.model ?? "")' speaks Ollama's own API: set 'native: ollama' for one, or "
            + "use its OpenAI-compatible API at /v1")
      }
    }
    candidateNames = names
    return names.map { Candidate(provider: ProviderID($0), price: price) }
  }

  /// The price of a model by the prices under which the request came.
  func callPrice(_ model: String) -> CallPrice? {
    rules.prices.callPrice(
      model: model, tier: facts.serviceTier, estimatedInput: facts.estimatedInput, at: readyAt)
  }

  /// The price of the call's tokens by the newest prices; nil where it is unknown.
  func price(_ newest: BrokerRules, at now: Int64) -> CallPrice? {
    // A free call is known to cost nothing.
    if charge.isFree { return .nothing }
    guard let model = facts.model else { return nil }
    return newest.prices.callPrice(
      model: model, tier: facts.serviceTier, estimatedInput: facts.estimatedInput, at: now)
  }

  /// The providers that the newest rules have for the call, with the current price; nil where nothing changes for the
  /// call. A call keeps the providers that it came with where it named its provider itself, or where no route takes it
  /// now. A provider with another dialect than those is never added.
  mutating func candidatesAnew(_ newest: BrokerRules, at now: Int64) -> [Candidate]? {
    let newPrice = price(newest, at: now)
    let isRepriced = newPrice != price
    price = newPrice
    var names: [String] = []
    if namedProvider == nil {
      let before = rules.candidates(model: facts.model).compactMap { rules.provider($0)?.policy.dialect }
      names = newest.candidates(model: facts.model).filter { name in
        newest.provider(name).map {
          before.contains($0.policy.dialect) && (dialect != .ollama || $0.policy.native == .ollama)
        } ?? false
      }
    }
    if names.isEmpty, isRepriced { names = candidateNames }
    return names.isEmpty ? nil : names.map { Candidate(provider: ProviderID($0), price: newPrice) }
  }

  /// The rules by which a new grant is carried out, so that address, dialect and secret come from the same policy: the
  /// newest rules, unless they lack the provider or give it another dialect; then those with which the request came.
  func rules(ofGrant provider: ProviderID, _ newest: BrokerRules) -> BrokerRules {
    if newest === rules { return rules }
    guard let new = newest.provider(provider.name) else { return rules }
    guard let old = rules.provider(provider.name), old.policy.dialect != new.policy.dialect else { return newest }
    return rules
  }

  // MARK: For the ticket

  /// How often the client's SDK has already retried the call.
  var clientRetryCount: Int { head.fields.first("x-stainless-retry-count").flatMap { Int($0) } ?? 0 }

  enum Patience {
    case endless
    case bounded(Span)
    /// The hint could not be read.
    case unclear(String)
  }

  /// How long the client waits.
  var patience: Patience {
    guard let text = head.fields.first("x-tollgate-timeout") else { return .endless }
    guard let seconds = Double(text), seconds >= 0, seconds < 1e9 else { return .unclear(text) }
    return .bounded(Span(nanoseconds: Int64(seconds * 1e9)))
  }
}

/// The class of a call, and whose it is.
struct Classed {
  var classification: Classification
  var session: String
  /// The sessions that count as one program, where the client names no session.
  var group: String?
  /// The agent within the session; empty for the main one.
  var agent: String
  /// The installation of Codex that calls; empty where none is named.
  var installation = ""
  /// How long the client waits for the first byte of an answer; nil where it is not known to give up.
  var patience: Span?
}

extension CallPrice {
  fileprivate static let nothing = CallPrice(inputMicroPerToken: 0, outputMicroPerToken: 0)
}
