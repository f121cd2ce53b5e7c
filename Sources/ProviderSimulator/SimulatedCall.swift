// One call at the simulated provider: its planned answer and its progress. The simulator advances it by its agenda.
import HTTPMessage

/// The endpoints that are served.
enum SimulatedEndpoint: Equatable {
  case chat, completions, responses, embeddings, messages, countTokens, models
  case model(String)
  case other

  init(method: String, path: Substring) {
    switch path {
    case "/v1/chat/completions": self = .chat
    case "/v1/completions": self = .completions
    case "/v1/responses": self = .responses
    case "/v1/embeddings": self = .embeddings
    case "/v1/messages": self = .messages
    case "/v1/messages/count_tokens": self = .countTokens
    case "/v1/models": self = .models
    default:
      if path.hasPrefix("/v1/models/") { self = .model(String(path.dropFirst(11))) } else { self = .other }
    }
  }

  /// True where the body must be JSON with a model.
  var needsBody: Bool {
    switch self {
    case .models, .model, .other: false
    default: true
    }
  }
}

enum SimulatedDialect { case openAI, anthropic }

/// The state of one call.
final class SimulatedCall {
  let exchange: any HTTPExchange
  let number: UInt64
  let key: String
  let endpoint: SimulatedEndpoint
  let dialect: SimulatedDialect
  var directives: Directives
  var record: CallRecord
  var fault: Fault?
  var faultRetryAfter: Int?

  /// True from admission until its permit is back.
  var holdsPermit = false
  var isEnded = false

  // The planned answer of a model.
  var wire: (any AnswerWire)?
  var isStream = false
  var isCapped = false
  var usage = AnswerUsage()
  /// What its prompt found in the cache, and leaves there once the answer begins.
  var caching = PromptCache.Plan()
  var choices = 1
  /// Tokens of one choice, from 0 to ``outputLength``.
  var outputLength = 0
  var produced = 0
  var charged = 0
  var tokensPerFrame = 1
  /// Nanoseconds per token; 0 means at once.
  var tokenTime: Double = 0
  var firstTokenAt: UInt64 = 0

  /// Bytes that wait for the client to read.
  var backlog: [UInt8] = []
  var backlogAt = 0
  /// Bytes of a generated body still to come.
  var fillerLeft = 0
  var fillerAt = 0
  /// True while the call waits for a slow client.
  var isStalled = false

  init(
    exchange: any HTTPExchange, number: UInt64, key: String, endpoint: SimulatedEndpoint, dialect: SimulatedDialect,
    directives: Directives, record: CallRecord
  ) {
    self.exchange = exchange
    self.number = number
    self.key = key
    self.endpoint = endpoint
    self.dialect = dialect
    self.directives = directives
    self.record = record
  }

  var requestID: String {
    let digits = String(number)
    return "req_sim" + String(repeating: "0", count: max(0, 12 - digits.count)) + digits
  }

  var text: String { AnswerText.tokens(0..<outputLength, unicode: directives.isUnicode) }
}
