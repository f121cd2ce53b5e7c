// The faults of a provider, and the schedule of faults for a later time or for a period.

/// A kind of fault. Raw values are those of `x-sim-fault` and of `POST /sim/faults`.
enum Fault: String, CaseIterable, Sendable {
  /// 429 with the vendor's limit headers and Retry-After.
  case throttled = "429"
  /// 429 with neither a reason nor a time.
  case throttledBare = "429-bare"
  /// 429 `insufficient_quota`, or Anthropic's spend limit.
  case quotaExhausted = "429-quota"
  case badRequest = "400"
  case unauthenticated = "401"
  case billing = "402"
  case forbidden = "403"
  case missing = "404"
  case serverError = "500"
  case badGateway = "502"
  case unavailable = "503"
  case overloaded = "529"
  /// Never answers.
  case hang
  /// Sends the head, and for a stream its first frames, then nothing more.
  case hangBody = "hang-body"
  /// Breaks the connection in the middle of the body.
  case cut
  /// Breaks the connection before the answer.
  case reset
  /// Sends the answer eight bytes at a time, 5 ms apart.
  case slow
  /// An error frame in the middle of a stream, after which the stream ends.
  case errorFrame = "error-frame"
  /// A stream that ends cleanly without its last frames.
  case early
  /// 200 with a body that is not JSON.
  case garbage
  /// 200 with no body.
  case empty
  /// Refuses before the request's body is read.
  case earlyThrottled = "429-early"

  /// The status of a fault that is only an error answer.
  var status: Int? {
    switch self {
    case .throttled, .throttledBare, .quotaExhausted, .earlyThrottled: 429
    case .badRequest: 400
    case .unauthenticated: 401
    case .billing: 402
    case .forbidden: 403
    case .missing: 404
    case .serverError: 500
    case .badGateway: 502
    case .unavailable: 503
    case .overloaded: 529
    default: nil
    }
  }
}

/// A fault from the control endpoint: it applies for a period, to some calls.
struct ScheduledFault {
  var fault: Fault
  var from: UInt64
  var until: UInt64
  /// How many more calls it applies to; nil means all.
  var remaining: Int?
  var key: String?
  var model: String?
  var pathPrefix: String?
  var retryAfter: Int?
}

/// The faults in force.
struct FaultSchedule {
  private(set) var faults: [ScheduledFault] = []
  /// How often a fault was applied to each `x-sim-id`.
  private var spoiled: [String: Int] = [:]

  mutating func add(_ fault: ScheduledFault) { faults.append(fault) }

  mutating func clear() { self = FaultSchedule() }

  /// The fault for a call, if any; what the request asked for takes precedence.
  mutating func fault(
    for directives: Directives, key: String, model: String?, path: Substring, at now: UInt64
  ) -> (fault: Fault, retryAfter: Int?)? {
    if let fault = directives.fault, isLeft(directives) { return (fault, directives.retryAfter) }
    faults.removeAll { $0.until <= now || $0.remaining == 0 }
    for index in faults.indices {
      let entry = faults[index]
      guard entry.from <= now else { continue }
      if let wanted = entry.key, wanted != key { continue }
      if let wanted = entry.model, wanted != model { continue }
      if let prefix = entry.pathPrefix, !path.hasPrefix(prefix) { continue }
      if let remaining = entry.remaining { faults[index].remaining = remaining - 1 }
      return (entry.fault, entry.retryAfter)
    }
    return nil
  }

  private mutating func isLeft(_ directives: Directives) -> Bool {
    guard let times = directives.faultTimes else { return true }
    let id = directives.id ?? ""
    let before = spoiled[id, default: 0]
    guard before < times else { return false }
    if spoiled.count > 100_000 { spoiled.removeAll() }
    spoiled[id] = before + 1
    return true
  }
}
