// A provider without a model that enforces what real vendors enforce: it takes calls as an `HTTPHandler`, refuses what
// a vendor would refuse, answers in the vendor's form at a set pace, produces faults on demand, and counts. It runs on
// one thread with one alarm for all calls, and gives the same answers for the same seed and the same requests.
import HTTPMessage

public final class ProviderSimulator: HTTPHandler {
  public let configuration: SimulatorConfiguration
  let time: any SimulatorTime
  let agenda: Agenda
  var statistics: SimulatorStatistics
  var faults = FaultSchedule()
  private var limits: [String: EnforcedLimits] = [:]
  private var cache: PromptCache
  private var lastNumber: UInt64 = 0
  private let models = ["sim-large", "sim-small", "sim-embedding"]

  public init(_ configuration: SimulatorConfiguration, time: any SimulatorTime) {
    self.configuration = configuration
    self.time = time
    agenda = Agenda(time)
    cache = Self.emptyCache(configuration)
    statistics = SimulatorStatistics(since: time.now)
  }

  /// The counts as `GET /sim/stats` gives them.
  public var statisticsJSON: String {
    statistics.json(
      limits: limits.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }, cacheEntries: cache.count, at: time.now)
  }

  /// Resets the counts, fills the buckets, and removes all faults and the cache. Running calls go on and keep their
  /// permits.
  func reset() {
    let running = statistics.inFlight
    statistics = SimulatorStatistics(since: time.now)
    statistics.inFlight = running
    statistics.peak = running
    faults.clear()
    cache = Self.emptyCache(configuration)
    for key in limits.keys { limits[key]?.refill(configuration, now: time.now) }
  }

  // MARK: HTTPHandler

  public func exchangeBegan(_ exchange: any HTTPExchange) {
    guard exchange.head.fields.first("x-sim-fault") == Fault.earlyThrottled.rawValue else { return }
    serve(exchange)
  }

  public func exchangeReady(_ exchange: any HTTPExchange) {
    guard exchange.context == nil else { return }
    if exchange.head.path.hasPrefix("/sim/") { control(exchange) } else { serve(exchange) }
  }

  public func exchangeDrained(_ exchange: any HTTPExchange) {
    guard let call = exchange.context as? SimulatedCall, call.isStalled else { return }
    call.isStalled = false
    if call.fillerLeft > 0 { fill(call) } else { produce(call) }
  }

  public func exchangeEnded(_ exchange: any HTTPExchange, _ ending: ExchangeEnding) {
    guard let call = exchange.context as? SimulatedCall else { return }
    exchange.context = nil
    guard !call.isEnded else { return }
    settleUnstreamed(call)
    end(call, ending == .clientLeft ? (call.record.firstByte == 0 ? .leftWaiting : .leftReading) : .faulty)
  }

  public func refusal(
    _ refusal: RequestRefusal, target: String?
  ) -> (fields: [(name: String, value: String)], body: [UInt8]) {
    let text =
      switch refusal {
      case .malformed(let text), .timedOut(let text), .headTooLarge(let text), .unsupported(let text),
        .overloaded(let text):
        text
      case .bodyTooLarge(let limit): "request exceeds \(limit) bytes"
      }
    let isAnthropic = target?.hasPrefix("/v1/messages") ?? false
    let body =
      isAnthropic
      ? AnthropicWire.error(
        type: refusal.status == 413 ? "request_too_large" : "invalid_request_error", message: text, requestID: "req_sim"
      )
      : OpenAIWire.error(type: "invalid_request_error", code: nil, message: text)
    return ([("content-type", "application/json")], Array(body.utf8))
  }

  // MARK: One call

  private func serve(_ exchange: any HTTPExchange) {
    lastNumber += 1
    let head = exchange.head
    let endpoint = SimulatedEndpoint(method: head.method, path: head.path)
    let isAnthropic = head.path.hasPrefix("/v1/messages") || head.fields.contains("anthropic-version")
    let isCoded = head.fields.contains("content-encoding")
    let reading = endpoint.needsBody && !isCoded ? SimulatedRequest(exchange.body) : codedReading(exchange)
    let directives = Directives(head.fields, model: reading?.model)
    let key = Self.key(of: head.fields)
    let call = SimulatedCall(
      exchange: exchange, number: lastNumber, key: key, endpoint: endpoint,
      dialect: isAnthropic ? .anthropic : .openAI, directives: directives,
      record: CallRecord(
        number: lastNumber, id: directives.id, key: key, path: String(head.path), arrived: time.now))
    exchange.context = call
    statistics.calls += 1
    statistics.callsByKey[statistics.callsByKey.count < 1000 ? key : "other", default: 0] += 1
    if let count = head.fields.first("x-stainless-retry-count"), count != "0" { statistics.clientRetries += 1 }

    guard configuration.keys.isEmpty || configuration.keys.contains(key) else {
      statistics.unauthenticated += 1
      refuse(call, status: 401, fault: .unauthenticated)
      return
    }
    if let entry = faults.fault(for: directives, key: key, model: reading?.model, path: head.path, at: time.now) {
      call.fault = entry.fault
      call.faultRetryAfter = entry.retryAfter
      statistics.faults[entry.fault.rawValue, default: 0] += 1
      if let status = entry.fault.status {
        refuse(call, status: status, fault: entry.fault)
        return
      }
      if entry.fault == .reset {
        end(call, .faulty)
        exchange.abort()
        return
      }
    }
    answer(call, reading)
  }

  /// A compressed body is not decompressed: it counts as text without a model.
  private func codedReading(_ exchange: any HTTPExchange) -> SimulatedRequest? {
    var reading = SimulatedRequest()
    reading.model = "unknown"
    reading.textBytes = exchange.body.count
    reading.characters = exchange.body.count
    reading.hasMessages = true
    reading.outputCap = 1_000_000
    return reading
  }

  private static func key(of fields: HeaderFields) -> String {
    if let key = fields.first("x-api-key") ?? fields.first("api-key") { return key }
    guard let value = fields.first("authorization") else { return "" }
    return value.lowercased().hasPrefix("bearer ") ? String(value.dropFirst(7)) : value
  }

  private func answer(_ call: SimulatedCall, _ reading: SimulatedRequest?) {
    if call.directives.isRaw {
      if admit(call, EnforcedDemand()) { answerRaw(call) }
      return
    }
    switch call.endpoint {
    case .models:
      let isAnthropic = call.dialect == .anthropic
      sendWhole(call, isAnthropic ? AnthropicWire.models(models) : OpenAIWire.models(models))
    case .model(let id):
      sendWhole(call, call.dialect == .anthropic ? AnthropicWire.model(id) : OpenAIWire.model(id))
    case .other:
      refuse(call, status: 404, fault: .missing)
    default:
      guard call.exchange.head.method == "POST" else {
        refuse(call, status: 405, message: "Method not allowed; use POST.")
        return
      }
      guard let reading else {
        refuse(call, status: 400, message: "We could not parse the JSON body of your request.")
        return
      }
      if let problem = problem(with: reading, call) {
        refuse(call, status: 400, message: problem)
        return
      }
      var marked = reading
      if call.dialect == .anthropic, let problem = marked.placeMarks() {
        refuse(call, status: 400, message: problem)
        return
      }
      plan(call, marked)
    }
  }

  private func problem(with reading: SimulatedRequest, _ call: SimulatedCall) -> String? {
    guard reading.model != nil else { return "you must provide a model parameter" }
    switch call.endpoint {
    case .chat where !reading.hasMessages: return "Missing required parameter: 'messages'."
    case .messages, .countTokens:
      if !call.exchange.head.fields.contains("anthropic-version") { return "anthropic-version: header is required" }
      if !reading.hasMessages { return "messages: Field required" }
      if call.endpoint == .messages, reading.outputCap == nil { return "max_tokens: Field required" }
    default: break
    }
    return nil
  }

  /// Decides length and pace of the answer, checks the limits, and schedules the first step.
  private func plan(_ call: SimulatedCall, _ reading: SimulatedRequest) {
    let model = reading.model ?? ""
    let input = reading.inputTokens(ratio: configuration.tokenRatio)
    call.usage.input = input
    if call.endpoint == .countTokens {
      sendWhole(call, "{\"input_tokens\":\(input)}")
      return
    }
    readCache(call, reading)
    call.choices = reading.choices
    var length = call.endpoint == .embeddings ? 0 : call.directives.outputTokens ?? chosenLength(call)
    if let cap = reading.outputCap, cap < length {
      length = max(0, cap)
      call.isCapped = true
    }
    call.outputLength = length
    let uncached = call.usage.input - call.usage.cacheRead
    let isAnthropic = call.dialect == .anthropic
    let demand = EnforcedDemand(
      input: isAnthropic ? uncached : input,
      tokens: isAnthropic ? uncached : max(reading.outputCap ?? 0, reading.characterTokens),
      producesOutput: length > 0)
    guard admit(call, demand) else { return }
    statistics.usage.input += call.usage.input
    statistics.usage.cacheRead += call.usage.cacheRead
    statistics.usage.cacheWrite += call.usage.cacheWrite
    statistics.usage.cacheWriteHour += call.usage.cacheWriteHour
    cache.use(call.caching, startedAt: call.record.arrived)
    if call.fault == .hang { return }

    let facts = AnswerFacts(
      number: call.number, model: model, created: Int(time.wallSeconds), includesUsage: reading.includesUsage,
      choices: reading.choices, outputCap: reading.outputCap)
    switch call.endpoint {
    case .chat: call.wire = ChatWire(facts)
    case .completions: call.wire = CompletionWire(facts)
    case .responses: call.wire = ResponsesWire(facts)
    case .messages: call.wire = MessagesWire(facts)
    default: break
    }
    call.isStream = reading.isStream && call.wire != nil
    let rate = call.directives.tokensPerSecond ?? configuration.tokensPerSecond
    call.tokenTime = rate > 0 ? 1e9 / rate : 0
    call.tokensPerFrame =
      call.directives.tokensPerFrame ?? (rate > 0 ? max(1, Int(rate / 50)) : max(1, call.outputLength / 32))
    let wait = call.directives.firstTokenMilliseconds.map { UInt64($0) * 1_000_000 }
    call.firstTokenAt = time.now &+ (wait ?? Self.nanoseconds(configuration.firstToken))
    let embedding = call.wire == nil ? OpenAIWire.embeddings(reading, model: model, tokens: input) : nil
    if call.isStream {
      agenda.schedule(at: call.firstTokenAt) { [weak self] in self?.produce(call) }
    } else {
      if call.caching.makesEntries { agenda.schedule(at: call.firstTokenAt) { [weak self] in self?.keepPrompt(call) } }
      let done = call.firstTokenAt &+ UInt64(Double(call.outputLength) * call.tokenTime)
      agenda.schedule(at: done) { [weak self] in self?.answerWhole(call, embedding) }
    }
  }

  // MARK: The prompt cache

  private static func emptyCache(_ configuration: SimulatorConfiguration) -> PromptCache {
    PromptCache(life: nanoseconds(configuration.cacheLife), minimum: configuration.cacheMinimum)
  }

  private func readCache(_ call: SimulatedCall, _ reading: SimulatedRequest) {
    guard call.endpoint != .embeddings else { return }
    let isAnthropic = call.dialect == .anthropic
    defer {
      call.record.input = call.usage.input
      call.record.cacheRead = call.usage.cacheRead
    }
    guard call.usage.input >= configuration.cacheMinimum,
      !isAnthropic || reading.blocks.contains(where: { $0.life != nil })
    else { return }
    let organisation = configuration.promptCache == .shared ? "" : call.key
    let prefixes = PromptPrefixes(
      reading, body: call.exchange.body, ratio: configuration.tokenRatio,
      scope: [
        isAnthropic ? "anthropic" : "openai", organisation, reading.model ?? "",
        isAnthropic ? "" : reading.cacheKey ?? "",
      ])
    call.caching =
      isAnthropic
      ? cache.marked(prefixes.blocks(), at: time.now)
      : cache.unmarked(prefixes.steps(of: PromptCache.step, from: configuration.cacheMinimum), at: time.now)
    call.usage.cacheRead = call.caching.read
    call.usage.cacheWrite = call.caching.written
    call.usage.cacheWriteHour = call.caching.writtenForHour
  }

  /// The answer begins: from now on others read what this call has sent.
  func keepPrompt(_ call: SimulatedCall) {
    guard !call.isEnded else { return }
    cache.add(call.caching, startedAt: call.record.arrived, at: time.now)
  }

  /// Chosen by seed and body, so that the same request gets the same answer in every run.
  private func chosenLength(_ call: SimulatedCall) -> Int {
    var hash = configuration.seed &+ 0x9E37_79B9_7F4A_7C15
    let body = call.exchange.body
    for byte in body.prefix(4096) { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
    hash = (hash ^ UInt64(body.count)) &* 0xFF51_AFD7_ED55_8CCD
    hash ^= hash >> 33
    let range = configuration.outputTokens
    return range.lowerBound + Int(hash % UInt64(range.count))
  }

  static func nanoseconds(_ duration: Duration) -> UInt64 {
    let (seconds, attoseconds) = duration.components
    return seconds < 0 ? 0 : UInt64(seconds) * 1_000_000_000 + UInt64(max(0, attoseconds) / 1_000_000_000)
  }

  // MARK: Limits

  func limits(of call: SimulatedCall) -> EnforcedLimits {
    limits[quotaKey(call)] ?? EnforcedLimits(configuration, now: time.now)
  }

  private func quotaKey(_ call: SimulatedCall) -> String { configuration.quota == .shared ? "" : call.key }

  /// True where the call may go on; otherwise it was answered.
  private func admit(_ call: SimulatedCall, _ demand: EnforcedDemand) -> Bool {
    let name = quotaKey(call)
    var book = limits[name] ?? EnforcedLimits(configuration, now: time.now)
    let refusal = book.admit(demand, at: time.now)
    limits[name] = book
    guard let refusal else {
      call.holdsPermit = true
      statistics.inFlight += 1
      statistics.peak = max(statistics.peak, statistics.inFlight)
      return true
    }
    statistics.refused[refusal.dimension, default: 0] += 1
    refuse(call, refusal)
    return false
  }

  /// Frees a permit, now or after the lag of the vendor.
  private func release(_ name: String) {
    let isLate = configuration.permitLag > .zero
    limits[name]?.release(at: isLate ? time.now + Self.nanoseconds(configuration.permitLag) : 0)
  }

  /// Counts output tokens while they are made, like the vendor.
  func charge(_ call: SimulatedCall, upTo produced: Int) {
    let tokens = (produced - call.charged) * call.choices
    guard tokens > 0 else { return }
    call.charged = produced
    call.usage.output += tokens
    statistics.usage.output += tokens
    limits[quotaKey(call)]?.produce(tokens, common: call.dialect == .anthropic, at: time.now)
  }

  /// Charges the tokens that a call without streaming had made when its client left.
  private func settleUnstreamed(_ call: SimulatedCall) {
    guard call.wire != nil, !call.isStream, call.firstTokenAt > 0, call.charged == 0, time.now > call.firstTokenAt
    else { return }
    let made = call.tokenTime > 0 ? Int(Double(time.now - call.firstTokenAt) / call.tokenTime) : call.outputLength
    charge(call, upTo: min(call.outputLength, made))
  }

  /// Gives the permit back and writes the log; the bytes may still be on their way.
  func end(_ call: SimulatedCall, _ ending: CallEnding) {
    guard !call.isEnded else { return }
    call.isEnded = true
    if call.holdsPermit {
      release(quotaKey(call))
      statistics.inFlight -= 1
    }
    call.holdsPermit = false
    call.record.ending = ending
    call.record.ended = time.now
    statistics.append(call.record)
  }
}
