// What a single request may ask of the simulator, by `x-sim-*` fields and by shorthand in the model's name.
import HTTPMessage

/// The settings of one request; `nil` leaves the configured default.
struct Directives {
  var fault: Fault?
  /// For how many calls with the same `x-sim-id` the fault applies, counted from the first; nil means all.
  var faultTimes: Int?
  var id: String?
  /// The Retry-After of an answer with a fault, in seconds.
  var retryAfter: Int?
  var firstTokenMilliseconds: Int?
  var tokensPerSecond: Double?
  var outputTokens: Int?
  /// Tokens per frame of a stream.
  var tokensPerFrame: Int?
  var isEcho = false
  var bodyBytes: Int?
  var status: Int?
  var isGzip = false
  var isChunked = false
  var isUnicode = false
  var contentType: String?
  /// Fields to add to the answer.
  var fields: [(name: String, value: String)] = []

  init(_ fields: HeaderFields, model: String?) {
    if let model { read(model: model) }
    for index in 0..<fields.count where fields.nameStarts(with: "x-sim-", at: index) {
      let name = fields.nameBytes(at: index).dropFirst(6).map(asciiLowercased)
      read(String(decoding: name, as: UTF8.self), fields.value(at: index))
    }
  }

  /// True where the answer is not one of a model.
  var isRaw: Bool { isEcho || bodyBytes != nil || status != nil }

  private mutating func read(_ name: String, _ value: String) {
    switch name {
    case "fault": fault = Fault(rawValue: value)
    case "fault-times": faultTimes = Int(value)
    case "id": id = value
    case "retry-after": retryAfter = Int(value)
    case "first-token-ms": firstTokenMilliseconds = Int(value).map { max(0, min($0, 3_600_000)) }
    case "tokens-per-second": tokensPerSecond = Double(value).map { max(0, $0) }
    case "output-tokens": outputTokens = Int(value).map { max(0, min($0, 10_000_000)) }
    case "tokens-per-frame": tokensPerFrame = Int(value).map { max(1, $0) }
    case "echo": isEcho = value == "1"
    case "body": bodyBytes = Int(value).map { max(0, min($0, 4_000_000_000)) }
    case "status": status = Int(value).flatMap { (200...599).contains($0) ? $0 : nil }
    case "encoding": isGzip = value == "gzip"
    case "chunked": isChunked = value == "1"
    case "unicode": isUnicode = value == "1"
    case "content-type": contentType = value
    case "field":
      guard let colon = value.firstIndex(of: ":") else { return }
      fields.append((String(value[..<colon]), String(value[value.index(after: colon)...].drop { $0 == " " })))
    default: break
    }
  }

  /// `sim-out120-ttft50-tps200`: 120 tokens, the first after 50 ms, then 200 per second.
  private mutating func read(model: String) {
    for part in model.split(separator: "-") {
      if part.hasPrefix("out"), let value = Int(part.dropFirst(3)) { outputTokens = max(0, min(value, 10_000_000)) }
      if part.hasPrefix("ttft"), let value = Int(part.dropFirst(4)) {
        firstTokenMilliseconds = max(0, min(value, 3_600_000))
      }
      if part.hasPrefix("tps"), let value = Double(part.dropFirst(3)) { tokensPerSecond = max(0, value) }
    }
  }
}
