// What the broker needs to know of a request's body, and nothing more: none of its text.
import AdmissionCore

/// The facts of one request body.
public struct RequestFacts: Sendable, Equatable {
  /// As the client wrote it; nil where body and path name none.
  public var model: String?
  /// The other models that the call may use: fallbacks, the other requests of a batch, models of tools, names given
  /// twice. Each is listed once, without `model`.
  public var otherModels: [String] = []
  /// True where a server may find a model that was not found here: the body cannot be read, or the value of a model is
  /// not a name.
  public var mayNameMore = false
  /// True where only the query names a model, which is then `model`.
  public private(set) var isNamedByQueryOnly = false
  /// True where the body is only a model's input, such as audio, so that a model can only be named outside of it.
  public internal(set) var isMedia = false
  /// True where the client asked for a stream, in the body or by the path.
  public var isStreaming = false
  /// True where the client itself asked for the usage frame of a Chat Completions stream.
  public var asksForUsage = false
  /// True where the body offers the model tools.
  public var hasTools = false
  /// The most output that the client allows over all choices; nil where it set no cap.
  public var outputCap: TokenCount?
  /// How many answers are asked for (`n`, `best_of`, `candidateCount`); at least 1.
  public var choices = 1
  /// Bytes of text / 4, plus media by rule; at least 0.
  public var estimatedInput: TokenCount = 0
  /// How long the provider is to keep the prompt's prefix (`cache_control.ttl`), the shortest where several are named;
  /// nil where none is.
  public var cacheLife: Span?
  /// By which the prompt is compared with the one before it.
  public var print = PromptPrint()
  /// False where the endpoint produces no output tokens.
  public var producesOutput = true
  /// How to ask for usage where the client did not; nil where that is impossible or not needed.
  public var usageSplice: UsageSplice?
  /// The service tier that the client asks for; the answer's tier decides the price.
  public var serviceTier: String?
  /// A key that groups calls for the provider's prompt cache: `prompt_cache_key`, `metadata.user_id`,
  /// `safety_identifier` or `user`.
  public var sessionHint: String?
  /// True where the provider adds input that is not in the body (`previous_response_id`, `conversation`, a prompt
  /// template): the estimate is too low.
  public var hasInputElsewhere = false
  /// True where the work goes on after this call's answer (`background`), which then has no usage.
  public var isBackground = false

  public init() {}

  /// The most models of one body that are told apart.
  static let mostModels = 64
  /// The longest name of a model that is read, in bytes as written.
  static let longestModel = 512

  /// Notes a model beside `model`.
  mutating func addOther(_ name: String) {
    if name == model || otherModels.contains(name) { return }
    guard otherModels.count < Self.mostModels else {
      mayNameMore = true
      return
    }
    otherModels.append(name)
  }

  /// Notes a model that the query names; it is the only one where the body is audio or empty.
  public mutating func note(modelInQuery name: String) {
    if model == nil {
      model = name
      isNamedByQueryOnly = true
    } else {
      addOther(name)
    }
  }

  /// Notes a model that the path names at any place.
  public mutating func note(modelInPath name: String) {
    if model == nil || isNamedByQueryOnly {
      setModel(name)
      isNamedByQueryOnly = false
    } else {
      addOther(name)
    }
  }

  /// Notes the models that a search of the whole body has found.
  mutating func note(_ found: NamedModels) {
    for name in found.names { addOther(name) }
    if found.mayNameMore { mayNameMore = true }
  }

  /// Sets the call's model; the one before becomes another model, since a server may use that one.
  mutating func setModel(_ name: String) {
    guard let before = model, before != name else {
      model = name
      return
    }
    model = name
    otherModels.removeAll { $0 == name }
    addOther(before)
  }
}

/// One replacement in a request body: `inserted` replaces `removedBytes` from `offset` on.
public struct UsageSplice: Sendable, Equatable {
  public var offset: Int
  public var removedBytes: Int
  public var inserted: [UInt8]

  public init(offset: Int, removedBytes: Int, inserted: [UInt8]) {
    self.offset = offset
    self.removedBytes = removedBytes
    self.inserted = inserted
  }

  /// True where an error's body mentions what such a splice asks for.
  public static func isNamed(in body: [UInt8]) -> Bool {
    ["stream_options", "include_usage"].contains { ByteSearch.first(Array($0.utf8), in: body[...], from: 0) != nil }
  }

  /// The body after the replacement. `body` must be the one that was read.
  public func applied(to body: [UInt8]) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(body.count - removedBytes + inserted.count)
    result.append(contentsOf: body[..<offset])
    result.append(contentsOf: inserted)
    result.append(contentsOf: body[(offset + removedBytes)...])
    return result
  }
}

/// The result of reading a body.
public enum RequestReading: Sendable, Equatable {
  case facts(RequestFacts)
  /// 400. `reason` is a text for the client; `position` is the byte of the (decoded) body where reading stopped.
  case malformed(reason: String, position: Int)
  /// 413: more than `limit` bytes after decoding.
  case decodedTooLarge(limit: Int)
  /// 503: there is no memory now to decode it.
  case noRoom
  /// 400 or 415: a content coding that we do not know, so that the request cannot be metered.
  case unsupportedEncoding(String)
}
