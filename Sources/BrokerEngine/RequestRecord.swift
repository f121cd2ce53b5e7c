// What is known about one request, from its head to its end: for the API, the log, `explain` and metrics. No content, no secret.
//
// Promise: a record is changed only by methods that each note one event (`granted`, `sent`, `answered`, `attemptEnded`,
// `concluded` ...). Those about an attempt come between its grant and its end.
import AdmissionCore
import Pricing
import ProviderWire
import Telemetry

/// What has happened to one request so far.
public final class RequestRecord {
  public enum State: String, Sendable { case queued, running, ended }

  /// One try upstream.
  public struct Attempt: Sendable {
    public var number: Int
    public var provider: String
    public var key: String?
    /// Monotonic nanoseconds.
    public var began: UInt64
    public var firstByte: UInt64?
    public var ended: UInt64?
    public var status: Int?
    /// nil while it runs.
    public var verdict: Verdict.Kind?
    /// Why the transport failed; nil where it did not.
    public var failure: String?
    /// The estimate that was held during the attempt; nil where the price is unknown.
    public var held: Money?
    /// nil while it runs, and where the price is unknown.
    public var cost: Money?
    public var costSource: CostSource?
    /// nil while it runs, and where nothing was used.
    public var usage: Usage?
  }

  /// One reason why the request waited, from `since` until the next reason, the grant or its end.
  public struct Wait: Sendable {
    public var since: UInt64
    /// nil while it waits for this.
    public var until: UInt64?
    /// The reason with its numbers, as they were when the wait began.
    public var reading: BlockerReading
    public var blocker: Blocker { reading.blocker }

    public init(since: UInt64, _ reading: BlockerReading) {
      self.since = since
      self.reading = reading
    }
  }

  public let id: RequestID
  public let text: String
  public private(set) var state: State = .queued
  public private(set) var outcome: Outcome?
  public let method: String
  /// The path without its query, which may hold a key. Cut to 256 bytes.
  public private(set) var path: String
  public private(set) var tenant = ""
  public private(set) var clientKey: ClientKeyID?
  public private(set) var session = ""
  /// The agent within the session's tree of agents; empty for the main one.
  public private(set) var agent = ""
  public private(set) var priority: Priority
  public private(set) var priorityReason = ""
  public private(set) var kind: String?
  /// The client's hints that we do not know, by lower-case field; values are cut to 128 bytes, at most 8 hints are
  /// kept.
  public private(set) var unknownHints: [(header: String, value: String)] = []
  public private(set) var model = ""
  public private(set) var provider: String?
  public private(set) var key: String?
  /// All attempts, the first one first.
  public var attempts: [Attempt] { latest.map { earlier + [$0] } ?? [] }
  /// The running or last attempt. Mostly it is the only one, so that no array is allocated.
  private var latest: Attempt?
  private var earlier: [Attempt] = []
  public private(set) var attemptCount = 0
  public private(set) var waits: [Wait] = []
  public private(set) var usage: Usage?
  /// True where a provider gave a count or a price that cannot be true; it was cut.
  public private(set) var hadImpossibleNumbers = false
  /// The cost of all attempts; nil while none has ended, and where the price of one is unknown.
  public private(set) var cost: Money?
  public private(set) var estimatedInput: TokenCount = 0
  /// What was expected when the last attempt was granted: what its provider would count of the input, the output, and how
  /// much of the input it would read from its cache. nil before that.
  public private(set) var expectation: Expectation?
  public struct Expectation: Sendable, Equatable {
    public var input: TokenCount
    public var output: TokenCount
    public var cached: TokenCount
  }
  /// What was left of the tenant's tightest budget when the request was granted or concluded; nil where the tenant has
  /// none.
  public private(set) var budgetRemaining: Money?
  /// The status that the client got; 0 where it has got none.
  public private(set) var status = 0
  public private(set) var isStreaming = false
  /// Nanoseconds since 1970.
  public let arrivedAtWall: Int64
  /// Monotonic nanoseconds.
  public let arrivedAt: UInt64
  public private(set) var submittedAt: UInt64?
  /// When the request had waited for `promote_after`; nil where it has not.
  public private(set) var promotedAt: UInt64?
  public private(set) var grantedAt: UInt64?
  /// When its last attempt ended after which another is to follow; nil where there was none.
  private var requeuedAt: UInt64?
  /// True from the end of an attempt that is to be repeated to the next grant, or to the end.
  private var waitsAgain = false
  public private(set) var firstByteAt: UInt64?
  public private(set) var endedAt: UInt64?
  /// The time in the queue, all waits together.
  public private(set) var queued: Span = .zero
  public private(set) var bytesIn = 0
  public private(set) var bytesOut = 0
  /// The text of our own error, where we made one; it may quote the client. Cut to 256 bytes.
  public private(set) var message: String?
  /// Its place in its trace; nil where no collector is told of calls.
  private(set) var trace: CallTrace?
  public var traceID: String? { trace?.trace.text }
  /// The model that answered the last attempt, where a collector is told of it. Cut to 256 bytes.
  private(set) var answeringModel: String?

  init(id: RequestID, method: String, path: String, priority: Priority, arrivedAt: UInt64, arrivedAtWall: Int64) {
    self.id = id
    text = id.text
    self.method = method
    self.path = RecordText.cut(path)
    self.priority = priority
    self.arrivedAt = arrivedAt
    self.arrivedAtWall = arrivedAtWall
  }

  /// True while its body is still on the way.
  public var isArriving: Bool { state == .queued && submittedAt == nil }

  // MARK: For a collector

  func traced(_ trace: CallTrace) { self.trace = trace }
  func answered(by model: String?) { answeringModel = model.map { RecordText.cut($0) } }

  // MARK: Before the queue

  /// Notes the path without our prefixes and the query.
  func asked(for path: Substring) {
    // Mostly there were none, and the path is already noted.
    if path != self.path[...] { self.path = RecordText.cut(String(path)) }
  }

  func identified(_ caller: Caller) {
    tenant = caller.name
    clientKey = caller.key
  }

  func bodyCame(_ bytes: Int) { bytesIn = bytes }

  func understood(_ facts: RequestFacts) {
    isStreaming = facts.isStreaming
    model = facts.model ?? ""
    estimatedInput = facts.estimatedInput
  }

  func classed(_ classed: Classed) {
    let classification = classed.classification
    session = classed.session
    agent = classed.agent
    priority = classification.priority
    priorityReason = classification.reason
    kind = classification.kind
  }

  func submitted(at now: UInt64) { submittedAt = now }

  // MARK: In the queue

  /// Notes another reason why the request waits. The first 16 are kept.
  func waiting(_ reading: BlockerReading, at now: UInt64) {
    if waits.last?.until == nil, waits.last?.blocker == reading.blocker { return }
    endWait(at: now)
    guard waits.count < 16 else { return }
    waits.append(Wait(since: now, reading))
  }

  private func endWait(at now: UInt64) {
    if !waits.isEmpty, waits[waits.count - 1].until == nil { waits[waits.count - 1].until = now }
  }

  /// The times at which it waited, all reasons together, in monotonic nanoseconds; the last one ends now where it still
  /// does.
  public func stays(at now: UInt64) -> [ClosedRange<UInt64>] {
    guard var start = submittedAt else { return [] }
    var stays: [ClosedRange<UInt64>] = []
    let attempts = attempts
    for (index, attempt) in attempts.enumerated() {
      // An attempt begins anew when it is sent.
      let end = index == attempts.count - 1 ? min(grantedAt ?? attempt.began, attempt.began) : attempt.began
      if end >= start { stays.append(start...end) }
      start = attempt.ended ?? .max
    }
    // After an attempt that was its last it did not wait.
    guard attempts.isEmpty || waitsAgain, state != .running else { return stays }
    let end = endedAt ?? now
    if end >= start, start != .max { stays.append(start...end) }
    return stays
  }

  /// Notes that the request has waited longer than its class's `promote_after`.
  func promoted(at now: UInt64) { promotedAt = now }

  /// Notes that a budget that is used up has lowered the request's class.
  func demoted(by budget: BudgetReading) {
    priority = .low
    priorityReason = "budget \(budget.id) is used up"
  }

  /// Notes that the request waits for another attempt.
  func requeued(at now: UInt64) {
    state = .queued
    requeuedAt = now
    waitsAgain = true
  }

  // MARK: Its attempts

  func granted(_ grant: Grant, at now: UInt64) {
    grantedAt = now
    waitsAgain = false
    endWait(at: now)
    state = .running
    expectation = Expectation(
      input: grant.reservedInput, output: grant.reservedOutput, cached: grant.expectedCached)
    queued = grant.queued
    provider = grant.provider.name
    key = grant.key?.name
    attemptCount = grant.attempt
    budgetRemaining = grant.budgetRemaining
    if let latest { earlier.append(latest) }
    latest = Attempt(
      number: grant.attempt, provider: grant.provider.name, key: grant.key?.name, began: now, held: grant.held)
  }

  /// When the last attempt was sent; before that, when it was granted.
  var attemptBegan: UInt64 { latest?.began ?? arrivedAt }
  /// The status of the last attempt's answer; nil where there is none.
  var attemptStatus: Int? { latest?.status }
  /// How long the last attempt's answer took to begin; nil where it has not.
  var attemptFirstByte: Span? {
    latest.flatMap { attempt in attempt.firstByte.map { Span(nanoseconds: Int64(clamping: $0 &- attempt.began)) } }
  }
  /// Why the last attempt's transport failed; nil where it did not.
  var attemptFailure: String? { latest?.failure }

  func sent(at now: UInt64) { latest?.began = now }

  /// Notes that the head of the attempt's answer has come.
  func answered(_ status: Int, at now: UInt64) {
    latest?.status = status
    latest?.firstByte = now
  }

  /// Notes that the attempt's answer is relayed to the client.
  func relaying(_ status: Int) { self.status = status }

  func firstByteCame(at now: UInt64) { if firstByteAt == nil { firstByteAt = now } }

  /// Notes bytes of the answer that have gone to the client, or wait to be sent.
  func passedOn(_ bytes: Int) { bytesOut += bytes }

  /// - Parameters:
  ///   - usage: nil where nothing was used.
  ///   - cost: nil where it is unknown, which makes the request's cost unknown too.
  func attemptEnded(
    at now: UInt64, _ verdict: Verdict, failure: String?, usage: Usage?, cost: Money?, costSource: CostSource
  ) {
    latest?.ended = now
    latest?.verdict = verdict.kind
    latest?.failure = failure.map { RecordText.cut($0) }
    latest?.cost = cost
    latest?.costSource = costSource
    latest?.usage = usage
    if let usage { self.usage = usage }
    addCost(cost)
  }

  private func addCost(_ attempt: Money?) {
    guard let attempt else {
      costIsUnknown = true
      cost = nil
      return
    }
    guard !costIsUnknown else { return }
    var sum = cost ?? .zero
    sum.add(attempt)
    cost = sum
  }
  private var costIsUnknown = false

  func numbersWereCut() { hadImpossibleNumbers = true }

  // MARK: Its end

  /// Notes what the core tells at the request's end.
  func judged(queued: Span, budgetRemaining: Money?) {
    self.queued = max(self.queued, queued)
    self.budgetRemaining = budgetRemaining
  }

  /// Notes what the budgets leave, where the core did not tell.
  func budgetLooked(_ remaining: () -> Money?) { if budgetRemaining == nil { budgetRemaining = remaining() } }

  /// Notes an answer that is known in full and not relayed by an attempt.
  func answers(_ status: Int, bytes: Int) {
    self.status = status
    bytesOut = bytes
  }

  /// - Parameter message: the text of our own error.
  func explained(_ message: String) { self.message = RecordText.cut(message) }

  func concluded(_ outcome: Outcome, at now: UInt64) {
    self.outcome = outcome
    endWait(at: now)
    state = .ended
    endedAt = now
  }

  // MARK: Hints

  func noteUnknownHint(_ header: String, _ value: String) {
    guard unknownHints.count < 8 else { return }
    func cut(_ text: String) -> String {
      text.utf8.count <= 128 ? text : String(decoding: text.utf8.prefix(125), as: UTF8.self) + "..."
    }
    unknownHints.append((cut(header), cut(value)))
  }

  /// The bytes of text that clients and providers chose.
  var textBytes: Int {
    path.utf8.count + session.utf8.count + model.utf8.count + (message?.utf8.count ?? 0) + method.utf8.count
      + (trace?.state.utf8.count ?? 0) + (answeringModel?.utf8.count ?? 0) + tenant.utf8.count + (kind?.utf8.count ?? 0)
      + agent.utf8.count
      + unknownHints.reduce(0) { $0 + $1.header.utf8.count + $1.value.utf8.count }
  }

  /// Milliseconds in the queue; for a request that still waits, until `now`.
  public func queuedMilliseconds(at now: UInt64) -> Int64 {
    // Its waits before earlier attempts are summed already.
    guard state == .queued, let since = requeuedAt ?? submittedAt, now > since else { return queued.wholeMilliseconds }
    return queued.wholeMilliseconds + Int64((now - since) / 1_000_000)
  }
}
