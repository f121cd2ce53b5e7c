// Decides how an answer is charged, by the method and the path of its request. Usage is charged to the call that causes
// it: reading earlier results is free. The exception is work that outlives its call (background responses, batches): it
// is charged by the first answer that shows its end.
import AdmissionCore
import CSimdjson
import Pricing

/// Work that one call begins and later ones read.
public struct LaterWork: Sendable, Equatable {
  public enum Kind: String, Sendable {
    /// A response: `GET /v1/responses/{id}`, and its `cancel`.
    case response
    /// A batch's own state: `GET /v1/batches/{id}`.
    case batch
    /// A batch's results, a line for each request: `GET /v1/messages/batches/{id}/results`.
    case batchResults
    /// A file that may hold a batch's results: `GET /v1/files/{id}/content`.
    case file
  }
  public var kind: Kind
  public var id: String

  public init(_ kind: Kind, _ id: String) {
    self.kind = kind
    self.id = id
  }

  /// True where the answer is read line by line.
  public var isLines: Bool { kind == .batchResults || kind == .file }
}

public enum ChargeRule: Sendable, Equatable {
  /// The usage in the answer; where there is none, an estimate.
  case asAnswered
  /// The usage in the answer; where there is none, nothing: for files, batches and other things that no model
  /// generates.
  case onlyAsAnswered
  /// The same; the usage of the batch's requests is charged when their results are read.
  case batch
  /// Nothing: the call reads, lists, counts, cancels or deletes.
  case nothing
  /// Nothing for the call itself, but the usage of the work that it shows, as far as it has not been charged yet.
  case later(LaterWork)

  /// True where the call itself costs nothing, whatever usage its answer contains.
  public var isFree: Bool {
    switch self {
    case .nothing, .later: true
    case .asAnswered, .onlyAsAnswered, .batch: false
    }
  }

  /// True where this call's answer charges earlier work: then the answer is read as a whole.
  public var readsWork: Bool { if case .later = self { true } else { false } }

  /// True where an answer without usage is charged by an estimate.
  public var isEstimated: Bool { self == .asAnswered }

  /// True where the call need not name a model, since no model works for it. Where a call that only reads, deletes or
  /// cancels has a body, we cannot know what a server does with it, so this is false.
  public func needsNoModel(at endpoint: WireEndpoint, hasBody: Bool) -> Bool {
    switch self {
    case .nothing: true
    case .later: !hasBody
    case .onlyAsAnswered: endpoint == .files
    case .asAnswered, .batch: false
    }
  }

  /// - Parameters:
  ///   - path: without query and our own prefixes; a provider's prefix before the API's path is allowed.
  ///   - facts: what was read from that path.
  public init(method: String, path: Substring, facts: PathFacts, hasBody: Bool) {
    // For most calls the endpoint decides; only the paths of others are split.
    let reads: ChargeRule = hasBody ? .asAnswered : .nothing
    switch method {
    case "POST", "PUT", "PATCH":
      switch facts.endpoint {
      case .other where facts.cancels:
        self =
          Self.work("responses", in: PathFacts.plainParts(path), tail: ["cancel"]).map {
            .later(LaterWork(.response, $0))
          }
          ?? reads
      case .other: self = Self.making(PathFacts.plainParts(path))
      case .messageBatches: self = .batch
      case .files: self = .onlyAsAnswered
      default: self = facts.endpoint.isFree && facts.endpoint != .models ? .nothing : .asAnswered
      }
    case "GET" where !facts.endpoint.isFree: self = Self.reading(PathFacts.plainParts(path)).map { .later($0) } ?? reads
    case "GET", "HEAD", "DELETE": self = reads
    default: self = .asAnswered
    }
  }

  private static func reading(_ parts: [Substring]) -> LaterWork? {
    if let id = work("responses", in: parts, tail: []) { return LaterWork(.response, id) }
    if let id = work("batches", in: parts, tail: ["results"]) { return LaterWork(.batchResults, id) }
    if let id = work("batches", in: parts, tail: []) { return LaterWork(.batch, id) }
    if let id = work("files", in: parts, tail: ["content"]) { return LaterWork(.file, id) }
    // Google's form: `files/{id}:download`.
    if let last = parts.last, last.hasSuffix(":download"),
      let id = work("files", in: parts.dropLast() + [last.dropLast(9)], tail: [])
    {
      return LaterWork(.file, id)
    }
    return nil
  }

  /// The id in `.../{collection}/{id}/{tail}`, percent-decoded so that it has one spelling.
  private static func work(_ collection: Substring, in parts: [Substring], tail: [Substring]) -> String? {
    let rest = parts.dropLast(tail.count)
    guard parts.count >= 2 + tail.count, parts.suffix(tail.count).map({ $0.lowercased() }) == tail.map(String.init),
      rest.dropLast().last?.lowercased() == String(collection),
      // No vendor's id has a blank, and some servers remove one at the end.
      let id = rest.last?.prefix(while: { $0 != " " }), !id.isEmpty, id.utf8.count <= 128
    else { return nil }
    return String(id)
  }

  /// Collections whose items are made without a model.
  private static let collections: Set<Substring> = [
    "files", "uploads", "vector_stores", "conversations", "containers", "cachedContents", "skills",
  ]
  /// The same below an item of a collection: `uploads/{id}/parts`. At other places, paths of these names may generate.
  private static let inside: [Substring: Substring] = [
    "parts": "uploads", "complete": "uploads", "items": "conversations", "file_batches": "vector_stores",
  ]

  private static func making(_ parts: [Substring]) -> ChargeRule {
    guard let last = parts.last else { return .asAnswered }
    if last == "batches" || last.hasSuffix(":batchGenerateContent") { return .batch }
    if parts.count >= 3, inside[last] == parts[parts.count - 3] { return .onlyAsAnswered }
    return collections.contains(last) ? .onlyAsAnswered : .asAnswered
  }
}

/// The usage in one line of a batch's results.
public struct LineUsage: Sendable, Equatable {
  /// The model; empty where the line names none.
  public var model: String
  public var usage: Usage
  public var extras: UsageExtras
  public var serviceTier: String?
}

/// What an answer says about the work that it begins or shows.
public struct WorkReading: Sendable, Equatable {
  /// The id of the object itself, or of the event's `response`; for Google, the part of `name` after `batches/`.
  public internal(set) var id: String?
  /// The last value of `status` or `processing_status`.
  public internal(set) var status: String?
  /// The file with a batch's results.
  public internal(set) var outputFile: String?
  /// Results inside the batch object, each a call of its own.
  public internal(set) var results: [LineUsage] = []

  /// True while the work goes on, so that its usage is still to come.
  public var isUnderWay: Bool {
    switch status {
    case "queued", "in_progress", "validating", "finalizing", "cancelling", "canceling": true
    default: false
    }
  }

  static let longestID = 128

  /// Reads one JSON object: a whole body, or a frame's data.
  mutating func read(_ walk: inout JSONWalk) {
    guard walk.next() == .objectBegin else { return }
    let depth = walk.depth
    while true {
      switch walk.next() {
      case .end, .error: return
      case .objectEnd where walk.depth == depth: return
      case .string where walk.depth <= depth + 2 && (walk.depth == depth + 1 || walk.parent == TG_KEY_response):
        string(walk)
      // `metadata.output` of a batch repeats what is in its `response`.
      case .string where walk.key == TG_KEY_responsesFile: fileName(walk)
      case .objectBegin where walk.key == TG_KEY_response && walk.depth == depth + 1: continue
      case .objectBegin where walk.key == TG_KEY_metadata && walk.depth == depth + 1: continue
      case .objectBegin where walk.key == TG_KEY_output && walk.depth == depth + 2: continue
      case .objectBegin where walk.key == TG_KEY_inlinedResponses: continue
      case .arrayBegin where walk.key == TG_KEY_inlinedResponses: inlined(&walk)
      case .objectBegin, .arrayBegin: walk.skip()
      default: continue
      }
    }
  }

  private mutating func string(_ walk: JSONWalk) {
    switch walk.key {
    case TG_KEY_id: if id == nil { id = walk.string(limit: Self.longestID) }
    case TG_KEY_name where walk.stringStarts(with: "batches/"):
      if id == nil { id = String(walk.string(limit: Self.longestID + 8).dropFirst(8)) }
    case TG_KEY_status, TG_KEY_processing_status: status = walk.string(limit: 32)
    case TG_KEY_responsesFile: fileName(walk)
    case TG_KEY_output_file_id: outputFile = walk.string(limit: Self.longestID)
    default: break
    }
  }

  private mutating func fileName(_ walk: JSONWalk) {
    guard walk.stringStarts(with: "files/") else { return }
    outputFile = String(walk.string(limit: Self.longestID + 6).dropFirst(6))
  }

  /// Reads a batch's results; their array has just begun. The answer may contain them twice: the longer list counts.
  private mutating func inlined(_ walk: inout JSONWalk) {
    let depth = walk.depth
    var found: [LineUsage] = []
    while true {
      switch walk.next() {
      case .end, .error: return
      case .arrayEnd where walk.depth == depth:
        if found.count > results.count { results = found }
        return
      case .objectBegin: if let line = LineUsage(object: &walk) { found.append(line) }
      default: continue
      }
    }
  }
}

extension LineUsage {
  /// Reads one line, with the usage in `result.message`, in `response.body`, or in `response` itself. nil where there
  /// is none.
  init?(_ walk: inout JSONWalk) {
    guard walk.next() == .objectBegin else { return nil }
    self.init(object: &walk)
  }

  /// The same for an object that has just begun; walks to its end.
  init?(object walk: inout JSONWalk) {
    var reading = UsageReading()
    var model = ""
    var tier: String?
    let depth = walk.depth
    scan: while true {
      switch walk.next() {
      case .error: return nil
      case .end: break scan
      case .objectEnd where walk.depth == depth: break scan
      case .objectBegin:
        switch walk.key {
        case TG_KEY_result, TG_KEY_response, TG_KEY_message, TG_KEY_body: if walk.depth > depth + 3 { walk.skip() }
        case TG_KEY_usage, TG_KEY_usageMetadata, TG_KEY_usage_metadata: reading.read(&walk)
        default: walk.skip()
        }
      case .arrayBegin: walk.skip()
      case .string where walk.key == TG_KEY_model || walk.key == TG_KEY_modelVersion: model = walk.string(limit: 256)
      case .string where walk.key == TG_KEY_service_tier: tier = walk.string(limit: 64)
      default: continue
      }
    }
    guard let usage = reading.usage else { return nil }
    self.init(model: model, usage: usage, extras: reading.extras, serviceTier: reading.serviceTier ?? tier)
  }
}
