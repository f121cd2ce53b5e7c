// What an answer is charged for, by the method and the path of its request. Usage is charged where it arises, and nowhere else:
// who reads what was made before pays nothing for it, but for work that was begun earlier and whose end nobody has seen
// (background responses, batches): that is charged by the first answer that shows it.
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
  /// What the answer says was used; where it says nothing, an estimate.
  case asAnswered
  /// What the answer says was used; where it says nothing, nothing: files, batches and other things that are made, not generated.
  case onlyAsAnswered
  /// The same, and what its requests use is charged when their results are read.
  case batch
  /// Nothing: it reads, lists, counts, cancels or deletes.
  case nothing
  /// Nothing, but for the work's own usage, where nobody has been charged for it yet.
  case later(LaterWork)

  /// True where the call itself costs nothing, whatever its answer says.
  public var isFree: Bool {
    switch self {
    case .nothing, .later: true
    case .asAnswered, .onlyAsAnswered, .batch: false
    }
  }

  /// True where work of before is charged by what is read now: then it is read whole.
  public var readsWork: Bool { if case .later = self { true } else { false } }

  /// True where an answer that says nothing of usage is charged by an estimate.
  public var isEstimated: Bool { self == .asAnswered }

  /// True where the call need not say which model it means: no vendor has one work for it. A body makes a call that only reads,
  /// deletes or cancels one of which nobody knows what a server makes of it.
  public func needsNoModel(at endpoint: WireEndpoint, hasBody: Bool) -> Bool {
    switch self {
    case .nothing: true
    case .later: !hasBody
    case .onlyAsAnswered: endpoint == .files
    case .asAnswered, .batch: false
    }
  }

  /// - Parameters:
  ///   - path: without query, and without our own prefixes; a provider's own prefix before it does no harm.
  ///   - facts: of that path.
  public init(method: String, path: Substring, facts: PathFacts, hasBody: Bool) {
    // Most calls are told by their endpoint: only others have their paths taken apart.
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
    // Google's: `files/{id}:download`.
    if let last = parts.last, last.hasSuffix(":download"),
      let id = work("files", in: parts.dropLast() + [last.dropLast(9)], tail: [])
    {
      return LaterWork(.file, id)
    }
    return nil
  }

  /// The id in `.../{collection}/{id}/{tail}`, with escapes undone, so that it has one spelling.
  private static func work(_ collection: Substring, in parts: [Substring], tail: [Substring]) -> String? {
    let rest = parts.dropLast(tail.count)
    guard parts.count >= 2 + tail.count, parts.suffix(tail.count).map({ $0.lowercased() }) == tail.map(String.init),
      rest.dropLast().last?.lowercased() == String(collection),
      // No vendor's id has a blank, and some servers take one at the end away.
      let id = rest.last?.prefix(while: { $0 != " " }), !id.isEmpty, id.utf8.count <= 128
    else { return nil }
    return String(id)
  }

  /// Collections in which something is made without a model's work.
  private static let collections: Set<Substring> = [
    "files", "uploads", "vector_stores", "conversations", "containers", "cachedContents", "skills",
  ]
  /// The same below one of a collection: `uploads/{id}/parts`. What has these names elsewhere may generate.
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

/// What one line of a batch's results says.
public struct LineUsage: Sendable, Equatable {
  /// Empty where the line names none.
  public var model: String
  public var usage: Usage
  public var extras: UsageExtras
  public var serviceTier: String?
}

/// What an answer says of the work that it begins or shows.
public struct WorkReading: Sendable, Equatable {
  /// Of the object itself, or of the event's `response`; of Google's what stands behind `batches/` in its `name`.
  public internal(set) var id: String?
  /// `status` or `processing_status`; the last word.
  public internal(set) var status: String?
  /// The file with a batch's results.
  public internal(set) var outputFile: String?
  /// Results that stand in the batch itself, each a call of its own.
  public internal(set) var results: [LineUsage] = []

  /// True where the work goes on, so that its usage is still to come.
  public var isUnderWay: Bool {
    switch status {
    case "queued", "in_progress", "validating", "finalizing", "cancelling", "canceling": true
    default: false
    }
  }

  static let longestID = 128

  /// Takes the facts of one JSON object: a whole body, or a frame's data.
  mutating func read(_ walk: inout JSONWalk) {
    guard walk.next() == .objectBegin else { return }
    let depth = walk.depth
    while true {
      switch walk.next() {
      case .end, .error: return
      case .objectEnd where walk.depth == depth: return
      case .string where walk.depth <= depth + 2 && (walk.depth == depth + 1 || walk.parent == TG_KEY_response):
        string(walk)
      // `metadata.output` of a batch says what its `response` says, before that and beside it.
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

  /// The results of a batch, whose array has just begun. They may stand in the answer twice: the longer list counts.
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
  /// Reads one line: the usage lies in `result.message`, in `response.body`, or in `response` itself. nil where there is none.
  init?(_ walk: inout JSONWalk) {
    guard walk.next() == .objectBegin else { return nil }
    self.init(object: &walk)
  }

  /// The same where the object has just begun; walks to its end.
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
