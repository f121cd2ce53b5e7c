// OpenAI's answers: chat completions, legacy completions, responses, embeddings, models, errors, rate-limit fields.
import Foundation
import HTTPMessage
import TextForms

enum OpenAIWire {
  static func usage(_ usage: AnswerUsage) -> String {
    """
    {"prompt_tokens":\(usage.input),"completion_tokens":\(usage.output),"total_tokens":\(usage.input + usage.output),\
    "prompt_tokens_details":{"cached_tokens":\(usage.cacheRead),"cache_write_tokens":\(usage.cacheWrite),\
    "audio_tokens":0},\
    "completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,\
    "rejected_prediction_tokens":0}}
    """
  }

  static func error(type: String, code: String?, message: String, param: String? = nil) -> String {
    """
    {"error":{"message":\(JSONString.quoted(message)),"type":"\(type)","param":\(param.map(JSONString.quoted) ?? "null"),\
    "code":\(code.map(JSONString.quoted) ?? "null")}}
    """
  }

  static func model(_ id: String) -> String {
    "{\"id\":\(JSONString.quoted(id)),\"object\":\"model\",\"created\":1764000000,\"owned_by\":\"simulator\"}"
  }

  static func models(_ ids: [String]) -> String {
    "{\"object\":\"list\",\"data\":[\(ids.map(model).joined(separator: ","))]}"
  }

  static func embeddings(_ reading: SimulatedRequest, model: String, tokens: Int) -> String {
    let dimensions = reading.dimensions ?? 64
    var rows: [String] = []
    for row in 0..<reading.inputs {
      let values = (0..<dimensions).map { Float((row * 31 + $0 * 17) % 201 - 100) / 1024 }
      let text: String
      if reading.wantsBase64 {
        let bytes = values.flatMap { value in
          (0..<4).map { UInt8(truncatingIfNeeded: value.bitPattern >> UInt32(8 * $0)) }
        }
        text = "\"" + Data(bytes).base64EncodedString() + "\""
      } else {
        text = "[" + values.map { $0.description }.joined(separator: ",") + "]"
      }
      rows.append("{\"object\":\"embedding\",\"index\":\(row),\"embedding\":\(text)}")
    }
    return """
      {"object":"list","data":[\(rows.joined(separator: ","))],"model":\(JSONString.quoted(model)),\
      "usage":{"prompt_tokens":\(tokens),"total_tokens":\(tokens)}}
      """
  }

  /// `x-ratelimit-*` of the buckets that are enforced.
  static func limitFields(_ limits: EnforcedLimits, at now: UInt64) -> [(name: String, value: String)] {
    var fields: [(name: String, value: String)] = []
    func add(_ name: String, _ bucket: EnforcedBucket) {
      fields.append(("x-ratelimit-limit-\(name)", String(bucket.perMinute)))
      fields.append(("x-ratelimit-remaining-\(name)", String(max(0, Int(bucket.available(at: now))))))
      fields.append(("x-ratelimit-reset-\(name)", duration(bucket.untilFull(at: now))))
    }
    if let bucket = limits.bucket(.requests) { add("requests", bucket) }
    if let bucket = limits.bucket(.tokens) ?? limits.bucket(.inputTokens) { add("tokens", bucket) }
    return fields
  }

  /// As Go prints a duration: `20ms`, `1s`, `6m0s`, `1h0m0s`, `1m30.5s`.
  static func duration(_ nanoseconds: UInt64) -> String {
    let milliseconds = (nanoseconds + 999_999) / 1_000_000
    if milliseconds == 0 { return "0s" }
    if milliseconds < 1000 { return "\(milliseconds)ms" }
    let whole = milliseconds / 1000
    var seconds = String(whole % 60)
    let rest = milliseconds % 1000
    if rest > 0 {
      var digits = String(1000 + rest).dropFirst()
      while digits.last == "0" { digits.removeLast() }
      seconds += "." + digits
    }
    if whole < 60 { return seconds + "s" }
    if whole < 3600 { return "\(whole / 60)m\(seconds)s" }
    return "\(whole / 3600)h\(whole / 60 % 60)m\(seconds)s"
  }
}

/// `/v1/chat/completions`.
struct ChatWire: AnswerWire {
  let facts: AnswerFacts
  private let prefix: String
  private let suffix: String

  init(_ facts: AnswerFacts) {
    self.facts = facts
    prefix = """
      data: {"id":"chatcmpl-\(facts.idSuffix)","object":"chat.completion.chunk","created":\(facts.created),\
      "model":\(facts.quotedModel),"service_tier":"default","system_fingerprint":"fp_simulator","choices":[
      """
    suffix = (facts.includesUsage ? ",\"usage\":null" : "") + "}\n\n"
  }

  private func frame(_ choice: Int, delta: String, finish: String?) -> String {
    let reason = finish.map { "\"\($0)\"" } ?? "null"
    return "\(prefix){\"index\":\(choice),\"delta\":{\(delta)},\"logprobs\":null,\"finish_reason\":\(reason)}]\(suffix)"
  }

  func opening(_ usage: AnswerUsage) -> String {
    (0..<facts.choices).map {
      frame($0, delta: "\"role\":\"assistant\",\"content\":\"\",\"refusal\":null", finish: nil)
    }.joined()
  }

  func delta(_ text: String) -> String {
    if facts.choices == 1 { return frame(0, delta: "\"content\":\"\(text)\"", finish: nil) }
    return (0..<facts.choices).map { frame($0, delta: "\"content\":\"\(text)\"", finish: nil) }.joined()
  }

  func closing(_ usage: AnswerUsage, text: String, isCapped: Bool) -> String {
    var out = (0..<facts.choices).map { frame($0, delta: "", finish: isCapped ? "length" : "stop") }.joined()
    if facts.includesUsage { out += "\(prefix)],\"usage\":\(OpenAIWire.usage(usage))}\n\n" }
    return out + "data: [DONE]\n\n"
  }

  func errorFrame() -> String {
    "data: "
      + OpenAIWire.error(
        type: "server_error", code: "server_error", message: "The server had an error while processing your request.")
      + "\n\n"
  }

  func whole(_ usage: AnswerUsage, text: String, isCapped: Bool) -> String {
    let choices = (0..<facts.choices).map { index in
      """
      {"index":\(index),"message":{"role":"assistant","content":"\(text)","refusal":null,"annotations":[]},\
      "logprobs":null,"finish_reason":"\(isCapped ? "length" : "stop")"}
      """
    }
    return """
      {"id":"chatcmpl-\(facts.idSuffix)","object":"chat.completion","created":\(facts.created),\
      "model":\(facts.quotedModel),"choices":[\(choices.joined(separator: ","))],"usage":\(OpenAIWire.usage(usage)),\
      "service_tier":"default","system_fingerprint":"fp_simulator"}
      """
  }
}

/// `/v1/completions`.
struct CompletionWire: AnswerWire {
  let facts: AnswerFacts
  private let prefix: String

  init(_ facts: AnswerFacts) {
    self.facts = facts
    prefix = """
      {"id":"cmpl-\(facts.idSuffix)","object":"text_completion","created":\(facts.created),\
      "model":\(facts.quotedModel),"choices":[
      """
  }

  private func choice(_ index: Int, _ text: String, finish: String?) -> String {
    let reason = finish.map { "\"\($0)\"" } ?? "null"
    return "{\"text\":\"\(text)\",\"index\":\(index),\"logprobs\":null,\"finish_reason\":\(reason)}"
  }

  private func frames(_ text: String, finish: String?) -> String {
    let suffix = facts.includesUsage ? ",\"usage\":null" : ""
    return (0..<facts.choices).map { "data: \(prefix)\(choice($0, text, finish: finish))]\(suffix)}\n\n" }.joined()
  }

  func opening(_ usage: AnswerUsage) -> String { "" }
  func delta(_ text: String) -> String { frames(text, finish: nil) }

  func closing(_ usage: AnswerUsage, text: String, isCapped: Bool) -> String {
    var out = frames("", finish: isCapped ? "length" : "stop")
    if facts.includesUsage { out += "data: \(prefix)],\"usage\":\(OpenAIWire.usage(usage))}\n\n" }
    return out + "data: [DONE]\n\n"
  }

  func errorFrame() -> String { ChatWire(facts).errorFrame() }

  func whole(_ usage: AnswerUsage, text: String, isCapped: Bool) -> String {
    let choices = (0..<facts.choices).map { choice($0, text, finish: isCapped ? "length" : "stop") }
    return "\(prefix)\(choices.joined(separator: ","))],\"usage\":\(OpenAIWire.usage(usage))}"
  }
}

/// `/v1/responses`. Its stream has named, numbered events and no `[DONE]`.
struct ResponsesWire: AnswerWire {
  let facts: AnswerFacts
  private var sequence = 0

  init(_ facts: AnswerFacts) { self.facts = facts }

  private func usage(_ usage: AnswerUsage) -> String {
    """
    {"input_tokens":\(usage.input),\
    "input_tokens_details":{"cached_tokens":\(usage.cacheRead),"cache_write_tokens":\(usage.cacheWrite)},\
    "output_tokens":\(usage.output),"output_tokens_details":{"reasoning_tokens":0},\
    "total_tokens":\(usage.input + usage.output)}
    """
  }

  private func item(_ text: String?, status: String) -> String {
    let content = text.map { "{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":\"\($0)\"}" } ?? ""
    return """
      {"id":"msg_\(facts.idSuffix)","type":"message","status":"\(status)","content":[\(content)],"role":"assistant"}
      """
  }

  private func response(status: String, usage: String, output: String, incomplete: Bool = false) -> String {
    """
    {"id":"resp_\(facts.idSuffix)","object":"response","created_at":\(facts.created),"status":"\(status)",\
    "background":false,"error":null,"incomplete_details":\(incomplete ? "{\"reason\":\"max_output_tokens\"}" : "null"),\
    "instructions":null,"max_output_tokens":\(facts.outputCap.map { String($0) } ?? "null"),\
    "model":\(facts.quotedModel),\
    "output":[\(output)],"parallel_tool_calls":true,"previous_response_id":null,\
    "reasoning":{"effort":null,"summary":null},"service_tier":"default","store":true,"temperature":1.0,\
    "text":{"format":{"type":"text"}},"tool_choice":"auto","tools":[],"top_p":1.0,"truncation":"disabled",\
    "usage":\(usage),"user":null,"metadata":{}}
    """
  }

  private mutating func event(_ name: String, _ rest: String) -> String {
    defer { sequence += 1 }
    return "event: \(name)\ndata: {\"type\":\"\(name)\",\"sequence_number\":\(sequence),\(rest)}\n\n"
  }

  private var place: String { "\"item_id\":\"msg_\(facts.idSuffix)\",\"output_index\":0,\"content_index\":0" }

  mutating func opening(_ usage: AnswerUsage) -> String {
    let started = response(status: "in_progress", usage: "null", output: "")
    let part = "{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":\"\"}"
    return event("response.created", "\"response\":\(started)")
      + event("response.in_progress", "\"response\":\(started)")
      + event("response.output_item.added", "\"output_index\":0,\"item\":\(item(nil, status: "in_progress"))")
      + event("response.content_part.added", "\(place),\"part\":\(part)")
  }

  mutating func delta(_ text: String) -> String {
    event("response.output_text.delta", "\(place),\"delta\":\"\(text)\",\"logprobs\":[]")
  }

  mutating func closing(_ usage: AnswerUsage, text: String, isCapped: Bool) -> String {
    let status = isCapped ? "incomplete" : "completed"
    let part = "{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":\"\(text)\"}"
    let done = item(text, status: status)
    let final = response(status: status, usage: self.usage(usage), output: done, incomplete: isCapped)
    return event("response.output_text.done", "\(place),\"text\":\"\(text)\",\"logprobs\":[]")
      + event("response.content_part.done", "\(place),\"part\":\(part)")
      + event("response.output_item.done", "\"output_index\":0,\"item\":\(done)")
      + event("response.\(status)", "\"response\":\(final)")
  }

  mutating func errorFrame() -> String {
    event(
      "error",
      "\"code\":\"server_error\",\"message\":\"The server had an error while processing your request.\",\"param\":null")
  }

  func whole(_ usage: AnswerUsage, text: String, isCapped: Bool) -> String {
    let status = isCapped ? "incomplete" : "completed"
    return response(
      status: status, usage: self.usage(usage), output: item(text, status: status), incomplete: isCapped)
  }
}
