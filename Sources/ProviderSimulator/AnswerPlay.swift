// Sends a planned answer: frames at their instants, whole answers, refusals, and their faults.
import HTTPMessage

extension ProviderSimulator {
  // MARK: Streams

  /// Makes all frames that are due, and sets the alarm for the next one.
  func produce(_ call: SimulatedCall) {
    guard !call.isEnded, !call.exchange.isClosed, call.wire != nil else { return }
    if call.record.firstByte == 0 {
      var fields: [(name: String, value: String)] = [("content-type", "text/event-stream; charset=utf-8")]
      fields.append(("cache-control", "no-cache"))
      begin(call, status: 200, fields: fields + answerFields(call))
      keepPrompt(call)
      send(call, call.wire?.opening(call.usage) ?? "")
    }
    if call.fault == .hangBody { return }
    let now = time.now
    let half = call.outputLength / 2
    while call.produced < call.outputLength {
      if call.exchange.pendingBytes > Self.pendingLimit {
        call.isStalled = true
        return
      }
      // The frame that begins with token n is due when its last token is made.
      let next = min(call.outputLength, call.produced + call.tokensPerFrame)
      let due = call.firstTokenAt &+ UInt64(Double(next - 1) * call.tokenTime)
      if due > now {
        agenda.schedule(at: due) { [weak self] in self?.produce(call) }
        return
      }
      charge(call, upTo: next)
      send(call, call.wire?.delta(AnswerText.tokens(call.produced..<next, unicode: call.directives.isUnicode)) ?? "")
      call.produced = next
      if call.produced > half, breakOff(call) { return }
      if call.exchange.isClosed { return }
    }
    if call.outputLength == 0, breakOff(call) { return }
    send(call, call.wire?.closing(call.usage, text: call.text, isCapped: call.isCapped) ?? "")
    complete(call)
  }

  /// Performs a fault that happens in the middle of a stream; returns true where the stream is over.
  private func breakOff(_ call: SimulatedCall) -> Bool {
    switch call.fault {
    case .cut: abortSoon(call)
    case .errorFrame:
      send(call, call.wire?.errorFrame() ?? "")
      complete(call, .faulty)
    case .early: complete(call, .faulty)
    default: return false
    }
    return true
  }

  /// Aborts a little later, so that the bytes that were sent reach the client first.
  private func abortSoon(_ call: SimulatedCall) {
    end(call, .faulty)
    agenda.schedule(after: 20_000_000) { if !call.exchange.isClosed { call.exchange.abort() } }
  }

  // MARK: Whole answers

  func answerWhole(_ call: SimulatedCall, _ embedding: String?) {
    guard !call.isEnded, !call.exchange.isClosed else { return }
    charge(call, upTo: call.outputLength)
    if let embedding {
      sendWhole(call, embedding)
    } else if let wire = call.wire {
      sendWhole(call, wire.whole(call.usage, text: call.text, isCapped: call.isCapped))
    }
  }

  func sendWhole(_ call: SimulatedCall, _ json: String) {
    var body = Array(json.utf8)
    if call.fault == .garbage { body = Array("<html>no JSON here".utf8) }
    if call.fault == .empty { body = [] }
    var fields: [(name: String, value: String)] = [("content-type", "application/json")]
    fields += answerFields(call)
    if call.directives.isGzip {
      body = Gzip.encode(body)
      fields.append(("content-encoding", "gzip"))
    }
    if !call.directives.isChunked { fields.append(("content-length", String(body.count))) }
    begin(call, status: 200, fields: fields)
    switch call.fault {
    case .hangBody, .hang: return
    case .cut:
      emit(call, Array(body.prefix(body.count / 2)))
      abortSoon(call)
    default:
      send(call, body)
      complete(call)
    }
  }

  // MARK: Refusals

  /// Refuses a call because of a limit: 429 with what the vendor says about it.
  func refuse(_ call: SimulatedCall, _ refusal: EnforcedRefusal) {
    let seconds = max(1, Int((refusal.wait + 999_999_999) / 1_000_000_000))
    let milliseconds = max(1, (refusal.wait + 999_999) / 1_000_000)
    let body: String
    var extra: [(name: String, value: String)] = [("retry-after", String(seconds))]
    if call.dialect == .anthropic {
      let what =
        switch refusal.dimension {
        case .concurrency: "Number of concurrent connections has exceeded your rate limit of \(refusal.limit)."
        case .requests:
          "This request would exceed your organization's rate limit of \(refusal.limit) requests per minute."
        case .inputTokens:
          "This request would exceed your organization's rate limit of \(refusal.limit) input tokens per minute."
        case .outputTokens:
          "This request would exceed your organization's rate limit of \(refusal.limit) output tokens per minute."
        case .tokens: "This request would exceed your organization's rate limit of \(refusal.limit) tokens per minute."
        }
      body = AnthropicWire.error(type: "rate_limit_error", message: what, requestID: call.requestID)
    } else {
      let unit =
        switch refusal.dimension {
        case .concurrency: "concurrent requests"
        case .requests: "requests per min (RPM)"
        case .inputTokens: "input tokens per min"
        case .outputTokens: "output tokens per min"
        case .tokens: "tokens per min (TPM)"
        }
      let isRequests = refusal.dimension == .requests || refusal.dimension == .concurrency
      let message = """
        Rate limit reached in organization org-simulator on \(unit): Limit \(refusal.limit), Used \(refusal.used), \
        Requested \(refusal.requested). Please try again in \(OpenAIWire.duration(refusal.wait)).
        """
      body = OpenAIWire.error(
        type: isRequests ? "requests" : "tokens", code: "rate_limit_exceeded", message: message)
      extra.append(("retry-after-ms", String(milliseconds)))
    }
    if configuration.telling == .nothing { extra = [] }
    sendError(call, status: 429, extra: extra, body: body, .refused)
  }

  /// Refuses a call because of a fault.
  func refuse(_ call: SimulatedCall, status: Int, fault: Fault) {
    let isAnthropic = call.dialect == .anthropic
    var extra: [(name: String, value: String)] = []
    if fault == .throttled || fault == .earlyThrottled {
      let seconds = call.faultRetryAfter ?? 1
      extra.append(("retry-after", String(seconds)))
      if !isAnthropic { extra.append(("retry-after-ms", String(seconds * 1000))) }
    } else if let seconds = call.faultRetryAfter {
      extra.append(("retry-after", String(seconds)))
    }
    let (type, code, message): (String, String?, String) =
      switch fault {
      case .quotaExhausted:
        isAnthropic
          ? ("rate_limit_error", "enforced_spend_limit_reached", "You have reached your specified API usage limits.")
          : ("insufficient_quota", "insufficient_quota", "You exceeded your current quota, please check your plan.")
      case .throttled, .throttledBare, .earlyThrottled:
        isAnthropic
          ? ("rate_limit_error", nil, "This request would exceed your rate limit.")
          : ("requests", "rate_limit_exceeded", "Rate limit reached.")
      case .badRequest: ("invalid_request_error", nil, "Invalid request, as ordered.")
      case .unauthenticated:
        isAnthropic
          ? ("authentication_error", nil, "invalid x-api-key")
          : ("invalid_request_error", "invalid_api_key", "Incorrect API key provided.")
      case .billing:
        isAnthropic
          ? ("billing_error", nil, "Your credit balance is too low.") : ("billing_error", nil, "Payment required.")
      case .forbidden: ("permission_error", nil, "Your API key has no permission to use this resource.")
      case .missing:
        isAnthropic
          ? ("not_found_error", nil, "Not found")
          : ("invalid_request_error", nil, "Invalid URL (\(call.exchange.head.method) \(call.exchange.head.path))")
      case .unavailable:
        isAnthropic
          ? ("api_error", nil, "Service unavailable")
          : ("service_unavailable_error", "server_is_overloaded", "The server is overloaded or not ready yet.")
      case .overloaded: ("overloaded_error", nil, "Overloaded")
      default:
        isAnthropic ? ("api_error", nil, "Internal server error") : ("server_error", "server_error", "Server error.")
      }
    let body =
      isAnthropic
      ? AnthropicWire.error(type: type, message: message, requestID: call.requestID, code: code)
      : OpenAIWire.error(type: type, code: code, message: message)
    sendError(
      call, status: status, extra: extra, body: body, .faulty,
      withLimits: fault != .throttledBare && fault != .quotaExhausted)
  }

  /// Refuses a malformed request.
  func refuse(_ call: SimulatedCall, status: Int, message: String) {
    let body =
      call.dialect == .anthropic
      ? AnthropicWire.error(type: "invalid_request_error", message: message, requestID: call.requestID)
      : OpenAIWire.error(type: "invalid_request_error", code: nil, message: message)
    sendError(call, status: status, extra: [], body: body, .refused)
  }

  private func sendError(
    _ call: SimulatedCall, status: Int, extra: [(name: String, value: String)], body: String, _ ending: CallEnding,
    withLimits: Bool = true
  ) {
    let bytes = Array(body.utf8)
    var fields: [(name: String, value: String)] = [("content-type", "application/json")]
    fields.append(("content-length", String(bytes.count)))
    begin(call, status: status, fields: fields + extra + answerFields(call, withLimits: withLimits))
    emit(call, bytes)
    complete(call, ending)
  }

  // MARK: Bytes

  /// The fields that the vendor adds to every answer, and those that the request asked for.
  func answerFields(_ call: SimulatedCall, withLimits: Bool = true) -> [(name: String, value: String)] {
    let withLimits = withLimits && configuration.telling == .all
    var fields: [(name: String, value: String)] = []
    if call.dialect == .anthropic {
      fields.append(("request-id", call.requestID))
      fields.append(("anthropic-organization-id", "org-simulator"))
      if withLimits {
        fields += AnthropicWire.limitFields(limits(of: call), at: time.now, wallSeconds: time.wallSeconds)
      }
    } else {
      fields.append(("x-request-id", call.requestID))
      fields.append(("openai-organization", "org-simulator"))
      fields.append(("openai-version", "2020-10-01"))
      fields.append(("openai-processing-ms", String((time.now &- call.record.arrived) / 1_000_000)))
      if withLimits { fields += OpenAIWire.limitFields(limits(of: call), at: time.now) }
    }
    return fields + call.directives.fields
  }

  func begin(_ call: SimulatedCall, status: Int, fields: [(name: String, value: String)]) {
    call.record.status = status
    call.record.firstByte = time.now
    statistics.answered[status, default: 0] += 1
    call.exchange.respond(ResponseHead(status: status, fields: HeaderFields(fields)))
  }

  private func send(_ call: SimulatedCall, _ text: String) { send(call, Array(text.utf8)) }

  /// Sends the bytes, or keeps them for slow sending with the fault `slow`.
  private func send(_ call: SimulatedCall, _ bytes: [UInt8]) {
    guard call.fault == .slow else {
      emit(call, bytes)
      return
    }
    call.backlog += bytes
  }

  func emit(_ call: SimulatedCall, _ bytes: [UInt8]) {
    guard !bytes.isEmpty, !call.exchange.isClosed else { return }
    statistics.bytesSent += bytes.count
    call.exchange.send(bytes[...])
  }

  /// Ends the answer; the permit is free before the client can know that.
  func complete(_ call: SimulatedCall, _ ending: CallEnding = .answered) {
    if call.fault == .slow, !call.backlog.isEmpty {
      dribble(call)
      return
    }
    end(call, ending)
    if !call.exchange.isClosed { call.exchange.finish(trailers: nil) }
  }

  private func dribble(_ call: SimulatedCall) {
    guard !call.isEnded, !call.exchange.isClosed else { return }
    let next = min(call.backlog.count, call.backlogAt + 8)
    emit(call, Array(call.backlog[call.backlogAt..<next]))
    call.backlogAt = next
    if next == call.backlog.count {
      call.backlog = []
      complete(call)
    } else {
      agenda.schedule(after: 5_000_000) { [weak self] in self?.dribble(call) }
    }
  }
}
