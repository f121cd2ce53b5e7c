// The JSON of requests: the lists, and one request's whole story.
//
// A tenant's token is told how many of other tenants' calls went before its own and by which rule, but neither their
// ids nor whose they are.
import AdmissionCore
import BrokerEngine
import HTTPMessage
import PolicyFile
import TextForms

/// A list of requests, which is written in pieces: each tells how its request stands at that moment.
final class RequestListing {
  /// How many of a list's waiting requests are asked how long they will still wait: each costs some microseconds of the
  /// loop.
  private static let mostForetold = 100
  /// How many requests are written at a time.
  static let atOnce = 25

  private let records: [RequestRecord]
  /// The only state of which requests are shown; nil shows all.
  private let state: RequestRecord.State?
  private let broker: Operator
  private var next = 0
  private var foretold = 0
  private var writer: JSONWriter
  /// The whole list, when `writeSome` has returned true.
  var json: [UInt8] { writer.bytes }

  init(_ records: [RequestRecord], state: RequestRecord.State?, _ broker: Operator) {
    self.records = records
    self.state = state
    self.broker = broker
    writer = JSONWriter(reserving: 64 + 1024 * records.count)
    writer.raw("{\"requests\":[")
  }

  /// Writes the next ones. Returns true when all are written.
  func writeSome() -> Bool {
    let end = min(records.count, next + Self.atOnce)
    for record in records[next..<end] where state == nil || record.state == state {
      let isWaiting = record.state == .queued && foretold < Self.mostForetold
      if isWaiting { foretold += 1 }
      RequestJSON.row(&writer, record, isWaiting ? broker.waitReading(of: record.id) : nil, broker)
    }
    next = end
    guard next == records.count else { return false }
    writer.raw("]}")
    return true
  }
}

enum RequestJSON {
  /// - Parameter waiting: nil where it does not wait, or was not asked.
  static func row(
    _ json: inout JSONWriter, _ record: RequestRecord, _ waiting: WaitReading?, _ broker: Operator
  ) {
    json.object { json in
      members(&json, record, broker)
      waitsFor(&json, waiting, broker)
    }
  }

  private static func waitsFor(_ json: inout JSONWriter, _ waiting: WaitReading?, _ broker: Operator) {
    json.member("predicted_wait_ms", waiting?.rest?.wholeMilliseconds)
    json.key("waits_for")
    guard let waiting else { return json.null() }
    json.object { json in
      json.member("blocker", waiting.reading.blocker.name)
      json.member("provider", waiting.reading.provider?.name)
      json.member("text", WaitText.describe(waiting, at: instant(broker.now)))
    }
  }

  // MARK: One request

  /// - Parameter tenant: the only tenant of which the reader may know; nil for all.
  static func story(_ record: RequestRecord, _ broker: Operator, tenant: String? = nil) -> [UInt8] {
    broker.noteWait(of: record)
    let waiting = broker.waitReading(of: record.id)
    var json = JSONWriter(reserving: 4096)
    json.object { json in
      members(&json, record, broker)
      waitsFor(&json, waiting, broker)
      json.member("now_ms", milliseconds(record, broker.now))
      json.member("trace_id", record.traceID)
      json.member("promoted_ms", milliseconds(record, record.promotedAt))
      json.key("position")
      if let waiting {
        json.object { json in
          json.member("lane", waiting.reading.beforeInLane + 1)
          json.member("class", waiting.beforeInClass + 1)
        }
      } else {
        json.null()
      }
      json.key("waits")
      json.array(record.waits) { wait(&$0, $1, record) }
      json.key("went_ahead")
      wentAhead(&json, record, broker, tenant: tenant)
      tokens(&json, record, broker)
      json.key("tries")
      json.array(record.attempts) { attempt(&$0, $1, record) }
      json.key("timeline")
      json.array(timeline(record)) { json, bar in
        json.object { json in
          json.member("what", bar.what)
          json.member("from_ms", milliseconds(record, bar.from))
          json.member("until_ms", milliseconds(record, bar.until))
          json.member("text", bar.text)
          json.member("provider", bar.provider)
          json.member("key", bar.key)
          json.member("status", bar.status)
          json.member("blocker", bar.blocker)
          json.member("rule", bar.rule)
        }
      }
    }
    return json.bytes
  }

  private static func wait(_ json: inout JSONWriter, _ wait: RequestRecord.Wait, _ record: RequestRecord) {
    json.object { json in
      json.member("blocker", wait.blocker.name)
      json.member("reason", ErrorText.describe(wait.blocker))
      json.member("text", WaitText.describe(wait.reading, at: instant(wait.since)))
      json.member("rule", wait.blocker.rule.rawValue)
      json.member("provider", wait.reading.provider?.name)
      json.member("needed", wait.reading.needed)
      json.member("available", wait.reading.available)
      json.member(
        "there_in_ms", wait.reading.thereAt.map { max($0 - instant(wait.since), .zero).wholeMilliseconds })
      json.member("before_in_lane", wait.reading.beforeInLane)
      json.member("from_ms", milliseconds(record, wait.since))
      json.member("until_ms", milliseconds(record, wait.until))
      json.member("after_attempts", record.attempts.count { $0.began <= wait.since })
    }
  }

  private static func attempt(
    _ json: inout JSONWriter, _ attempt: RequestRecord.Attempt, _ record: RequestRecord
  ) {
    json.object { json in
      json.member("number", attempt.number)
      json.member("provider", attempt.provider)
      json.member("key", attempt.key)
      json.member("status", attempt.status)
      json.member("verdict", attempt.verdict?.rawValue)
      json.member("failure", attempt.failure)
      json.member("held_usd", attempt.held?.text)
      json.member("cost_usd", attempt.cost?.text)
      json.member("cost_source", attempt.costSource?.rawValue)
      json.member("from_ms", milliseconds(record, attempt.began))
      json.member("first_byte_ms", milliseconds(record, attempt.firstByte))
      json.member("until_ms", milliseconds(record, attempt.ended))
    }
  }

  /// Those who were granted while it waited: the newest one by one, then the others by class and rule, with their number.
  private static func wentAhead(
    _ json: inout JSONWriter, _ record: RequestRecord, _ broker: Operator, tenant: String?
  ) {
    let list = broker.wentAhead(of: record)
    let known = broker.requests.records(Set(list.newest.map(\.request)))
    func member(
      _ json: inout JSONWriter, _ request: RequestRecord?, id: String?, _ priority: Priority, _ rule: DispatchRule,
      at: UInt64?, count: Int
    ) {
      json.object { json in
        json.member("id", id)
        json.member("priority", priority.name)
        json.member("tenant", request?.tenant)
        json.member("session", request?.session)
        json.member("rule", rule.rawValue)
        json.member("text", WaitText.describe(rule))
        json.member("at_ms", milliseconds(record, at))
        json.member("count", count)
      }
    }
    let newest = list.newest.map { one in
      let request = known[one.request]
      // What is no longer in the list may be anybody's.
      let isShown = tenant == nil || request?.tenant == tenant
      return (one: one, request: isShown ? request : nil, id: isShown ? one.request.text : nil)
    }
    json.array(0..<newest.count + list.sums.count) { json, index in
      guard index < newest.count else {
        let sum = list.sums[index - newest.count]
        return member(&json, nil, id: nil, sum.priority, sum.rule, at: nil, count: sum.count)
      }
      let (one, request, id) = newest[index]
      member(
        &json, request, id: id, one.priority, one.rule, at: UInt64(max(0, one.at.nanoseconds)), count: 1)
    }
    json.member("went_ahead_complete", list.isComplete)
  }

  /// Expected and real tokens, and the line of the price list that holds for the model.
  private static func tokens(_ json: inout JSONWriter, _ record: RequestRecord, _ broker: Operator) {
    json.key("estimate")
    json.object { json in
      json.member("input_tokens", (record.expectation?.input ?? record.estimatedInput).value)
      json.member("output_tokens", record.expectation?.output.value)
      json.member("cached_input_tokens", record.expectation?.cached.value)
    }
    json.member("cache_read_tokens", record.usage?.cacheReadTokens.value)
    json.member("cache_write_tokens", record.usage?.cacheWriteTokens.value)
    json.key("price")
    guard let price = broker.price(of: record.model, at: record.arrivedAtWall) else { return json.null() }
    json.object { json in
      json.member("line", price.models)
      json.member("version", price.version)
      json.member("input_usd_per_m", price.input?.text)
      json.member("output_usd_per_m", price.output?.text)
      json.member("cache_read_usd_per_m", price.cacheRead?.text)
      json.member("cache_write_usd_per_m", price.cacheWrite?.text)
    }
  }

  // MARK: The time line

  struct Bar {
    var what: String
    var from: UInt64
    var until: UInt64?
    var text: String
    var provider: String?
    var key: String?
    var status: Int?
    var blocker: String?
    var rule: String?
  }

  /// Waits, attempts, first bytes, streams and the end, in the order in which they began.
  static func timeline(_ record: RequestRecord) -> [Bar] {
    var bars = record.waits.map { wait in
      Bar(
        what: "wait", from: wait.since, until: wait.until,
        text: WaitText.describe(wait.reading, at: instant(wait.since)), provider: wait.reading.provider?.name,
        blocker: wait.blocker.name, rule: wait.blocker.rule.rawValue)
    }
    for attempt in record.attempts {
      let verdict = attempt.verdict.map { ", \($0.rawValue)" } ?? ""
      let words =
        "attempt \(attempt.number) at \(attempt.provider)" + (attempt.key.map { " with key \($0)" } ?? "")
        + (attempt.status.map { ": \($0)" } ?? "") + verdict + (attempt.failure.map { ", \($0)" } ?? "")
      bars.append(
        Bar(
          what: "attempt", from: attempt.began, until: attempt.ended, text: words, provider: attempt.provider,
          key: attempt.key, status: attempt.status))
    }
    if let first = record.firstByteAt {
      bars.append(Bar(what: "first_byte", from: first, until: first, text: "the first byte went to the client"))
      if record.isStreaming {
        bars.append(Bar(what: "stream", from: first, until: record.endedAt, text: "the answer is streamed"))
      }
    }
    bars.sort { $0.from < $1.from }
    if let end = record.endedAt {
      let outcome = record.outcome?.rawValue ?? "ended"
      bars.append(
        Bar(
          what: "end", from: end, until: end, text: record.message.map { "\(outcome): \($0)" } ?? outcome,
          status: record.status == 0 ? nil : record.status))
    }
    return bars
  }

  // MARK: What lists and stories share

  private static func members(_ json: inout JSONWriter, _ record: RequestRecord, _ broker: Operator) {
    json.member("id", record.text)
    json.member("state", record.state.rawValue)
    json.member("arriving", record.isArriving)
    json.member("outcome", record.outcome?.rawValue)
    json.member("status", record.status == 0 ? nil : record.status)
    json.member("arrived_at", time: record.arrivedAtWall)
    json.member("method", record.method)
    json.member("path", record.path)
    json.member("tenant", record.tenant)
    json.member("session", record.session)
    json.member("agent", record.agent.isEmpty ? nil : record.agent)
    json.member("priority", record.priority.name)
    json.member("priority_reason", record.priorityReason)
    json.member("kind", record.kind)
    json.key("unknown_hints")
    json.array(record.unknownHints) { json, hint in
      json.object { json in
        json.member("header", hint.header)
        json.member("value", hint.value)
        json.member("allowed", allowed(hint.header, broker.policy))
      }
    }
    json.member("model", record.model)
    json.member("provider", record.provider)
    json.member("key", record.key)
    json.member("queued_ms", record.queuedMilliseconds(at: broker.now))
    json.member("first_byte_ms", milliseconds(record, record.firstByteAt))
    json.member("total_ms", milliseconds(record, record.endedAt))
    json.member("age_ms", milliseconds(record, record.endedAt ?? broker.now))
    json.member("attempts", record.attemptCount)
    json.member("input_tokens", (record.usage?.inputTokens ?? record.estimatedInput).value)
    json.member("output_tokens", record.usage?.outputTokens.value ?? 0)
    json.member("estimated", record.usage?.isEstimated ?? true)
    json.member("impossible_numbers", record.hadImpossibleNumbers)
    json.member("cost_usd", billionths: record.cost?.nanodollars)
    json.member("message", record.message)
  }

  /// The values that a hint's field allows.
  private static func allowed(_ header: String, _ policy: Policy) -> String {
    switch header {
    case "x-tollgate-priority": "high, normal, low"
    case "x-tollgate-kind": policy.kinds.keys.sorted().joined(separator: ", ")
    case "x-tollgate-timeout": "seconds, such as 30"
    case "priority": "u=0 to u=7"
    case "x-claude-code-request-class": "main, subagent, workflow, compaction, auxiliary"
    case "x-codex-turn-metadata": "JSON with a request_kind of turn, prewarm, compaction or memory"
    default: "the fields x-tollgate-\(TollgateFields.hints.joined(separator: ", -"))"
    }
  }

  private static func milliseconds(_ record: RequestRecord, _ instant: UInt64?) -> Int64? {
    instant.map { Int64(clamping: ($0 > record.arrivedAt ? $0 &- record.arrivedAt : 0) / 1_000_000) }
  }

  private static func instant(_ nanoseconds: UInt64) -> Instant { Instant(nanoseconds: Int64(clamping: nanoseconds)) }
}
