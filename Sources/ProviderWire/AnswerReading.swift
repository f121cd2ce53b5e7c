// Reads one JSON object of an answer (the data of a stream's frame, or a whole body) of any vendor, by its members.
import AdmissionCore
import CSimdjson

/// What has been read of an answer so far.
struct AnswerReading {
  private(set) var usage = UsageReading()
  private(set) var serviceTier: String?
  private(set) var model: String?
  /// Bytes of generated text.
  private(set) var outputBytes = 0
  /// The value of `outputBytes` when the provider last gave a count of output; later text is not in that count.
  private var bytesAtCount = 0
  private(set) var sawTerminalEvent = false
  /// True after the event that ends the answer; stricter than `sawTerminalEvent`, which is set when one choice
  /// finishes.
  private(set) var sawEndMark = false
  private(set) var inStreamError: InStreamError?

  /// Facts of the last object, which decide whether its frame is the usage frame that only we asked for.
  private(set) var lastChoices: Int?
  private(set) var lastHadUsage = false
  /// True where the last object had a `message` of its own, as flat errors do.
  private(set) var lastHadMessage = false
  /// True where a usage object was cut off.
  private var usageIsCut = false

  /// True until the first object was read.
  private(set) var isUntouched = true
  private let endpoint: WireEndpoint
  /// True where text is counted: in streams always, in whole bodies only where they give no usage.
  private let countsText: Bool

  init(endpoint: WireEndpoint, countsText: Bool) {
    self.endpoint = endpoint
    self.countsText = countsText
  }

  /// Reads one object, or each object of an array. False where the text is not valid JSON.
  mutating func read(_ walk: inout JSONWalk) -> Bool {
    isUntouched = false
    lastChoices = nil
    lastHadUsage = false
    lastHadMessage = false
    switch walk.next() {
    case .objectBegin: object(&walk)
    case .arrayBegin:
      while walk.next() == .objectBegin { object(&walk) }
    case .end, .error: return false
    default: break
    }
    // The tokens in a free call's answer are not charged.
    if endpoint.isFree { usage.makeFree() }
    return walk.kind != .error
  }

  /// Reads facts of the whole answer from the beginning of an object whose rest is not kept; ignores a usage that is
  /// cut off.
  mutating func readFront(_ walk: inout JSONWalk, isWholeBody: Bool) {
    var front = self
    _ = front.read(&walk)
    if !front.usageIsCut { usage = front.usage }
    model = front.model
    serviceTier = front.serviceTier
    if isWholeBody { inStreamError = front.inStreamError }
  }

  /// Notes an error that is not in the object's members but in the name of its event or its `object`.
  mutating func note(_ error: InStreamError) {
    if inStreamError == nil { inStreamError = error }
  }

  /// Takes over the count of text from another reading.
  mutating func takeText(of other: AnswerReading) { outputBytes = other.outputBytes }

  /// Generated text that came after the provider's last count of output.
  var uncountedBytes: Int { max(0, outputBytes - bytesAtCount) }

  /// Notes `[DONE]`.
  mutating func sawDone() {
    lastChoices = nil
    lastHadUsage = false
    endMark()
  }

  private mutating func endMark() {
    sawTerminalEvent = true
    sawEndMark = true
  }

  private mutating func object(_ walk: inout JSONWalk) {
    let depth = walk.depth
    var type = EventType.other
    while true {
      switch walk.next(of: Self.names) {
      case .end, .error: return
      case .objectEnd where walk.depth == depth:
        if type == .error, inStreamError == nil { inStreamError = InStreamError(type: "error") }
        return
      default: member(&walk, &type)
      }
    }
  }

  /// The members of an answer or event that are read.
  private static let names = JSONNames([
    TG_KEY_type, TG_KEY_usage, TG_KEY_usageMetadata, TG_KEY_usage_metadata, TG_KEY_meta, TG_KEY_model,
    TG_KEY_modelVersion,
    TG_KEY_service_tier, TG_KEY_serviceTier, TG_KEY_error, TG_KEY_message, TG_KEY_code, TG_KEY_response, TG_KEY_x_groq,
    TG_KEY_choices, TG_KEY_candidates, TG_KEY_delta, TG_KEY_content, TG_KEY_output, TG_KEY_text, TG_KEY_stop_reason,
    TG_KEY_done, TG_KEY_completion,
    TG_KEY_prompt_eval_count, TG_KEY_eval_count,
  ])
  private static let wrappedNames = JSONNames([
    TG_KEY_usage, TG_KEY_model, TG_KEY_service_tier, TG_KEY_error, TG_KEY_content,
  ])
  /// The members of a choice that are read, at any depth.
  private static let choiceNames = JSONNames([
    TG_KEY_finish_reason, TG_KEY_error, TG_KEY_message, TG_KEY_delta, TG_KEY_tool_calls, TG_KEY_function, TG_KEY_text,
    TG_KEY_content,
    TG_KEY_reasoning_content, TG_KEY_reasoning, TG_KEY_refusal, TG_KEY_arguments, TG_KEY_thinking, TG_KEY_name,
    TG_KEY_input,
    TG_KEY_parts, TG_KEY_code, TG_KEY_usage,
  ])

  /// The event types that are read; all others are ignored.
  private enum EventType { case error, responseFailed, other }

  private mutating func member(_ walk: inout JSONWalk, _ type: inout EventType) {
    switch walk.key {
    case TG_KEY_type:
      guard walk.kind == .string else { return skip(&walk) }
      type = eventType(walk)
    case TG_KEY_usage, TG_KEY_usageMetadata, TG_KEY_usage_metadata, TG_KEY_meta: readUsage(&walk)
    case TG_KEY_model, TG_KEY_modelVersion:
      noteModel(&walk)
    case TG_KEY_service_tier, TG_KEY_serviceTier: noteTier(&walk)
    case TG_KEY_error: readError(&walk)
    case TG_KEY_message:
      if walk.kind == .string {
        lastHadMessage = true
        if type == .error { note(message: walk.string(limit: 512)) }
      } else {
        wrapped(&walk)
      }
    case TG_KEY_code where type == .error && walk.kind == .string: note(code: walk.string(limit: 128))
    case TG_KEY_response where walk.kind == .string: if countsText { generated(&walk) }
    case TG_KEY_response, TG_KEY_x_groq: wrapped(&walk)
    case TG_KEY_choices: choices(&walk)
    case TG_KEY_candidates, TG_KEY_delta: generated(&walk)
    case TG_KEY_content, TG_KEY_output, TG_KEY_text, TG_KEY_completion:
      if countsText, endpoint != .responses { generated(&walk) } else { skip(&walk) }
    case TG_KEY_stop_reason: if walk.kind == .string { sawTerminalEvent = true } else { skip(&walk) }
    case TG_KEY_done: if walk.kind == .isTrue { sawTerminalEvent = true } else { skip(&walk) }
    case TG_KEY_prompt_eval_count, TG_KEY_eval_count:
      if walk.kind == .number { usage.readTopLevel(walk) } else { skip(&walk) }
    default: skip(&walk)
    }
  }

  private mutating func skip(_ walk: inout JSONWalk) {
    if walk.kind == .objectBegin || walk.kind == .arrayBegin { walk.skip() }
  }

  /// Reads the model, which every chunk repeats, once.
  private mutating func noteModel(_ walk: inout JSONWalk) {
    guard walk.kind == .string else { return skip(&walk) }
    if model == nil { model = walk.string(limit: 256) }
  }

  /// Reads the tier, which every chunk repeats, and which may change in a later one.
  private mutating func noteTier(_ walk: inout JSONWalk) {
    guard walk.kind == .string else { return skip(&walk) }
    if let serviceTier, walk.isString(serviceTier) { return }
    serviceTier = walk.string(limit: 64)
  }

  private mutating func eventType(_ walk: JSONWalk) -> EventType {
    // The length rules most events out.
    switch walk.decodedLength {
    case 5 where walk.isString("error"): return .error
    case 12 where walk.isString("message_stop"): endMark()
    case 11 where walk.isString("message-end"): endMark()
    case 18 where walk.isString("response.completed"): endMark()
    case 19 where walk.isString("response.incomplete"): endMark()
    case 15 where walk.isString("response.failed"):
      endMark()
      return .responseFailed
    case 20 where walk.isString("image_edit.completed"): endMark()
    case 26 where walk.isString("image_generation.completed"): endMark()
    case 17 where walk.isString("speech.audio.done"): endMark()
    case 20 where walk.isString("transcript.text.done"): endMark()
    default: break
    }
    return .other
  }

  private mutating func readUsage(_ walk: inout JSONWalk) {
    guard walk.kind == .objectBegin else { return skip(&walk) }
    lastHadUsage = true
    let counts = usage.outputWords
    usage.read(&walk)
    if walk.kind != .objectEnd { usageIsCut = true }
    if usage.outputWords > counts { bytesAtCount = outputBytes }
    if let tier = usage.serviceTier { serviceTier = tier }
  }

  /// Reads `response`, `message` or `x_groq`, which hold the same members one level down.
  private mutating func wrapped(_ walk: inout JSONWalk) {
    guard walk.kind == .objectBegin else { return skip(&walk) }
    let depth = walk.depth
    let isResponse = walk.key == TG_KEY_response
    while true {
      switch walk.next(of: Self.wrappedNames) {
      case .end, .error: return
      case .objectEnd where walk.depth == depth: return
      default: break
      }
      switch walk.key {
      case TG_KEY_usage: readUsage(&walk)
      case TG_KEY_model: noteModel(&walk)
      case TG_KEY_service_tier: noteTier(&walk)
      case TG_KEY_error where isResponse || walk.kind == .string: readError(&walk)
      case TG_KEY_content where !isResponse && countsText: generated(&walk)
      default: skip(&walk)
      }
    }
  }

  private mutating func choices(_ walk: inout JSONWalk) {
    guard walk.kind == .arrayBegin else { return skip(&walk) }
    let depth = walk.depth
    while true {
      switch walk.next(of: Self.choiceNames) {
      case .end, .error: return
      case .arrayEnd where walk.depth == depth:
        lastChoices = walk.count
        return
      case .string:
        if walk.depth == depth + 2, walk.key == TG_KEY_finish_reason { sawTerminalEvent = true } else { addText(walk) }
      case .objectBegin where walk.key == TG_KEY_error && walk.depth == depth + 2: readError(&walk)
      case .objectBegin where walk.key == TG_KEY_usage && walk.depth == depth + 2: readUsage(&walk)
      case .objectBegin where !countsText && walk.key == TG_KEY_message: walk.skip()
      default: continue
      }
    }
  }

  /// Counts generated content of any vendor: the strings under names that carry text.
  private mutating func generated(_ walk: inout JSONWalk) {
    if walk.kind == .string {
      // Responses API: `response.output_text.delta` and similar events carry the text itself.
      outputBytes += walk.decodedLength
      return
    }
    guard walk.kind == .objectBegin || walk.kind == .arrayBegin else { return }
    let depth = walk.depth
    while true {
      switch walk.next() {
      case .end, .error: return
      case .objectEnd, .arrayEnd: if walk.depth == depth { return }
      case .objectBegin where walk.key == TG_KEY_usage: readUsage(&walk)
      case .objectBegin where walk.key == TG_KEY_input || walk.key == TG_KEY_args: structure(&walk)
      case .string:
        switch walk.key {
        case TG_KEY_finishReason, TG_KEY_stop_reason, TG_KEY_finish_reason: sawTerminalEvent = true
        default: addText(walk)
        }
      default: continue
      }
    }
  }

  /// Counts a tool call's arguments that are given as an object.
  private mutating func structure(_ walk: inout JSONWalk) {
    let start = walk.start
    walk.skipChecked()
    outputBytes += max(walk.end - start, 0)
  }

  private mutating func addText(_ walk: JSONWalk) {
    switch walk.key {
    case TG_KEY_text, TG_KEY_content, TG_KEY_reasoning_content, TG_KEY_reasoning, TG_KEY_refusal, TG_KEY_arguments,
      TG_KEY_partial_json, TG_KEY_thinking, TG_KEY_output_text, TG_KEY_name, TG_KEY_input, TG_KEY_NONE:
      outputBytes += walk.decodedLength
    default: break
    }
  }

  private mutating func note(type: String? = nil, code: String? = nil, message: String? = nil) {
    var error = inStreamError ?? InStreamError()
    error.type = type ?? error.type
    error.code = code ?? error.code
    error.message = message ?? error.message
    inStreamError = error
  }

  /// Reads `error`. Some vendors have this member in every answer: an empty one is no error.
  private mutating func readError(_ walk: inout JSONWalk) {
    switch walk.kind {
    case .string: if walk.decodedLength > 0 { note(message: walk.string(limit: 512)) }
    case .isTrue: note()
    case .objectBegin: readErrorMembers(&walk)
    default: skip(&walk)
    }
  }

  private mutating func readErrorMembers(_ walk: inout JSONWalk) {
    let depth = walk.depth
    while true {
      switch walk.next() {
      case .end, .error: return
      case .objectEnd where walk.depth == depth: return
      case .string where walk.decodedLength == 0: continue
      case .string where walk.depth == depth + 1:
        switch walk.key {
        case TG_KEY_type, TG_KEY_status: note(type: walk.string(limit: 128))
        case TG_KEY_code: note(code: walk.string(limit: 128))
        case TG_KEY_message: note(message: walk.string(limit: 512))
        default: note()
        }
      case .string: note()
      case .number where walk.depth == depth + 1 && walk.key == TG_KEY_code:
        let code = String(walk.numberText)
        if code != "0" { note(code: code) }
      default: continue
      }
    }
  }
}
