// Reads one JSON object of an answer, the data of a stream's frame or a whole body, whatever vendor it comes from: the
// members tell.
import AdmissionCore
import CSimdjson

/// What is known of an answer so far.
struct AnswerReading {
  private(set) var usage = UsageReading()
  private(set) var serviceTier: String?
  private(set) var model: String?
  /// Bytes of generated text.
  private(set) var outputBytes = 0
  /// The same when the provider last named a count of output: what came since, that count does not know.
  private var bytesAtCount = 0
  private(set) var sawTerminalEvent = false
  /// The event after which nothing of the answer comes: stricter than `sawTerminalEvent`, which one choice's finish sets.
  private(set) var sawEndMark = false
  private(set) var inStreamError: InStreamError?

  /// What the last object was, for the decision whether its frame is the one that only we asked for.
  private(set) var lastChoices: Int?
  private(set) var lastHadUsage = false
  /// It said something in a `message` of its own, as flat errors do.
  private(set) var lastHadMessage = false
  /// A usage object ended before its end.
  private var usageIsCut = false

  /// True until the first object was read.
  private(set) var isUntouched = true
  private let endpoint: WireEndpoint
  /// Frames of a stream count their text as they come; a whole body only needs it where it says nothing of usage.
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
    // A free call's answer counts tokens that nobody charges.
    if endpoint.isFree { usage.makeFree() }
    return walk.kind != .error
  }

  /// Takes what the beginning of an object says of the whole answer, where the rest is not kept; of a usage that is not whole nothing.
  mutating func readFront(_ walk: inout JSONWalk, isWholeBody: Bool) {
    var front = self
    _ = front.read(&walk)
    if !front.usageIsCut { usage = front.usage }
    model = front.model
    serviceTier = front.serviceTier
    if isWholeBody { inStreamError = front.inStreamError }
  }

  /// An error that the object's own members do not tell, but the name of its event or its `object`.
  mutating func note(_ error: InStreamError) {
    if inStreamError == nil { inStreamError = error }
  }

  /// Takes over the count of text that another reading made.
  mutating func takeText(of other: AnswerReading) { outputBytes = other.outputBytes }

  /// Generated text that came after the provider's last count of output.
  var uncountedBytes: Int { max(0, outputBytes - bytesAtCount) }

  /// `[DONE]` came.
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

  /// The members of an answer, or of an event, that mean something here.
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
  /// The members of a choice that mean something, at any depth.
  private static let choiceNames = JSONNames([
    TG_KEY_finish_reason, TG_KEY_error, TG_KEY_message, TG_KEY_delta, TG_KEY_tool_calls, TG_KEY_function, TG_KEY_text,
    TG_KEY_content,
    TG_KEY_reasoning_content, TG_KEY_reasoning, TG_KEY_refusal, TG_KEY_arguments, TG_KEY_thinking, TG_KEY_name,
    TG_KEY_input,
    TG_KEY_parts, TG_KEY_code, TG_KEY_usage,
  ])

  /// The event types that mean something here; all others pass.
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

  /// Every chunk repeats it: read once.
  private mutating func noteModel(_ walk: inout JSONWalk) {
    guard walk.kind == .string else { return skip(&walk) }
    if model == nil { model = walk.string(limit: 256) }
  }

  /// Every chunk repeats it, and a later one may differ.
  private mutating func noteTier(_ walk: inout JSONWalk) {
    guard walk.kind == .string else { return skip(&walk) }
    if let serviceTier, walk.isString(serviceTier) { return }
    serviceTier = walk.string(limit: 64)
  }

  private mutating func eventType(_ walk: JSONWalk) -> EventType {
    // One byte tells most events from the few that matter.
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

  /// `response`, `message`, `x_groq`: the same members, one level down.
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

  /// Generated content of any vendor: the strings under names that carry text count.
  private mutating func generated(_ walk: inout JSONWalk) {
    if walk.kind == .string {
      // Responses: `response.output_text.delta` and its kin carry the text itself.
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

  /// A tool call's arguments given as an object.
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

  /// Some name an `error` in every answer: one that says nothing is none.
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
