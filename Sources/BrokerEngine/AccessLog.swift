// One line for each request, as text or JSON. A line holds no content and no secret; clients' text is quoted so that it
// cannot forge a line.
import AdmissionCore
import TextForms

public enum AccessLogFormat: String, Sendable, CaseIterable { case text, json, off }

public enum AccessLog {
  /// The line for a request that has ended, with its line feed.
  public static func line(_ record: RequestRecord, _ format: AccessLogFormat, at wallNanoseconds: Int64) -> [UInt8] {
    var line: [UInt8] = []
    line.reserveCapacity(384)
    switch format {
    case .off: return []
    case .text: text(record, wallNanoseconds, &line)
    case .json: line = json(record, wallNanoseconds)
    }
    line.append(UInt8(ascii: "\n"))
    return line
  }

  private static func text(_ record: RequestRecord, _ wall: Int64, _ line: inout [UInt8]) {
    Timestamp.append(wall, to: &line)
    line.append(UInt8(ascii: " "))
    line.append(contentsOf: record.text.utf8)
    line.append(UInt8(ascii: " "))
    line.append(contentsOf: (record.outcome?.rawValue ?? "-").utf8)
    line.append(UInt8(ascii: " "))
    line.append(contentsOf: String(record.status).utf8)
    line.append(UInt8(ascii: " "))
    line.append(contentsOf: (record.method.isEmpty ? "-" : record.method).utf8)
    line.append(UInt8(ascii: " "))
    word(record.path.isEmpty ? "-" : record.path, &line)
    field(" priority=", record.priority.name, &line)
    field(" tenant=", record.tenant, &line)
    field(" session=", record.session, &line)
    field(" agent=", record.agent, &line)
    field(" kind=", record.kind ?? "", &line)
    field(" priority_reason=", record.priorityReason, &line)
    field(" model=", record.model, &line)
    field(" provider=", record.provider ?? "", &line)
    field(" key=", record.key ?? "", &line)
    if record.attemptCount > 0 { field(" attempts=", String(record.attemptCount), &line) }
    field(" queued_ms=", String(record.queued.wholeMilliseconds), &line)
    if let first = record.firstByteAt { field(" first_byte_ms=", milliseconds(record.arrivedAt, first), &line) }
    field(" total_ms=", milliseconds(record.arrivedAt, record.endedAt ?? record.arrivedAt), &line)
    field(" bytes_in=", String(record.bytesIn), &line)
    field(" bytes_out=", String(record.bytesOut), &line)
    if let usage = record.usage {
      field(" input_tokens=", String(usage.inputTokens.value), &line)
      field(" output_tokens=", String(usage.outputTokens.value), &line)
      if usage.isEstimated { field(" estimated=", "true", &line) }
    }
    if let cost = record.cost { field(" cost_usd=", cost.text, &line) }
    if let failure = record.attemptFailure { field(" failure=", failure, &line) }
    if let message = record.message { field(" message=", message, &line) }
  }

  private static func json(_ record: RequestRecord, _ wall: Int64) -> [UInt8] {
    var json = JSONWriter(reserving: 512)
    json.object { json in
      json.member("time", Timestamp.text(wall))
      json.member("id", record.text)
      json.member("outcome", record.outcome?.rawValue)
      json.member("status", record.status)
      json.member("method", record.method)
      json.member("path", record.path)
      json.member("priority", record.priority.name)
      json.member("priority_reason", record.priorityReason)
      json.member("kind", record.kind)
      json.member("tenant", record.tenant)
      json.member("session", record.session)
      if !record.agent.isEmpty { json.member("agent", record.agent) }
      json.member("model", record.model)
      json.member("provider", record.provider)
      json.member("key", record.key)
      json.member("attempts", record.attemptCount)
      json.member("queued_ms", record.queued.wholeMilliseconds)
      if let first = record.firstByteAt { json.member("first_byte_ms", (first &- record.arrivedAt) / 1_000_000) }
      json.member("total_ms", ((record.endedAt ?? record.arrivedAt) &- record.arrivedAt) / 1_000_000)
      json.member("bytes_in", record.bytesIn)
      json.member("bytes_out", record.bytesOut)
      if let usage = record.usage {
        json.member("input_tokens", usage.inputTokens.value)
        json.member("output_tokens", usage.outputTokens.value)
        json.member("estimated", usage.isEstimated)
      }
      if record.attemptCount > 0 { json.member("cost_usd", record.cost?.text) }
      if let failure = record.attemptFailure { json.member("failure", failure) }
      if let message = record.message { json.member("message", message) }
      if let trace = record.traceID { json.member("trace_id", trace) }
    }
    return json.bytes
  }

  private static func milliseconds(_ start: UInt64, _ end: UInt64) -> String { String((end &- start) / 1_000_000) }

  private static func field(_ name: StaticString, _ value: String, _ line: inout [UInt8]) {
    guard !value.isEmpty else { return }
    name.withUTF8Buffer { line.append(contentsOf: $0) }
    word(value, &line)
  }

  /// Appends the text as it is where it is plain, else quoted with escapes.
  private static func word(_ text: String, _ line: inout [UInt8]) {
    let isPlain = text.utf8.allSatisfy {
      $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\")
    }
    if isPlain { line.append(contentsOf: text.utf8) } else { JSONString.append(text, to: &line) }
  }
}

/// Times as the log and the API show them: RFC 3339 in UTC with milliseconds. Times before 1970 are shown as 1970.
public enum Timestamp {
  public static func text(_ wallNanoseconds: Int64) -> String { RFC3339.text(max(0, wallNanoseconds)) }

  static func append(_ wallNanoseconds: Int64, to bytes: inout [UInt8]) {
    RFC3339.append(max(0, wallNanoseconds), to: &bytes)
  }
}
