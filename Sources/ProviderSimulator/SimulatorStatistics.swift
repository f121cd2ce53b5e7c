// What the simulator counted since its start or its last reset, which shows whether a broker exceeds limits.
import TextForms

/// How a call ended, as `/sim/calls` shows it.
enum CallEnding: String {
  case answered
  case refused
  case faulty
  /// The client closed before the first byte of the answer.
  case leftWaiting = "left_waiting"
  /// The client closed in the middle of the answer.
  case leftReading = "left_reading"
}

/// One call in the log.
struct CallRecord {
  var number: UInt64
  /// `x-sim-id` of the request, for tests that look for their own call.
  var id: String?
  var key: String
  var path: String
  var arrived: UInt64
  /// Monotonic nanoseconds; 0 where none was sent.
  var firstByte: UInt64 = 0
  var ended: UInt64 = 0
  var status = 0
  /// Input tokens, and those of them that were cached.
  var input = 0
  var cacheRead = 0
  var ending: CallEnding?

  var json: String {
    """
    {"number":\(number),"id":\(id.map(JSONString.quoted) ?? "null"),"key":\(JSONString.quoted(key)),\
    "path":\(JSONString.quoted(path)),"status":\(status),"ending":\(ending.map { "\"\($0.rawValue)\"" } ?? "null"),\
    "input":\(input),"cache_read":\(cacheRead),"arrived_ns":\(arrived),"first_byte_ns":\(firstByte),"ended_ns":\(ended)}
    """
  }
}

/// Sums over all calls.
struct SimulatorStatistics {
  /// The newest calls that the log keeps.
  static let logCapacity = 20_000

  var since: UInt64
  var calls = 0
  /// Calls that are retries of a client, by their `x-stainless-retry-count`.
  var clientRetries = 0
  var answered: [Int: Int] = [:]
  var refused: [EnforcedDimension: Int] = [:]
  var unauthenticated = 0
  var faults: [String: Int] = [:]
  var endings: [CallEnding: Int] = [:]
  var inFlight = 0
  var peak = 0
  var usage = AnswerUsage()
  var bytesSent = 0
  var callsByKey: [String: Int] = [:]
  private var log: [CallRecord] = []
  private var oldest = 0

  init(since: UInt64) { self.since = since }

  var refusals: Int { refused.values.reduce(0, +) }

  mutating func append(_ record: CallRecord) {
    if let ending = record.ending { endings[ending, default: 0] += 1 }
    if log.count < Self.logCapacity {
      log.append(record)
    } else {
      log[oldest] = record
      oldest = (oldest + 1) % Self.logCapacity
    }
  }

  /// Ended calls, oldest first.
  var records: [CallRecord] { Array(log[oldest...] + log[..<oldest]) }

  func json(limits: [(key: String, limits: EnforcedLimits)], cacheEntries: Int, at now: UInt64) -> String {
    func object(_ pairs: [(String, Int)]) -> String {
      "{" + pairs.map { "\(JSONString.quoted($0.0)):\($0.1)" }.joined(separator: ",") + "}"
    }
    let buckets = limits.flatMap { entry in
      entry.limits.buckets.map { dimension, bucket in
        let budget = bucket.budget(at: now)
        return """
          {"key":\(JSONString.quoted(entry.key)),"dimension":"\(dimension.rawValue)","per_minute":\(bucket.perMinute),\
          "capacity":\(Int(bucket.capacity)),"available":\(Int(bucket.available(at: now).rounded(.down))),\
          "used":\(Int(bucket.used)),"budget":\(Int(budget)),"used_share":\(rounded(bucket.used / max(1, budget)))}
          """
      }
    }
    return """
      {"now_ns":\(now),"since_ns":\(since),"calls":\(calls),"client_retries":\(clientRetries),\
      "answered":\(object(answered.sorted { $0.key < $1.key }.map { (String($0.key), $0.value) })),\
      "refused":\(object(EnforcedDimension.allCases.map { ($0.rawValue, refused[$0] ?? 0) })),\
      "refused_total":\(refusals),"unauthenticated":\(unauthenticated),\
      "faults":\(object(faults.sorted { $0.key < $1.key }.map { ($0.key, $0.value) })),\
      "completed":\(endings[.answered] ?? 0),"left_waiting":\(endings[.leftWaiting] ?? 0),\
      "left_reading":\(endings[.leftReading] ?? 0),"in_flight":\(inFlight),"peak":\(peak),\
      "tokens":{"input":\(usage.input),"cache_read":\(usage.cacheRead),"cache_write":\(usage.cacheWrite),\
      "cache_write_hour":\(usage.cacheWriteHour),"output":\(usage.output)},"cache_entries":\(cacheEntries),"bytes_sent":\(bytesSent),\
      "calls_by_key":\(object(callsByKey.sorted { $0.key < $1.key }.map { ($0.key, $0.value) })),\
      "buckets":[\(buckets.joined(separator: ","))]}
      """
  }

  private func rounded(_ share: Double) -> Double { (share * 10_000).rounded() / 10_000 }
}
