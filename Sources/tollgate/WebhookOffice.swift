// Connects the courier with the process: the broker's news become messages, a timer of the loop wakes it up, and secrets
// are read with those of the keys.
import AdminConsole
import AdmissionCore
import BrokerEngine
import Courier
import EventLoop
import HTTPEndpoint
import Logging
import PolicyFile
import UpstreamHTTP

final class WebhookOffice {
  /// How long the end of the process waits for messages.
  static let endPatience = Duration.seconds(3)

  let courier: Courier
  private let loop: EventLoop
  private let upstream: CurlUpstream
  private let logger: Logger
  private let timer: LoopTimer
  private var interpreter = NewsInterpreter()
  private var endTimer: LoopTimer?
  /// By the webhook's URL.
  private var lines: [String: OutageLines] = [:]

  init(loop: EventLoop, upstream: CurlUpstream, broker: Operator, logger: Logger) {
    self.loop = loop
    self.upstream = upstream
    self.logger = logger
    // The timer and the courier know each other.
    let address = LoopAddress<WebhookOffice>()
    let timer = LoopTimer(loop) { address.target?.courier.wake() }
    self.timer = timer
    courier = Courier(
      CourierParts(
        upstream: upstream, now: { loop.now }, wall: SystemClock.wall,
        draw: { UInt64.random(in: .min ... .max) }, hash: Digest.sha256, schedule: { timer.schedule(at: $0) },
        userAgent: "tollgate/\(tollgateVersion)"))
    address.target = self
    courier.onFailure = { record in
      logger.warning(
        "a webhook was not told",
        metadata: [
          "webhook": "\(Webhook.shown(record.url))", "event": "\(record.news.event.rawValue)",
          "subject": "\(record.news.subject)", "attempts": "\(record.attempts)", "reason": "\(record.error ?? "")",
        ])
    }
    courier.onOutage = { [unowned self] in outageChanged($0, $1) }
    broker.listen { [weak self] news in self?.hear(news) }
  }

  /// Takes up the webhooks of a policy. What waits for those that stay goes on.
  func configure(_ policy: Policy, _ secrets: WebhookSecrets) {
    for webhook in policy.webhooks {
      if webhook.isCleartext {
        logger.warning(
          "messages to a webhook cross the network in clear text", metadata: ["webhook": "\(webhook.shownURL)"])
      }
      upstream.configure(provider: Courier.pool(of: webhook.url), ProviderTransport(maxIdleConnections: 1))
    }
    let urls = Set(policy.webhooks.map(\.url))
    lines = lines.filter { urls.contains($0.key) }
    courier.replaceHooks(policy.webhooks.map { CourierHook($0, secret: secrets[$0.url]) })
  }

  /// The webhooks whose last message did not arrive; nil where all did.
  var trouble: OutwardTrouble? {
    guard let first = courier.outages.first else { return nil }
    let others = courier.outages.count - 1
    let more = others > 0 ? ", and \(others) more" : ""
    return OutwardTrouble(
      what: "webhook_away", since: courier.outages.map(\.since).min() ?? first.since,
      text: "the webhook \(Webhook.shown(first.url))\(more) does not take messages: \(first.reason)")
  }

  private func outageChanged(_ url: String, _ reason: String?) {
    let verdict = lines[url, default: OutageLines()].change(at: loop.now)
    guard verdict != .untold else { return }
    var metadata: Logger.Metadata = ["webhook": "\(Webhook.shown(url))"]
    if verdict == .toldLast { metadata["unlogged"] = "\(OutageLines.lastNote)" }
    guard let reason else { return logger.info("the webhook takes messages again", metadata: metadata) }
    metadata["reason"] = "\(reason)"
    logger.warning("the webhook does not take messages", metadata: metadata)
  }

  private func hear(_ news: News) {
    switch news {
    case .notice(let notice):
      for news in interpreter.news(of: notice, at: SystemClock.wall()) { courier.tell(news) }
    case .alert(let alert, let before):
      if let news = NewsInterpreter.news(of: alert, before: before, at: SystemClock.wall()) { courier.tell(news) }
    case .keys(let report):
      for news in interpreter.news(of: report, at: SystemClock.wall()) { courier.tell(news) }
    case .change: break
    }
  }

  /// Tries everything that waits once more, for at most `endPatience`.
  func end(then report: @escaping () -> Void) {
    var isOver = false
    let finish = {
      guard !isOver else { return }
      isOver = true
      report()
    }
    let timer = LoopTimer(loop) { finish() }
    timer.schedule(after: WebhookOffice.endPatience)
    endTimer = timer
    courier.end(then: finish)
  }
}

/// Which notices webhooks are told, and in which words.
struct NewsInterpreter {
  /// Why a provider gets no calls.
  private enum OutageCause { case breaker, keys }
  /// Providers that get no calls, and keys that are disabled: their ends are told too.
  private var outages: [String: Set<OutageCause>] = [:]
  private var disabledKeys: Set<String> = []

  /// - Parameter wall: nanoseconds since 1970.
  mutating func news(of notice: Notice, at wall: Int64) -> [WebhookNews] {
    func one(_ event: WebhookEvent, _ subject: String, _ state: String, _ text: String) -> WebhookNews {
      WebhookNews(event: event, at: wall, subject: subject, state: state, text: text)
    }
    switch notice {
    case .breakerChanged(let provider, let model, let state, let reason):
      let subject = model.map { "\(provider)/\($0)" } ?? provider.name
      let because = reason.isEmpty ? "" : ": \(reason)"
      var news = [one(.breaker, subject, state.rawValue, "breaker of \(subject) is \(state.rawValue)\(because)")]
      guard model == nil else { return news }
      switch state {
      case .open: news += began(provider.name, .breaker, "\(provider) gets no calls any more\(because)", at: wall)
      case .closed: news += ended(provider.name, .breaker, at: wall)
      case .halfOpen: break
      }
      return news
    case .keyChanged(let provider, let key, let state, let reason):
      let subject = "\(provider)/\(key)"
      switch state {
      case .disabled where disabledKeys.insert(subject).inserted:
        return [one(.key, subject, "disabled", "key \(subject) is disabled: \(reason.text)")]
      case .usable where disabledKeys.remove(subject) != nil:
        return [one(.key, subject, "usable", "key \(subject) is usable again")]
      case .disabled, .usable, .cooling: return []
      }
    case .budgetWarned(let reading):
      return [one(.budget, reading.id, "warned", reading.standing ?? "budget \(reading.id) is nearly used up")]
    case .budgetExceeded(let reading):
      return [one(.budget, reading.id, "exceeded", reading.standing ?? "budget \(reading.id) is used up")]
    default: return []
    }
  }

  mutating func news(of report: KeyReport, at wall: Int64) -> [WebhookNews] {
    switch report {
    case .allRefused(let providers, _):
      providers.flatMap { began($0.provider, .keys, $0.text, at: wall) }
    case .recovered(let provider, _): ended(provider, .keys, at: wall)
    }
  }

  /// An outage is told once, whatever keeps calls away.
  private mutating func began(
    _ provider: String, _ cause: OutageCause, _ text: String, at wall: Int64
  ) -> [WebhookNews] {
    let isNew = outages[provider] == nil
    outages[provider, default: []].insert(cause)
    return isNew
      ? [WebhookNews(event: .outage, at: wall, subject: provider, state: "began", text: text)] : []
  }

  private mutating func ended(_ provider: String, _ cause: OutageCause, at wall: Int64) -> [WebhookNews] {
    guard outages[provider]?.remove(cause) != nil, outages[provider]?.isEmpty == true else { return [] }
    outages[provider] = nil
    return [
      WebhookNews(event: .outage, at: wall, subject: provider, state: "ended", text: "\(provider) gets calls again")
    ]
  }

  /// - Parameters:
  ///   - alert: nil where it fires no more.
  ///   - before: how it was; nil where it did not fire.
  static func news(of alert: FiringAlert?, before: FiringAlert?, at wall: Int64) -> WebhookNews? {
    guard let one = alert ?? before else { return nil }
    if one.name == "ledger" {
      return WebhookNews(
        event: .outage, at: wall, subject: one.name, state: alert == nil ? "ended" : "began",
        text: alert?.text ?? "the ledger can be written again")
    }
    return WebhookNews(
      event: .queue, at: wall, subject: one.name, state: alert == nil ? "resolved" : "firing",
      text: alert.map { "\($0.severity.rawValue): \($0.text)" } ?? "the queue is no longer too deep")
  }
}
