// Which messages wait for which webhook, and when each is tried: a value that changes by events, without clock,
// randomness or network.
//
// Promises: each webhook has a queue of its own, bounded in messages and bytes, of which an overflow drops the oldest and
// counts it; so a slow webhook delays and displaces nothing of another. Messages about one subject are sent one after
// the other, in their order. A message that is not accepted is tried again, ever more rarely, for an hour.
import PolicyFile

/// How one try ended.
public enum DeliveryAnswer: Sendable, Equatable {
  /// - Parameter retryAfter: what the receiver asks for, in nanoseconds.
  case status(Int, retryAfter: UInt64?)
  /// There was no answer; why.
  case failed(String)
}

/// A message that is to be sent now.
public struct WebhookDelivery: Sendable, Equatable {
  public var id: String
  public var url: String
  public var news: WebhookNews
  /// 1 for the first try.
  public var attempt: Int
}

/// How a message fares, for the list of deliveries.
public struct DeliveryRecord: Sendable, Equatable {
  public enum Result: String, Sendable, CaseIterable { case waiting, delivered, failed, dropped }
  public var id: String
  public var url: String
  public var news: WebhookNews
  public var result: Result
  public var attempts: Int
  /// Of the last answer; nil where there was none.
  public var status: Int?
  /// When it is tried next, by the monotonic clock; nil where it is not.
  public var next: UInt64?
  /// Why the last try failed.
  public var error: String?
}

public struct DeliveryCounts: Sendable, Equatable {
  public var delivered = 0
  public var failed = 0
  public var dropped = 0
  public init() {}
}

public struct DeliveryLimits: Sendable, Equatable {
  /// Of one webhook.
  public var mostWaiting = 1_000
  public var mostBytes = 1 << 20
  /// The most tries of one webhook at a time.
  public var mostSending = 4
  /// The most entries of the list of deliveries.
  public var mostRecords = 200
  /// The pause after the first failure, which doubles after each one; and the longest.
  public var firstPause: UInt64 = 1_000_000_000
  public var longestPause: UInt64 = 600_000_000_000
  /// How long a message is tried.
  public var patience: UInt64 = 3_600_000_000_000
  public init() {}
}

public struct DeliveryQueue: Sendable {
  private struct Item: Sendable {
    var id: String
    var news: WebhookNews
    var began: UInt64
    var due: UInt64
    var attempts = 0
    var isSending = false
  }
  private struct Line: Sendable {
    var events: Set<WebhookEvent>
    /// In the order in which they came.
    var items: [Item] = []
    var bytes = 0
    var counts = DeliveryCounts()
  }
  private struct Subject: Hashable {
    var event: WebhookEvent
    var name: String
  }

  private let limits: DeliveryLimits
  private var lines: [String: Line] = [:]
  /// Their URLs, in the policy's order.
  private var order: [String] = []
  /// The newest last.
  public private(set) var records: [DeliveryRecord] = []
  /// Of all webhooks, also those that are gone.
  public private(set) var totals = DeliveryCounts()
  /// True once nothing is tried a second time.
  public private(set) var isEnding = false

  public init(_ limits: DeliveryLimits = DeliveryLimits()) { self.limits = limits }

  // MARK: What there is

  public var isEmpty: Bool { lines.values.allSatisfy(\.items.isEmpty) }
  public func waiting(_ url: String) -> Int { lines[url]?.items.count ?? 0 }
  public func counts(_ url: String) -> DeliveryCounts { lines[url]?.counts ?? DeliveryCounts() }

  // MARK: Events

  /// Replaces the webhooks. What waits for one that stays goes on; what waits for one that is gone is dropped.
  public mutating func replaceHooks(_ hooks: [(url: String, events: Set<WebhookEvent>)]) {
    order = hooks.map(\.url)
    for (url, events) in hooks { lines[url, default: Line(events: events)].events = events }
    for url in lines.keys where !order.contains(url) {
      for item in lines[url]?.items ?? [] { drop(item, of: url, because: "the webhook is no longer in the policy") }
      lines[url] = nil
    }
  }

  /// Adds a message for each webhook that wants it.
  public mutating func add(_ news: WebhookNews, id: String, now: UInt64) {
    for url in order where lines[url]?.events.contains(news.event) == true {
      lines[url]?.items.append(Item(id: id, news: news, began: now, due: now))
      lines[url]?.bytes += news.size
      note(
        DeliveryRecord(id: id, url: url, news: news, result: .waiting, attempts: 0, status: nil, next: now, error: nil))
      makeRoom(url)
    }
  }

  /// The messages that are to be sent now; they count as being sent.
  public mutating func take(now: UInt64) -> [WebhookDelivery] {
    var taken: [WebhookDelivery] = []
    for url in order {
      guard var line = lines[url] else { continue }
      var sending = line.items.count { $0.isSending }
      var passed: Set<Subject> = []
      for (index, item) in line.items.enumerated() {
        guard passed.insert(Subject(event: item.news.event, name: item.news.subject)).inserted, !item.isSending,
          item.due <= now, sending < limits.mostSending
        else { continue }
        sending += 1
        line.items[index].isSending = true
        line.items[index].attempts += 1
        taken.append(WebhookDelivery(id: item.id, url: url, news: item.news, attempt: item.attempts + 1))
      }
      lines[url] = line
    }
    return taken
  }

  /// A try has ended.
  /// - Parameter share: a random number from 0 up to, but without, 1: webhooks that failed together are not tried again together.
  public mutating func ended(_ delivery: WebhookDelivery, _ answer: DeliveryAnswer, now: UInt64, share: Double) {
    // A webhook that is gone has dropped it already.
    guard let index = lines[delivery.url]?.items.firstIndex(where: { $0.id == delivery.id && $0.isSending }),
      let item = lines[delivery.url]?.items[index]
    else { return }
    var status: Int?
    var error: String?
    var retryAfter: UInt64 = 0
    var isFinal = isEnding
    switch answer {
    case .status(let code, let after):
      status = code
      if (200..<300).contains(code) {
        remove(at: index, of: delivery.url)
        count(delivery.url) { $0.delivered += 1 }
        return update(item, delivery.url) {
          $0.result = .delivered
          $0.status = code
          $0.error = nil
        }
      }
      error = "the receiver answered \(code)"
      retryAfter = after ?? 0
      // A redirect is not followed: the signed message is meant for this address. 410 says that nobody will ever listen.
      if (300..<400).contains(code) || code == 410 { isFinal = true }
    case .failed(let reason): error = reason
    }
    let end = item.began + limits.patience
    if isFinal || now >= end {
      remove(at: index, of: delivery.url)
      count(delivery.url) { $0.failed += 1 }
      return update(item, delivery.url) {
        $0.result = .failed
        $0.status = status
        $0.error = error
      }
    }
    // The last try is at the end of the hour.
    let due = min(end, now + max(pause(after: item.attempts, share: share), retryAfter))
    lines[delivery.url]?.items[index].isSending = false
    lines[delivery.url]?.items[index].due = due
    update(item, delivery.url) {
      $0.status = status
      $0.error = error
      $0.next = due
    }
  }

  /// The process ends: everything is tried once more, now, and nothing after that.
  public mutating func end(now: UInt64) {
    isEnding = true
    for url in order {
      for index in lines[url]?.items.indices ?? 0..<0 { lines[url]?.items[index].due = now }
    }
  }

  /// When `take` has something, if nothing else happens before; nil where it will not.
  public func nextDue() -> UInt64? {
    var next: UInt64?
    for line in lines.values {
      guard line.items.count(where: { $0.isSending }) < limits.mostSending else { continue }
      var passed: Set<Subject> = []
      for item in line.items
      where passed.insert(Subject(event: item.news.event, name: item.news.subject)).inserted && !item.isSending {
        next = min(next ?? item.due, item.due)
      }
    }
    return next
  }

  // MARK: Parts

  private func pause(after attempts: Int, share: Double) -> UInt64 {
    var pause = limits.firstPause
    for _ in 1..<max(1, min(attempts, 32)) { pause = min(limits.longestPause, pause * 2) }
    return pause / 2 + UInt64(Double(pause / 2) * max(0, min(1, share)))
  }

  /// Drops the oldest until the rest fits; what is being sent stays.
  private mutating func makeRoom(_ url: String) {
    while let line = lines[url], line.items.count > limits.mostWaiting || line.bytes > limits.mostBytes,
      let oldest = line.items.firstIndex(where: { !$0.isSending })
    {
      remove(at: oldest, of: url)
      drop(line.items[oldest], of: url, because: "too many messages waited")
    }
  }

  private mutating func drop(_ item: Item, of url: String, because reason: String) {
    count(url) { $0.dropped += 1 }
    update(item, url) {
      $0.result = .dropped
      $0.error = reason
    }
  }

  private mutating func remove(at index: Int, of url: String) {
    guard let item = lines[url]?.items.remove(at: index) else { return }
    lines[url]?.bytes -= item.news.size
  }

  private mutating func count(_ url: String, _ change: (inout DeliveryCounts) -> Void) {
    change(&totals)
    if var line = lines[url] {
      change(&line.counts)
      lines[url] = line
    }
  }

  private mutating func note(_ record: DeliveryRecord) {
    records.append(record)
    if records.count > limits.mostRecords { records.removeFirst(records.count - limits.mostRecords) }
  }

  private mutating func update(_ item: Item, _ url: String, _ change: (inout DeliveryRecord) -> Void) {
    guard let index = records.lastIndex(where: { $0.id == item.id && $0.url == url }) else { return }
    records[index].attempts = item.attempts
    records[index].next = nil
    change(&records[index])
  }
}
