// One line for each request, as text or JSON. No content, no secret; text from clients is quoted so that it cannot forge a line.
import AdmissionCore
import TextForms

public enum AccessLogFormat: String, Sendable, CaseIterable { case text, json, off }

public enum AccessLog {
  /// The line for a request that ended, with its line feed.
  public static func line(_ record: RequestRecord, _ format: AccessLogFormat, at wallNanoseconds: Int64) -> [UInt8] {
    var line: [UInt8] = []
    line.reserveCapacity(384)
    switch format {
    case .off: return []
    case .text: text(record, wallNanoseconds, &line)
    case .json: json(record, wallNanoseconds, &line)
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
    field(" model=", record.model, &line)
    field(" provider=", record.provider ?? "", &line)
    field(" key=", record.key ?? "", &line)
    if record.attemptCount > 0 { field(" attempts=", String(record.attemptCount), &line) }
    field(" queue_ms=", String(record.queued.wholeMilliseconds), &line)
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

  private static func json(_ record: RequestRecord, _ wall: Int64, _ line: inout [UInt8]) {
    line.append(contentsOf: "{\"time\":\"".utf8)
    Timestamp.append(wall, to: &line)
    line.append(contentsOf: "\",\"id\":\"".utf8)
    line.append(contentsOf: record.text.utf8)
    line.append(UInt8(ascii: "\""))
    member("outcome", record.outcome?.rawValue, &line)
    member("status", record.status, &line)
    member("method", record.method, &line)
    member("path", record.path, &line)
    member("priority", record.priority.name, &line)
    member("tenant", record.tenant, &line)
    member("session", record.session, &line)
    member("model", record.model, &line)
    member("provider", record.provider, &line)
    member("key", record.key, &line)
    member("attempts", record.attemptCount, &line)
    member("queued_ms", Int(record.queued.wholeMilliseconds), &line)
    if let first = record.firstByteAt { member("first_byte_ms", Int((first &- record.arrivedAt) / 1_000_000), &line) }
    member("total_ms", Int(((record.endedAt ?? record.arrivedAt) &- record.arrivedAt) / 1_000_000), &line)
    member("bytes_in", record.bytesIn, &line)
    member("bytes_out", record.bytesOut, &line)
    if let usage = record.usage {
      member("input_tokens", Int(usage.inputTokens), &line)
      member("output_tokens", Int(usage.outputTokens), &line)
      line.append(contentsOf: ",\"estimated\":\(usage.isEstimated)".utf8)
    }
    if record.attemptCount > 0 { member("cost_usd", record.cost?.text, &line) }
    if let failure = record.attemptFailure { member("failure", failure, &line) }
    if let message = record.message { member("message", message, &line) }
    line.append(UInt8(ascii: "}"))
  }

  private static func milliseconds(_ start: UInt64, _ end: UInt64) -> String { String((end &- start) / 1_000_000) }

  private static func field(_ name: StaticString, _ value: String, _ line: inout [UInt8]) {
    guard !value.isEmpty else { return }
    name.withUTF8Buffer { line.append(contentsOf: $0) }
    word(value, &line)
  }

  /// The text as it is where it is plain, else quoted with escapes.
  private static func word(_ text: String, _ line: inout [UInt8]) {
    let isPlain = text.utf8.allSatisfy {
      $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\")
    }
    if isPlain { line.append(contentsOf: text.utf8) } else { JSONString.append(text, to: &line) }
  }

  private static func member(_ name: StaticString, _ value: String?, _ line: inout [UInt8]) {
    line.append(contentsOf: ",\"".utf8)
    name.withUTF8Buffer { line.append(contentsOf: $0) }
    line.append(contentsOf: "\":".utf8)
    if let value { JSONString.append(value, to: &line) } else { line.append(contentsOf: "null".utf8) }
  }

  private static func member(_ name: StaticString, _ value: Int, _ line: inout [UInt8]) {
    line.append(contentsOf: ",\"".utf8)
    name.withUTF8Buffer { line.append(contentsOf: $0) }
    line.append(contentsOf: "\":".utf8)
    line.append(contentsOf: String(value).utf8)
  }
}

/// RFC 3339 in UTC with milliseconds.
public enum Timestamp {
  public static func text(_ wallNanoseconds: Int64) -> String {
    var bytes: [UInt8] = []
    append(wallNanoseconds, to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }

  static func append(_ wallNanoseconds: Int64, to bytes: inout [UInt8]) {
    // Nothing was logged before 1970, whatever a clock says.
    let milliseconds = max(0, wallNanoseconds) / 1_000_000
    let seconds = milliseconds / 1000
    let days = seconds / 86_400
    let second = seconds % 86_400
    let date = CivilDate(daysSince1970: days)
    digits(date.year, 4, &bytes)
    bytes.append(UInt8(ascii: "-"))
    digits(date.month, 2, &bytes)
    bytes.append(UInt8(ascii: "-"))
    digits(date.day, 2, &bytes)
    bytes.append(UInt8(ascii: "T"))
    digits(second / 3600, 2, &bytes)
    bytes.append(UInt8(ascii: ":"))
    digits(second / 60 % 60, 2, &bytes)
    bytes.append(UInt8(ascii: ":"))
    digits(second % 60, 2, &bytes)
    bytes.append(UInt8(ascii: "."))
    digits(milliseconds % 1000, 3, &bytes)
    bytes.append(UInt8(ascii: "Z"))
  }

  private static func digits(_ value: Int64, _ width: Int, _ bytes: inout [UInt8]) {
    var divisor: Int64 = 1
    for _ in 1..<width { divisor *= 10 }
    for _ in 0..<width {
      bytes.append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: max(0, value) / divisor % 10))
      divisor /= 10
    }
  }
}
