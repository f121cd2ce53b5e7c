// Anthropic's answers: messages, token counts, models, errors, rate-limit fields.
import HTTPMessage
import TextForms

enum AnthropicWire {
  static func error(type: String, message: String, requestID: String, code: String? = nil) -> String {
    let details = code.map { ",\"details\":{\"error_code\":\"\($0)\"}" } ?? ""
    return """
      {"type":"error","error":{"type":"\(type)","message":\(JSONString.quoted(message))\(details)},\
      "request_id":"\(requestID)"}
      """
  }

  static func model(_ id: String) -> String {
    """
    {"type":"model","id":\(JSONString.quoted(id)),"display_name":\(JSONString.quoted(id)),\
    "created_at":"2026-01-01T00:00:00Z"}
    """
  }

  static func models(_ ids: [String]) -> String {
    let first = ids.first.map(JSONString.quoted) ?? "null"
    let last = ids.last.map(JSONString.quoted) ?? "null"
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
    let total = Int64(seconds)
    let (days, second) = (total / 86_400, total % 86_400)
    let date = CivilDate(daysSince1970: days)
    func two(_ value: Int64) -> String { value < 10 ? "0\(value)" : String(value) }
    return
      "\(date.year)-\(two(date.month))-\(two(date.day))T\(two(second / 3600)):\(two(second / 60 % 60)):\(two(second % 60))Z"
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
    "cache_creation":{"ephemeral_5m_input_tokens":\(usage.cacheWrite - usage.cacheWriteHour),\
    "ephemeral_1h_input_tokens":\(usage.cacheWriteHour)},\
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
