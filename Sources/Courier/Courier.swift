// Tells webhooks what happened: signs and sends what the queue says is due, over the same port as calls to providers.
//
// Promises: everything runs on the loop's thread, and an event costs no more than a short message in memory; no redirect is
// followed; of an answer only the status counts, and at most 4 KiB of its body are read; a receiver that hangs costs one
// of four places of its own for 10 s.
import HTTPMessage
import PolicyFile
import TextForms

/// A webhook with its secret.
public struct CourierHook: Sendable {
  public var webhook: Webhook
  /// nil where messages are not signed.
  public var secret: Secret?
  public init(_ webhook: Webhook, secret: Secret?) {
    self.webhook = webhook
    self.secret = secret
  }
}

/// What the courier needs of the process.
public struct CourierParts {
  public var upstream: any Upstream
  /// Monotonic nanoseconds, and nanoseconds since 1970.
  public var now: () -> UInt64
  public var wall: () -> Int64
  /// A number by chance.
  public var draw: () -> UInt64
  /// SHA-256.
  public var hash: ([UInt8]) -> [UInt8]
  /// Calls `Courier.wake` when the monotonic clock reaches this instant; replaces what was scheduled.
  public var schedule: (UInt64) -> Void
  public var userAgent: String

  public init(
    upstream: any Upstream, now: @escaping () -> UInt64, wall: @escaping () -> Int64,
    draw: @escaping () -> UInt64, hash: @escaping ([UInt8]) -> [UInt8], schedule: @escaping (UInt64) -> Void,
    userAgent: String
  ) {
    self.upstream = upstream
    self.now = now
    self.wall = wall
    self.draw = draw
    self.hash = hash
    self.schedule = schedule
    self.userAgent = userAgent
  }
}

public final class Courier {
  static let answerLimit = 4 << 10

  private let parts: CourierParts
  private let signature: WebhookSignature
  private var hooks: [String: CourierHook] = [:]
  private var order: [String] = []
  public private(set) var queue: DeliveryQueue
  /// The webhooks whose last message was not accepted: since when, in nanoseconds since 1970, and why.
  private var failing: [String: (since: Int64, reason: String)] = [:]
  private var whenIdle: (() -> Void)?
  /// Called with a message that was given up.
  public var onFailure: (DeliveryRecord) -> Void = { _ in }
  /// Called with a webhook whose last message was not accepted, and with the reason, where the one before it was; and
  /// without a reason where that is over.
  public var onOutage: (_ url: String, _ reason: String?) -> Void = { _, _ in }

  public init(_ parts: CourierParts, limits: DeliveryLimits = DeliveryLimits()) {
    self.parts = parts
    signature = WebhookSignature(hash: parts.hash)
    queue = DeliveryQueue(limits)
  }

  /// The webhooks, in the policy's order.
  public var webhooks: [Webhook] { order.compactMap { hooks[$0]?.webhook } }

  /// The same in the policy's order.
  public var outages: [(url: String, since: Int64, reason: String)] {
    order.compactMap { url in failing[url].map { (url, $0.since, $0.reason) } }
  }

  /// Replaces the webhooks, and keeps what waits for those that stay.
  public func replaceHooks(_ new: [CourierHook]) {
    order = new.map(\.webhook.url)
    hooks = Dictionary(new.map { ($0.webhook.url, $0) }, uniquingKeysWith: { first, _ in first })
    failing = failing.filter { hooks[$0.key] != nil }
    queue.replaceHooks(new.map { ($0.webhook.url, $0.webhook.events) })
    send()
  }

  public func tell(_ news: WebhookNews) {
    guard !hooks.isEmpty else { return }
    queue.add(news, id: newID(), now: parts.now())
    send()
  }

  /// The scheduled instant has come.
  public func wake() { send() }

  /// Tries everything that waits once more, and reports when nothing waits any more. The caller bounds the time.
  public func end(then report: @escaping () -> Void) {
    whenIdle = report
    queue.end(now: parts.now())
    send()
  }

  private func newID() -> String {
    Hexadecimal.text((0..<2).flatMap { _ in withBytes(parts.draw()) })
  }

  private func withBytes(_ number: UInt64) -> [UInt8] {
    (0..<8).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) }
  }

  private func send() {
    for delivery in queue.take(now: parts.now()) { post(delivery) }
    if let next = queue.nextDue() { parts.schedule(max(next, parts.now())) }
    guard queue.isEmpty, let report = whenIdle else { return }
    whenIdle = nil
    report()
  }

  private func post(_ delivery: WebhookDelivery) {
    guard let hook = hooks[delivery.url] else { return }
    let body = delivery.news.body(hook.webhook.format, id: delivery.id)
    var fields = HeaderFields([
      (name: "content-type", value: "application/json"), (name: "user-agent", value: parts.userAgent),
    ])
    if let secret = hook.secret {
      let seconds = parts.wall() / 1_000_000_000
      fields.append(
        name: "x-tollgate-signature", value: signature.text(body, secret: secret.revealed, at: seconds))
    }
    Posting.begin(
      UpstreamRequest(
        provider: Courier.pool(of: delivery.url), method: "POST", url: delivery.url, fields: fields, body: body,
        timeouts: UpstreamTimeouts(
          connect: .seconds(5), firstByte: .seconds(10), idle: .seconds(5), total: .seconds(15))),
      over: parts.upstream, reading: Courier.answerLimit,
      wait: { [parts] in HTTPDate.wait($0, wall: parts.wall()) }
    ) { [unowned self] answer in
      switch answer {
      case .answered(let status, let retryAfter, _): ended(delivery, .status(status, retryAfter: retryAfter))
      case .failed(let reason): ended(delivery, .failed(reason))
      }
    }
  }

  /// The name of the connections to a webhook: no provider can have it.
  public static func pool(of url: String) -> String { "webhook \(url)" }

  private func note(_ reason: String, of url: String) {
    guard hooks[url] != nil else { return }
    let since = failing[url]?.since
    failing[url] = (since ?? parts.wall(), reason)
    if since == nil { onOutage(url, reason) }
  }

  private func ended(_ delivery: WebhookDelivery, _ answer: DeliveryAnswer) {
    switch answer {
    case .status(let status, _) where (200..<300).contains(status):
      if failing.removeValue(forKey: delivery.url) != nil { onOutage(delivery.url, nil) }
    case .status(let status, _): note("the receiver answered \(status)", of: delivery.url)
    case .failed(let reason): note(reason, of: delivery.url)
    }
    let failed = queue.totals.failed
    queue.ended(delivery, answer, now: parts.now(), share: Double(parts.draw() >> 11) / Double(1 << 53))
    if queue.totals.failed > failed,
      let record = queue.records.last(where: { $0.id == delivery.id && $0.url == delivery.url })
    {
      onFailure(record)
    }
    send()
  }
}
