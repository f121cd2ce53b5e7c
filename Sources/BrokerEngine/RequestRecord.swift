// What is known about one request, from its head to its end: for the API, the log, `explain` and metrics. No content, no secret.
import AdmissionCore
import Pricing

/// One request's story so far.
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
    /// `success`, `throttled`, ...; nil while it runs.
    public var verdict: String?
    /// Why the transport broke, where it did.
    public var failure: String?
    /// The estimate that was held while it ran; nil where the price is unknown.
    public var held: Money?
    /// nil while it runs, and where the price is unknown.
    public var cost: Money?
    public var costSource: CostSource?

    mutating func end(at now: UInt64, verdict: String, failure: String?, cost: Money?, costSource: CostSource) {
      ended = now
      self.verdict = verdict
      self.failure = failure.map { RecordText.cut($0) }
      self.cost = cost
      self.costSource = costSource
    }
  }

  /// One reason for which it waited, from `since` until the next one or the grant.
  public struct Wait: Sendable {
    public var since: UInt64
    public var blocker: Blocker

    public init(since: UInt64, blocker: Blocker) {
      self.since = since
      self.blocker = blocker
    }
  }

  public let id: RequestID
  public let text: String
  public internal(set) var state: State = .queued
  public internal(set) var outcome: Outcome?
  public internal(set) var method: String
  /// Without query: a query may hold a key. Cut to 256 bytes.
  public internal(set) var path: String {
    didSet { path = RecordText.cut(path) }
  }
  public internal(set) var tenant = ""
  public internal(set) var clientKey: ClientKeyID?
  public internal(set) var session = ""
  public internal(set) var priority: Priority
  public internal(set) var priorityReason = ""
  public internal(set) var kind: String?
  /// Hints of the client that name nothing we know, by lower-case field; values cut to 128 bytes, 8 hints at most.
  public private(set) var unknownHints: [(header: String, value: String)] = []
  public internal(set) var model = ""
  public internal(set) var provider: String?
  public internal(set) var key: String?
  public internal(set) var attempts: [Attempt] = []
  public internal(set) var attemptCount = 0
  public internal(set) var waits: [Wait] = []
  public internal(set) var usage: Usage?
  /// A provider gave a count or a price that cannot be true; it was cut.
  public internal(set) var hadImpossibleNumbers = false
  /// All its attempts together; nil while none has ended, and where the price of one is unknown.
  public internal(set) var cost: Money?
  public internal(set) var estimatedInput: TokenCount = 0
  /// What the tightest of the tenant's budgets left when it was granted or concluded; nil where it has none.
  public internal(set) var budgetRemaining: Money?
  /// The status that the client got; 0 where it got none.
  public internal(set) var status = 0
  public internal(set) var isStreaming = false
  /// Nanoseconds since 1970.
  public internal(set) var arrivedAtWall: Int64
  /// Monotonic nanoseconds.
  public internal(set) var arrivedAt: UInt64
  public internal(set) var submittedAt: UInt64?
  /// When it had waited for `promote_after`; nil where it has not.
  public internal(set) var promotedAt: UInt64?
  public internal(set) var grantedAt: UInt64?
  public internal(set) var firstByteAt: UInt64?
  public internal(set) var endedAt: UInt64?
  /// Time in the queue, all waits together.
  public internal(set) var queued: Span = .zero
  public internal(set) var bytesIn = 0
  public internal(set) var bytesOut = 0
  /// Our own error's text, where we made one; it may quote the client. Cut to 256 bytes.
  public internal(set) var message: String? {
    didSet { if let text = message { message = RecordText.cut(text) } }
  }

  init(id: RequestID, method: String, path: String, priority: Priority, arrivedAt: UInt64, arrivedAtWall: Int64) {
    self.id = id
    text = id.text
    self.method = method
    self.path = RecordText.cut(path)
    self.priority = priority
    self.arrivedAt = arrivedAt
    self.arrivedAtWall = arrivedAtWall
  }

  /// An attempt ended; nil is a cost that nobody knows, and one such makes the sum unknown.
  func addCost(_ attempt: Money?) {
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

  func noteUnknownHint(_ header: String, _ value: String) {
    guard unknownHints.count < 8 else { return }
    func cut(_ text: String) -> String {
      text.utf8.count <= 128 ? text : String(decoding: text.utf8.prefix(125), as: UTF8.self) + "..."
    }
    unknownHints.append((cut(header), cut(value)))
  }

  /// Bytes of text that senders chose.
  var textBytes: Int {
    path.utf8.count + session.utf8.count + model.utf8.count + (message?.utf8.count ?? 0) + method.utf8.count
      + tenant.utf8.count + (kind?.utf8.count ?? 0)
      + unknownHints.reduce(0) { $0 + $1.header.utf8.count + $1.value.utf8.count }
  }

  /// Milliseconds in the queue; for one that still waits, until `now`.
  public func queuedMilliseconds(at now: UInt64) -> Int64 {
    if state == .queued, let submittedAt, now > submittedAt, grantedAt == nil {
      return Int64((now - submittedAt) / 1_000_000)
    }
    return queued.wholeMilliseconds
  }
}

/// All requests that are alive, and the last ones that ended, in a ring of fixed size.
public struct RequestBook {
  public private(set) var live: [RequestID: RequestRecord] = [:]
  private var ring: [RequestRecord] = []
  private var sizes: [Int] = []
  /// Bytes of senders' text in the records that ended.
  private(set) var textBytes = 0
  private var next = 0
  private let capacity: Int

  init(capacity: Int) { self.capacity = capacity }

  mutating func began(_ record: RequestRecord) { live[record.id] = record }

  mutating func ended(_ record: RequestRecord) {
    live[record.id] = nil
    guard capacity > 0 else { return }
    let size = record.textBytes
    textBytes += size
    if ring.count < capacity {
      ring.append(record)
      sizes.append(size)
    } else {
      textBytes -= sizes[next]
      sizes[next] = size
      ring[next] = record
      next = (next + 1) % capacity
    }
  }

  /// The newest first.
  /// - Parameter tenant: nil gives every tenant's.
  public func recent(limit: Int, tenant: String? = nil) -> [RequestRecord] {
    let ordered = (ring[next...] + ring[..<next]).filter { tenant == nil || $0.tenant == tenant }
    return Array(ordered.suffix(max(0, limit)).reversed())
  }

  /// Oldest first.
  public func alive(_ state: RequestRecord.State, limit: Int, tenant: String? = nil) -> [RequestRecord] {
    let some = live.values.filter { $0.state == state && (tenant == nil || $0.tenant == tenant) }
    return Array(some.sorted { $0.id < $1.id }.prefix(max(0, limit)))
  }

  public func record(_ id: RequestID) -> RequestRecord? {
    live[id] ?? ring.last { $0.id == id }
  }
}
