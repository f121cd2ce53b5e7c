// Anthropic's answers: messages, token counts, models, errors, rate-limit fields.
import HTTPMessage

enum AnthropicWire {
  static func error(type: String, message: String, requestID: String, code: String? = nil) -> String {
    let details = code.map { ",\"details\":{\"error_code\":\"\($0)\"}" } ?? ""
    return """
      {"type":"error","error":{"type":"\(type)","message":\(JSONText.quoted(message))\(details)},\
      "request_id":"\(requestID)"}
      """
  }

  static func model(_ id: String) -> String {
    """
    {"type":"model","id":\(JSONText.quoted(id)),"display_name":\(JSONText.quoted(id)),\
    "created_at":"2026-01-01T00:00:00Z"}
    """
  }

  static func models(_ ids: [String]) -> String {
    let first = ids.first.map(JSONText.quoted) ?? "null"
    let last = ids.last.map(JSONText.quoted) ?? "null"
    return """
      {"data":[\(ids.map(model).joined(separator: ","))],"has_more":false,"first_id":\(first),"last_id":\(last)}
      """
  }

  /// `anthropic-ratelimit-*` of the buckets that are enforced; remaining tokens are rounded to the nearest thousand.
  static func limitFields(
    _ limits: EnforcedLimits, at now: UInt64, wallSeconds: Double
  ) -> [(name: String, value: String)] {
    var fields: [(name: String, value: String)] = []
    func add(_ name: String, _ limit: Int, _ remaining: Double, _ untilFull: UInt64, step: Double) {
      let rounded = Int((max(0, remaining) / step).rounded() * step)
      fields.append(("anthropic-ratelimit-\(name)-limit", String(limit)))
      fields.append(("anthropic-ratelimit-\(name)-remaining", String(step == 1 ? Int(max(0, remaining)) : rounded)))
      fields.append(("anthropic-ratelimit-\(name)-reset", date(wallSeconds + (Double(untilFull) / 1e9).rounded(.up))))
    }
    if let bucket = limits.bucket(.requests) {
      add("requests", bucket.perMinute, bucket.available(at: now), bucket.untilFull(at: now), step: 1)
    }
    let input = limits.bucket(.inputTokens)
    let output = limits.bucket(.outputTokens)
    if let bucket = limits.bucket(.tokens) {
      add("tokens", bucket.perMinute, bucket.available(at: now), bucket.untilFull(at: now), step: 1000)
    } else if let input, let output {
      add(
        "tokens", input.perMinute + output.perMinute,
        max(0, input.available(at: now)) + max(0, output.available(at: now)),
        max(input.untilFull(at: now), output.untilFull(at: now)), step: 1000)
    }
    if let input {
      add("input-tokens", input.perMinute, input.available(at: now), input.untilFull(at: now), step: 1000)
    }
    if let output {
      add("output-tokens", output.perMinute, output.available(at: now), output.untilFull(at: now), step: 1000)
    }
    return fields
  }

  /// RFC 3339 in UTC, whole seconds.
  static func date(_ seconds: Double) -> String {
    let total = Int(seconds)
    let (days, second) = (total / 86_400, total % 86_400)
    // Days since 1970 to a date in the proleptic Gregorian calendar, by eras of 400 years that begin in March.
    let shifted = days + 719_468
    let era = shifted / 146_097
    let dayOfEra = shifted % 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shiftedMonth = (5 * dayOfYear + 2) / 153
    let day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
    let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
    let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    func two(_ value: Int) -> String { value < 10 ? "0\(value)" : String(value) }
    return "\(year)-\(two(month))-\(two(day))T\(two(second / 3600)):\(two(second / 60 % 60)):\(two(second % 60))Z"
  }
}

/// `/v1/messages`.
struct MessagesWire: AnswerWire {
  let facts: AnswerFacts

  init(_ facts: AnswerFacts) { self.facts = facts }

  private func usage(_ usage: AnswerUsage, output: Int) -> String {
    """
    {"input_tokens":\(usage.input - usage.cacheRead - usage.cacheWrite),\
    "cache_creation_input_tokens":\(usage.cacheWrite),"cache_read_input_tokens":\(usage.cacheRead),\
    "cache_creation":{"ephemeral_5m_input_tokens":\(usage.cacheWrite),"ephemeral_1h_input_tokens":0},\
    "output_tokens":\(output),"service_tier":"standard"}
    """
  }

  private func event(_ name: String, _ rest: String) -> String {
    "event: \(name)\ndata: {\"type\":\"\(name)\"\(rest)}\n\n"
  }

  func opening(_ usage: AnswerUsage) -> String {
    let message = """
      {"id":"msg_\(facts.idSuffix)","type":"message","role":"assistant","model":\(facts.quotedModel),"content":[],\
      "stop_reason":null,"stop_sequence":null,"usage":\(self.usage(usage, output: 1))}
      """
    return event("message_start", ",\"message\":\(message)")
      + event("content_block_start", ",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}")
      + "event: ping\ndata: {\"type\": \"ping\"}\n\n"
  }

  func delta(_ text: String) -> String {
    event("content_block_delta", ",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"\(text)\"}")
  }

  func closing(_ usage: AnswerUsage, text: String, isCapped: Bool) -> String {
    let reason = isCapped ? "max_tokens" : "end_turn"
    return event("content_block_stop", ",\"index\":0")
      + event(
        "message_delta",
        """
        ,"delta":{"stop_reason":"\(reason)","stop_sequence":null},"usage":{\
        "input_tokens":\(usage.input - usage.cacheRead - usage.cacheWrite),\
        "cache_creation_input_tokens":\(usage.cacheWrite),"cache_read_input_tokens":\(usage.cacheRead),\
        "output_tokens":\(usage.output)}
        """)
      + event("message_stop", "")
  }

  func errorFrame() -> String {
    event("error", ",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}")
  }

  func whole(_ usage: AnswerUsage, text: String, isCapped: Bool) -> String {
    """
    {"id":"msg_\(facts.idSuffix)","type":"message","role":"assistant","model":\(facts.quotedModel),\
    "content":[{"type":"text","text":"\(text)"}],"stop_reason":"\(isCapped ? "max_tokens" : "end_turn")",\
    "stop_sequence":null,"usage":\(self.usage(usage, output: usage.output))}
    """
  }
}
