// The facts about a request that the core may know, and where it may be sent.

/// Everything that admission decides upon. The shell makes it once, when the request's body is complete.
public struct Ticket: Sendable {
  public var id: RequestID
  public var tenant: TenantID
  public var session: SessionID
  /// Which agent of the session calls; empty where the client does not tell agents apart.
  public var agent: AgentID
  /// The group whose sessions count together for `session_concurrency` and share their keys: connections of one client
  /// that names no session. nil: the session alone.
  public var sessionGroup: SessionID?
  /// The client key that the request came with; nil where none is required.
  public var clientKey: ClientKeyID?
  /// The effective class, after the tenant's clamp.
  public var priority: Priority
  /// Providers in the route's order of preference; never empty.
  public var candidates: [Candidate]
  /// The model as the client named it; empty where the request names none.
  public var model: String
  /// Bytes of memory that the request takes while it waits; counted against `queue_bytes`.
  public var keptBytes: Int
  /// Bytes of text / 4, plus media by rule, before the learned ratio is applied.
  public var estimatedInput: TokenCount
  /// The most output that the client allows, over all choices (`max_tokens` × `n`); nil where it set none.
  public var outputCap: TokenCount?
  /// False for requests that produce no output tokens: embeddings, count_tokens, lists.
  public var producesOutput: Bool
  /// True where nothing is charged for the call, whatever its size: lists, counts, reads of earlier results. Such a call
  /// is sent at once (rule 10).
  public var isFree: Bool
  /// When the client stops waiting. It can only shorten the class's `max_wait`.
  public var deadline: Instant?
  /// How long the client waits for the first byte of the answer before it gives up, where that is known. Unlike
  /// `deadline` it contains the time at the provider.
  public var patience: Span?
  /// True where the client asked for a stream.
  public var isStream: Bool
  /// How long the provider keeps the call's prompt prefix, where the request says so.
  public var cacheLife: Span?
  /// By which the prompt is compared with the one before it.
  public var print: PromptPrint
  /// How often the client's SDK has already retried this call; above 0 the request keeps its place before newcomers.
  public var clientRetryCount: Int

  public init(
    id: RequestID, tenant: TenantID, session: SessionID, priority: Priority, candidates: [Candidate], model: String,
    keptBytes: Int, estimatedInput: TokenCount, outputCap: TokenCount? = nil, producesOutput: Bool = true,
    deadline: Instant? = nil, clientRetryCount: Int = 0, clientKey: ClientKeyID? = nil, isFree: Bool = false,
    agent: AgentID = "", sessionGroup: SessionID? = nil, cacheLife: Span? = nil, print: PromptPrint = .none,
    patience: Span? = nil, isStream: Bool = false
  ) {
    self.print = print
    self.cacheLife = cacheLife
    self.patience = patience
    self.isStream = isStream
    self.agent = agent
    self.isFree = isFree
    self.sessionGroup = sessionGroup
    self.id = id
    self.tenant = tenant
    self.session = session
    self.priority = priority
    self.candidates = candidates
    self.model = model
    self.keptBytes = keptBytes
    self.estimatedInput = estimatedInput
    self.outputCap = outputCap
    self.producesOutput = producesOutput
    self.deadline = deadline
    self.clientRetryCount = clientRetryCount
    self.clientKey = clientKey
  }
}

/// One provider that could serve the request.
public struct Candidate: Sendable {
  public var provider: ProviderID
  /// Price of this call there, for budget holds; nil where unknown or free.
  public var price: CallPrice?

  public init(provider: ProviderID, price: CallPrice? = nil) {
    self.provider = provider
    self.price = price
  }
}

/// The price by which holds are computed, per token in nano-dollars × 1,000 (which is USD per 1M tokens × 1,000,000):
/// whole numbers for every listed price. Only the arithmetic that decisions need is here: the most that a future call
/// may cost, as far as is known. Price lists, tiers and the cost of finished calls are in `Pricing`.
public struct CallPrice: Sendable, Hashable {
  public var inputMicroPerToken: Int64
  public var outputMicroPerToken: Int64
  /// The price of the call itself, whatever its tokens.
  public var perRequest: Money
  public init(inputMicroPerToken: Int64, outputMicroPerToken: Int64, perRequest: Money = .zero) {
    self.inputMicroPerToken = inputMicroPerToken
    self.outputMicroPerToken = outputMicroPerToken
    self.perRequest = perRequest
  }

  /// True where no part of a call costs anything.
  var isFree: Bool { inputMicroPerToken == 0 && outputMicroPerToken == 0 && perRequest == .zero }
}
