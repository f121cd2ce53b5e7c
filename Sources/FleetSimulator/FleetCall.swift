// One call of an agent, with the retries that an SDK makes: attempts over the `Upstream` port, and one timer between
// them.
import EventLoop
import HTTPMessage

/// The result of a call.
struct CallResult {
  enum Ending: Equatable {
    case completed
    /// The status of the last answer; nil where the connection failed.
    case failed(status: Int?)
    case left
    case unfinished
  }
  var ending: Ending
  var queueMilliseconds: Double?
  /// Nanoseconds from the first attempt to the first byte of the final answer.
  var firstByte: UInt64?
  var retries: Int
  var refusalsSeen: Int
}

/// What the client sends and what it knows about the provider.
struct CallPlan {
  var url: String
  var fields: HeaderFields
  var body: [UInt8]
  var patience: AgentGroup.Patience
  var retries: Int
}

/// The retry rules of an SDK (openai-python): it tries again on 408, 409, 429, 5xx and broken connections, after a
/// Retry-After of up to a minute, or else after half a second, doubled each time and reduced by up to a quarter.
struct RetryRule {
  static func isRetried(_ status: Int) -> Bool { status == 408 || status == 409 || status == 429 || status >= 500 }

  /// Milliseconds before retry number `retry`, counted from 0.
  static func delay(_ fields: HeaderFields?, retry: Int, jitter: Double) -> Double {
    if let text = fields?.first("retry-after-ms"), let value = Double(text), value > 0, value <= 60_000 { return value }
    if let text = fields?.first("retry-after"), let value = Double(text), value > 0, value <= 60 { return value * 1000 }
    var delay = 500.0
    for _ in 0..<min(retry, 4) { delay = min(8000, delay * 2) }
    return delay * (1 - 0.25 * jitter)
  }
}

final class FleetCall: UpstreamEvents {
  private let loop: EventLoop
  private let upstream: any Upstream
  private let plan: CallPlan
  private let jitter: Double
  private let firstByteSeen: () -> Void
  private var ended: ((CallResult) -> Void)?
  private let began: UInt64
  private var call: (any UpstreamCall)?
  private var head: ResponseHead?
  private var timer: LoopTimer?
  private var patience: LoopTimer?
  private var result: CallResult

  /// `ended` is called once.
  init(
    loop: EventLoop, upstream: any Upstream, plan: CallPlan, jitter: Double, firstByteSeen: @escaping () -> Void,
    ended: @escaping (CallResult) -> Void
  ) {
    self.loop = loop
    self.upstream = upstream
    self.plan = plan
    self.jitter = jitter
    self.firstByteSeen = firstByteSeen
    self.ended = ended
    began = loop.now
    result = CallResult(ending: .unfinished, retries: 0, refusalsSeen: 0)
  }

  func start() {
    attempt()
    if case .leavesAfter(let milliseconds) = plan.patience { leave(after: milliseconds) }
  }

  /// Gives up because the client decides so or because the run is over.
  func abandon(_ ending: CallResult.Ending) {
    call?.cancel()
    end(ending)
  }

  private func attempt() {
    head = nil
    let timeouts = UpstreamTimeouts(connect: .seconds(5), firstByte: .seconds(600), idle: .seconds(600), total: nil)
    var fields = plan.fields
    if result.retries > 0 { fields.append(name: "x-stainless-retry-count", value: String(result.retries)) }
    call = upstream.begin(
      UpstreamRequest(
        provider: Fleet.providerName, method: "POST", url: plan.url, fields: fields, body: plan.body, timeouts: timeouts
      ),
      events: self)
  }

  private func leave(after milliseconds: Int) {
    let timer = LoopTimer(loop) { [weak self] in self?.abandon(.left) }
    timer.schedule(after: .milliseconds(milliseconds))
    patience = timer
  }

  func upstreamResponded(_ head: ResponseHead) {
    self.head = head
    if [429, 503, 529].contains(head.status) { result.refusalsSeen += 1 }
    guard head.status < 400 else { return }
    result.firstByte = loop.now - began
    result.queueMilliseconds = head.fields.first("x-tollgate-queue-ms").flatMap { Double($0) }
    firstByteSeen()
  }

  func upstreamReceived(_ bytes: ArraySlice<UInt8>) {
    if case .leavesAfterFirstByte(let milliseconds) = plan.patience, patience == nil { leave(after: milliseconds) }
  }

  func upstreamEnded(_ ending: UpstreamEnding) {
    call = nil
    let status: Int? = ending == .completed ? head?.status : nil
    if let status, status < 400 { return end(.completed) }
    // SDKs do not retry a broken body, because the answer had begun.
    let mayRetry = status.map(RetryRule.isRetried) ?? (head == nil)
    guard mayRetry, result.retries < plan.retries else { return end(.failed(status: status)) }
    let wait = RetryRule.delay(head?.fields, retry: result.retries, jitter: jitter)
    result.retries += 1
    let timer = LoopTimer(loop) { [weak self] in self?.attempt() }
    timer.schedule(after: .microseconds(Int(wait * 1000)))
    self.timer = timer
  }

  private func end(_ ending: CallResult.Ending) {
    guard let ended else { return }
    self.ended = nil
    call = nil
    timer = nil
    patience = nil
    result.ending = ending
    ended(result)
  }
}
