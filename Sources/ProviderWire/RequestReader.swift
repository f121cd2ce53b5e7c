// Reads request bodies into facts: with one walk over the JSON, without a tree, and without a copy of an uncompressed
// body.
import AdmissionCore
import CSimdjson

/// Reads bodies one after another.
public struct RequestReader {
  private let scratch: WireScratch
  /// The size up to which any compressed body may expand, whatever its ratio.
  static let alwaysDecoded = 4 << 20

  /// - Parameter scratch: the loop's memory for reading JSON, shared with its taps.
  public init(scratch: WireScratch = WireScratch()) { self.scratch = scratch }

  /// Reads one body. Work is linear in its length.
  ///
  /// JSON endpoints need a strictly valid UTF-8 JSON object; where a name is given twice, the last value counts. Bodies
  /// of unknown endpoints are read as far as possible; so are bodies of other types below a deployment or an engine,
  /// since there the path says all that a server needs.
  ///
  /// - Parameters:
  ///   - body: as it came, content coding included.
  ///   - path: the facts of the path.
  ///   - decodedLimit: the most bytes that a compressed body may have after decoding. A body that expands to more than
  ///     a hundred times its size is too large above 4 MiB already: no real body does so, and decoding it costs us much
  ///     more than sending it cost the client.
  ///   - room: bytes of memory that the decoded copy may take now.
  ///   - everyModel: true searches the whole body for models (see NamedModels), not only the places where vendors look.
  public mutating func read(
    _ body: [UInt8], path: PathFacts, contentType: String?, contentEncoding: String?, decodedLimit: Int,
    room: Int = .max, everyModel: Bool = false
  ) -> RequestReading {
    let coding = ContentCoding(contentEncoding)
    guard coding != .identity, !body.isEmpty else { return readPlain(body, path, contentType, everyModel) }
    guard coding != .unsupported else { return .unsupportedEncoding(contentEncoding ?? "") }
    let likely = min(decodedLimit, max(Self.alwaysDecoded, body.count &* 100))
    let (decoded, progress) = ContentDecoder.decoded(body, coding, limit: min(likely, room))
    guard let decoded else {
      if progress == .tooLarge { return room < likely ? .noRoom : .decodedTooLarge(limit: likely) }
      return .malformed(reason: "body is not valid \(contentEncoding ?? "")", position: 0)
    }
    var reading = readPlain(decoded, path, contentType, everyModel)
    // Positions in the decoded copy do not apply to the body that is forwarded.
    if case .facts(var facts) = reading {
      facts.usageSplice = nil
      reading = .facts(facts)
    }
    return reading
  }

  private func readPlain(
    _ body: [UInt8], _ path: PathFacts, _ contentType: String?, _ everyModel: Bool
  ) -> RequestReading {
    var reading = BodyReading(path: path)
    reading.wantsEveryModel = everyModel
    let form = contentType.map(FormData.kind) ?? FormData.Kind.noForm
    if form != .noForm, form != .urlEncoded, !path.endpoint.takesForms {
      return .malformed(reason: "this path takes JSON, and the content-type says that it is a form", position: 0)
    }
    let opensObject = Self.opensObject(body)
    // A body that begins like an object is read as one, whatever its type: servers do that too.
    if !opensObject, case .parts(let boundary) = form {
      reading.addForm(body, boundary: boundary, scratch)
      return .facts(reading.facts)
    }
    let isStrict = Self.needsJSON(path.endpoint)
    if !opensObject, !isStrict || (path.isDeployment && form == .noForm && Self.isNoJSON(contentType)) {
      reading.addOpaque(body.count)
      reading.facts.isMedia = form == .noForm && (contentType.map(Self.isMedia) ?? false)
      reading.facts.mayNameMore = !body.isEmpty && !reading.facts.isMedia
      return .facts(reading.facts)
    }
    let fault = scratch.walk(body[...]) { reading.addJSON(&$0) }
    guard let fault else {
      // curl sends this type by default; but a server that believes it may find another model in the body.
      if form == .urlEncoded, body.contains(UInt8(ascii: "=")) { reading.facts.mayNameMore = true }
      if everyModel { reading.facts.note(scratch.models(in: body[...], path)) }
      return .facts(reading.facts)
    }
    if isStrict { return .malformed(reason: fault.reason, position: fault.position) }
    reading = BodyReading(path: path)
    reading.addOpaque(body.count)
    reading.facts.mayNameMore = true
    return .facts(reading.facts)
  }

  /// True where the first byte after blanks and a byte order mark is a brace.
  private static func opensObject(_ body: [UInt8]) -> Bool {
    let text = body.starts(with: [0xEF, 0xBB, 0xBF]) ? body.dropFirst(3) : body[...]
    return text.first { $0 != 0x20 && $0 != 0x09 && $0 != 0x0A && $0 != 0x0D } == UInt8(ascii: "{")
  }

  /// True for types in which no server looks for parameters.
  private static func isMedia(_ contentType: String) -> Bool {
    let type = contentType.drop { $0 == " " }.lowercased()
    return ["audio/", "image/", "video/", "application/octet-stream", "application/pdf", "application/sdp"].contains {
      type.hasPrefix($0)
    }
  }

  /// True where the client says that the body is not JSON.
  private static func isNoJSON(_ contentType: String?) -> Bool {
    contentType.map { $0.contains("/") && !$0.lowercased().contains("json") } ?? false
  }

  /// True where vendors accept only a JSON object.
  private static func needsJSON(_ endpoint: WireEndpoint) -> Bool {
    switch endpoint {
    case .models, .files, .other, .images, .transcription, .messageBatches: false
    default: true
    }
  }
}

extension WireScratch {
  /// Finds every model that a JSON object names.
  fileprivate func models(in body: ArraySlice<UInt8>, _ path: PathFacts) -> NamedModels {
    walk(body) { walk in
      var found = NamedModels(path: path)
      found.read(whole: &walk)
      return found
    }
  }
}

/// One body's facts under construction.
private struct BodyReading {
  var facts = RequestFacts()
  var wantsEveryModel = false
  private let path: PathFacts
  private var estimate: InputEstimate
  private var cap = OutputCap()
  private var bestOf = 1
  private var candidates = 1
  /// The models in lists of fallbacks, in order.
  private var fallbacks: [String] = []

  init(path: PathFacts) {
    self.path = path
    estimate = InputEstimate(dialect: path.dialect)
    // In a body that we do not understand every `model` counts; in others it may be a word in a conversation.
    estimate.collectsModels = path.endpoint == .other
    facts.model = path.modelInPath
    facts.isStreaming = path.streamInPath || path.endpoint.streamsUnasked
    facts.producesOutput = path.endpoint.producesOutput
  }

  /// Adds a body that we do not understand: it counts as text.
  mutating func addOpaque(_ bytes: Int) {
    facts.estimatedInput = TokenCount(bytes / 4)
  }

  mutating func addForm(_ body: [UInt8], boundary: String, _ scratch: WireScratch) {
    let form = FormData.read(body, boundary: boundary)
    for model in form.models { take(model: model) }
    if form.mayHideFields { facts.mayNameMore = true }
    if wantsEveryModel {
      for model in form.modelsByOtherNames { facts.addOther(model) }
      for object in form.objects { facts.note(scratch.models(in: object, path)) }
    }
    if path.endpoint == .files, let file = form.lines { addLines(of: file, scratch) }
    facts.isStreaming = form.stream || path.streamInPath
    facts.choices = form.choices
    // Files count by the rule for files, never as text.
    facts.estimatedInput =
      TokenCount((form.textBytes + 3) / 4) + (form.fileBytes > 0 ? max(100, TokenCount(form.fileBytes / 1000)) : 0)
  }

  /// Adds a batch's input: each line is a call with its model in `body` (or `params`).
  private mutating func addLines(of file: ArraySlice<UInt8>, _ scratch: WireScratch) {
    for line in file.split(separator: 0x0A) where !line.allSatisfy({ $0 == 0x20 || $0 == 0x09 || $0 == 0x0D }) {
      let isRead = scratch.walk(line) { walk -> Bool in
        while true {
          switch walk.next() {
          case .end: return true
          case .error: return false
          case .string
          where walk.key == TG_KEY_model && walk.depth == 2
            && (walk.parent == TG_KEY_body || walk.parent == TG_KEY_params):
            take(modelIn: walk)
          default: continue
          }
        }
      }
      if !isRead {
        facts.mayNameMore = true
        return
      }
      guard wantsEveryModel else { continue }
      facts.note(
        scratch.walk(line) { walk in
          var found = NamedModels(path: path)
          found.read(line: &walk)
          return found
        })
    }
  }

  /// Notes a model that the body names.
  private mutating func take(model name: String) {
    // Google's names have a prefix with their kind.
    let name = path.dialect == .gemini && name.hasPrefix("models/") ? String(name.dropFirst("models/".count)) : name
    if path.modelInPath == nil { facts.setModel(name) } else { facts.addOther(name) }
  }

  private mutating func take(modelIn walk: JSONWalk) {
    if walk.end - walk.start > RequestFacts.longestModel { facts.mayNameMore = true }
    take(model: walk.string(limit: RequestFacts.longestModel))
  }

  /// The text that asks for usage, as the first member of an object.
  private static let usageOption = Array("\"stream_options\":{\"include_usage\":true},".utf8)

  /// Walks over the whole body; returns what is wrong with it, or nil.
  mutating func addJSON(_ walk: inout JSONWalk) -> (reason: String, position: Int)? {
    guard walk.next() == .objectBegin else {
      return walk.kind == .error ? walk.fault : ("expected a JSON object", walk.start)
    }
    let open = walk.start
    var splice: UsageSplice? = UsageSplice(
      offset: open + 1, removedBytes: 0, inserted: Self.usageOption)
    members: while true {
      switch walk.next() {
      case .error: return walk.fault
      case .end: break members
      case .objectEnd: continue
      default: member(&walk, &splice)
      }
    }
    finish(splice)
    return nil
  }

  private mutating func member(_ walk: inout JSONWalk, _ splice: inout UsageSplice?) {
    switch walk.key {
    case TG_KEY_messages, TG_KEY_input, TG_KEY_contents, TG_KEY_prompt: estimate.part = .conversation
    case TG_KEY_tools, TG_KEY_functions, TG_KEY_system, TG_KEY_instructions, TG_KEY_systemInstruction,
      TG_KEY_system_instruction:
      estimate.part = .instructions
    default: estimate.part = .none
    }
    switch walk.key {
    case TG_KEY_model:
      guard walk.kind == .string else {
        facts.mayNameMore = true
        return estimate.add(&walk)
      }
      take(modelIn: walk)
    case TG_KEY_models, TG_KEY_fallbacks: others(&walk)
    case TG_KEY_stream:
      facts.isStreaming = walk.kind == .isTrue || path.streamInPath
      skipContainer(&walk)
    case TG_KEY_stream_options: streamOptions(&walk, &splice)
    case TG_KEY_max_completion_tokens, TG_KEY_max_output_tokens, TG_KEY_max_tokens, TG_KEY_n_predict,
      TG_KEY_max_new_tokens:
      cap.take(walk, at: path.endpoint)
      skipContainer(&walk)
    case TG_KEY_n: facts.choices = answers(&walk)
    case TG_KEY_best_of: bestOf = answers(&walk)
    case TG_KEY_generationConfig, TG_KEY_generation_config: generationConfig(&walk)
    case TG_KEY_options where path.dialect == .ollama: ollamaOptions(&walk)
    case TG_KEY_service_tier, TG_KEY_serviceTier:
      if walk.kind == .string { facts.serviceTier = walk.string(limit: 64) } else { skipContainer(&walk) }
    case TG_KEY_prompt_cache_key: hint(&walk, over: true)
    case TG_KEY_user, TG_KEY_safety_identifier: hint(&walk, over: false)
    case TG_KEY_metadata: metadata(&walk)
    case TG_KEY_previous_response_id, TG_KEY_conversation:
      if walk.kind != .null { facts.hasInputElsewhere = true }
      skipContainer(&walk)
    case TG_KEY_background:
      facts.isBackground = walk.kind == .isTrue
      skipContainer(&walk)
    case TG_KEY_prompt:
      if path.endpoint == .responses, walk.kind == .objectBegin { facts.hasInputElsewhere = true }
      estimate.add(&walk)
    case TG_KEY_tools, TG_KEY_functions:
      let isList = walk.kind == .arrayBegin
      estimate.addStructure(&walk)
      if isList, walk.kind == .arrayEnd, walk.count > 0 { facts.hasTools = true }
    case TG_KEY_response_format, TG_KEY_output_config, TG_KEY_tool_choice:
      estimate.addStructure(&walk)
    case TG_KEY_text where walk.kind == .objectBegin:
      estimate.addStructure(&walk)
    case TG_KEY_requests where path.endpoint == .messageBatches:
      batches(&walk)
    case TG_KEY_OTHER where walk.isKey(ignoringCase: "model"):
      // For most servers this is another name, for some the same.
      facts.mayNameMore = walk.kind != .string || facts.mayNameMore
      if walk.kind == .string { facts.addOther(walk.string(limit: RequestFacts.longestModel)) }
      estimate.add(&walk)
    default: estimate.add(&walk)
    }
  }

  /// Reads the models for the case that the first one cannot answer: names, or objects that contain one.
  private mutating func others(_ walk: inout JSONWalk) {
    guard walk.kind == .arrayBegin else { return estimate.add(&walk) }
    let depth = walk.depth
    while true {
      switch walk.next() {
      case .end, .error: return
      case .arrayEnd where walk.depth == depth: return
      // Elements without a name: of this list, or of a list for one model.
      case .string where walk.key == TG_KEY_NONE || walk.key == TG_KEY_model:
        guard fallbacks.count < RequestFacts.mostModels, walk.end - walk.start <= RequestFacts.longestModel else {
          facts.mayNameMore = true
          continue
        }
        fallbacks.append(walk.string(limit: RequestFacts.longestModel))
      default: continue
      }
    }
  }

  private mutating func finish(_ splice: UsageSplice?) {
    // Where no model is named, the first of the list is used.
    if facts.model == nil, let first = fallbacks.first { facts.model = first }
    for name in fallbacks { facts.addOther(name) }
    for name in estimate.takeModels() {
      if let name { facts.addOther(name) } else { facts.mayNameMore = true }
    }
    if let model = facts.model { facts.otherModels.removeAll { $0 == model } }
    facts.choices = max(facts.choices, bestOf, candidates)
    if facts.producesOutput, let cap = cap.largest {
      facts.outputCap = cap.multiplied(by: Int64(facts.choices))
    }
    facts.estimatedInput = estimate.tokens
    facts.cacheLife = estimate.cacheLife
    facts.print = estimate.print
    let canAsk = path.endpoint == .chatCompletions || path.endpoint == .completions
    if canAsk, facts.isStreaming, !facts.asksForUsage { facts.usageSplice = splice }
  }

  private func skipContainer(_ walk: inout JSONWalk) {
    if walk.kind == .objectBegin || walk.kind == .arrayBegin { walk.skipChecked() }
  }

  /// The number of answers that a member asks for, 1...1024.
  private func answers(_ walk: inout JSONWalk) -> Int {
    guard walk.kind == .number else {
      skipContainer(&walk)
      return 1
    }
    return Int(min(max(walk.tokenCount, 1), 1024))
  }

  private mutating func hint(_ walk: inout JSONWalk, over: Bool) {
    guard walk.kind == .string else { return skipContainer(&walk) }
    if over || facts.sessionHint == nil { facts.sessionHint = walk.string(limit: 256) }
  }

  private mutating func metadata(_ walk: inout JSONWalk) {
    guard walk.kind == .objectBegin else { return skipContainer(&walk) }
    let depth = walk.depth
    while true {
      switch walk.next() {
      case .end, .error: return
      case .objectEnd where walk.depth == depth: return
      case .string where walk.key == TG_KEY_user_id && walk.depth == depth + 1:
        if facts.sessionHint == nil { facts.sessionHint = walk.string(limit: 256) }
      default: continue
      }
    }
  }

  /// Reads Ollama's `options`, which have the cap of the output.
  private mutating func ollamaOptions(_ walk: inout JSONWalk) {
    guard walk.kind == .objectBegin else { return skipContainer(&walk) }
    let depth = walk.depth
    while true {
      switch walk.next() {
      case .end, .error: return
      case .objectEnd where walk.depth == depth: return
      case .objectBegin, .arrayBegin: walk.skipChecked()
      default: if walk.key == TG_KEY_num_predict { cap.take(walk, at: path.endpoint) }
      }
    }
  }

  private mutating func generationConfig(_ walk: inout JSONWalk) {
    guard walk.kind == .objectBegin else { return skipContainer(&walk) }
    let depth = walk.depth
    while true {
      switch walk.next() {
      case .end, .error: return
      case .objectEnd where walk.depth == depth: return
      case .number where walk.depth == depth + 1 && walk.key == TG_KEY_candidateCount:
        candidates = Int(min(max(walk.tokenCount, 1), 1024))
      case .number, .string, .null, .isTrue, .isFalse:
        if walk.depth == depth + 1 { cap.take(configured: walk, at: path.endpoint) }
      // A schema for the answer counts like that of a tool.
      case .objectBegin, .arrayBegin: estimate.addStructure(&walk)
      default: continue
      }
    }
  }

  /// Reads the requests of a batch: its model is that of the first request; the others' models are noted too.
  private mutating func batches(_ walk: inout JSONWalk) {
    let depth = walk.depth
    guard walk.kind == .arrayBegin else { return skipContainer(&walk) }
    while true {
      switch walk.next() {
      case .end, .error: return
      case .arrayEnd where walk.depth == depth: return
      case .string where walk.key == TG_KEY_model && walk.parent == TG_KEY_params:
        if walk.end - walk.start > RequestFacts.longestModel { facts.mayNameMore = true }
        let name = walk.string(limit: RequestFacts.longestModel)
        if facts.model == nil { facts.model = name } else { facts.addOther(name) }
      case .number, .isTrue, .isFalse, .null:
        if walk.key == TG_KEY_model { facts.mayNameMore = true }
      case .objectBegin where walk.key == TG_KEY_params: continue
      case .arrayBegin where walk.key == TG_KEY_tools: estimate.addStructure(&walk)
      case .objectBegin where walk.key == TG_KEY_model, .arrayBegin where walk.key == TG_KEY_model:
        facts.mayNameMore = true
        walk.skipChecked()
      case .objectBegin where walk.depth == depth + 1: continue
      case .objectBegin, .arrayBegin, .string: estimate.add(&walk)
      default: continue
      }
    }
  }

  /// Finds the place where `include_usage` is or should be. A value of an unexpected type is left for the provider to
  /// refuse.
  private mutating func streamOptions(_ walk: inout JSONWalk, _ splice: inout UsageSplice?) {
    facts.asksForUsage = false
    switch walk.kind {
    case .null:
      splice = UsageSplice(
        offset: walk.start, removedBytes: walk.end - walk.start, inserted: Array("{\"include_usage\":true}".utf8))
    case .objectBegin:
      let depth = walk.depth
      let open = walk.start
      var found = false
      splice = nil
      while true {
        switch walk.next() {
        case .end, .error: return
        case .objectEnd where walk.depth == depth:
          if !found {
            splice = UsageSplice(
              offset: open + 1, removedBytes: 0,
              inserted: Array((walk.count == 0 ? "\"include_usage\":true" : "\"include_usage\":true,").utf8))
          }
          return
        case .isTrue where walk.key == TG_KEY_include_usage && walk.depth == depth + 1:
          found = true
          facts.asksForUsage = true
          splice = nil
        case .isFalse where walk.key == TG_KEY_include_usage && walk.depth == depth + 1,
          .null where walk.key == TG_KEY_include_usage && walk.depth == depth + 1:
          found = true
          facts.asksForUsage = false
          splice = UsageSplice(
            offset: walk.start, removedBytes: walk.end - walk.start, inserted: Array("true".utf8))
        case .string where walk.key == TG_KEY_include_usage && walk.depth == depth + 1,
          .number where walk.key == TG_KEY_include_usage && walk.depth == depth + 1:
          found = true
          splice = nil
        default: continue
        }
      }
    default:
      splice = nil
      skipContainer(&walk)
    }
  }
}
