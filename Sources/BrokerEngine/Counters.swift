// Counts what the engine does, and reports each request that ends.
//
// Promise: labels come from the policy, never from a client's text (`LabelPolicy`).
import AdmissionCore
import PolicyFile

final class Counters {
  private(set) var metrics = BrokerMetrics()
  /// The last hour, which the sampler cuts into slots.
  var history: RecentHistory
  private var labels: LabelPolicy
  private let requestEnded: (RequestRecord) -> Void

  /// - Parameter wall: nanoseconds since 1970.
  init(labels: LabelPolicy, at wall: Int64, requestEnded: @escaping (RequestRecord) -> Void) {
    history = RecentHistory(at: wall)
    self.labels = labels
    self.requestEnded = requestEnded
  }

  /// New rules for labels are in force; adopted labels stay where there is room.
  func replaceLabels(_ new: LabelPolicy) {
    var new = new
    new.inheritLabels(from: labels)
    labels = new
  }

  /// Counts a request that has its outcome.
  func ended(_ record: RequestRecord) {
    guard let outcome = record.outcome else { return }
    metrics.requests.add(
      BrokerMetrics.RequestLabels(provider: record.provider ?? "none", priority: record.priority, outcome: outcome))
    history.ended(record.provider ?? "none", outcome)
    requestEnded(record)
  }

  func label(ofModel name: String) -> String { labels.known(name) }

  /// - Parameter now: monotonic nanoseconds.
  func waited(_ record: RequestRecord, _ queued: Span, at now: UInt64) {
    metrics.waited(record.priority, queued, record.id, at: now)
    history.waited(record.priority, queued)
  }

  /// - Parameter ownTime: nanoseconds that the broker itself spent on a granted request, without queue and provider.
  func tookOurTime(_ ownTime: UInt64) { metrics.overhead.observe(Span(nanoseconds: Int64(clamping: ownTime))) }

  /// - Parameter waited: nanoseconds from sending the call to the head of its answer.
  func answered(_ provider: String, _ status: Int, after waited: UInt64) {
    metrics.firstByte.count(provider, from: Histogram.firstByte) {
      $0.observe(Span(nanoseconds: Int64(clamping: waited)))
    }
    metrics.upstreamResponses.add(
      BrokerMetrics.StatusLabels(provider: provider, status: LabelPolicy.status(status)))
    if status == 429 { history.refused(provider) }
  }

  func retried(_ provider: String, because verdict: Verdict) {
    metrics.upstreamRetries.add(BrokerMetrics.RetryLabels(provider: provider, reason: verdict.kind))
  }

  /// - Parameters:
  ///   - cost: nil where it is unknown.
  ///   - reserved: the input that was reserved for the attempt.
  ///   - counting: what the provider counts of an input.
  ///   - isPriced: whether the price list knows what the request's model costs.
  func used(
    _ usage: Usage, _ cost: Money?, of record: RequestRecord, reserved: TokenCount, counting: AdmissionTokens,
    isPriced: Bool
  ) {
    let provider = record.provider ?? "none"
    let model = labels.model(
      record.model, tenant: record.tenant, isPriced: isPriced, wasUsed: !usage.isEstimated)
    let tenant = labels.tenant(record.tenant)
    metrics.count(
      usage, cost,
      for: LabelPolicy.bounded(
        BrokerMetrics.TokenLabels(provider: provider, model: model, tenant: tenant), among: metrics.tokens))
    history.used(usage, cost ?? .zero, provider: provider, tenant: tenant)
    if !usage.isEstimated, reserved > 0, usage.inputTokens > 0 {
      let counted = counting == .produced ? usage.inputTokens - usage.cacheReadTokens : usage.inputTokens
      metrics.count(
        estimated: reserved.value, actual: counted.value,
        for: LabelPolicy.bounded(
          BrokerMetrics.EstimateLabels(provider: provider, model: model), among: metrics.estimates))
    }
  }

  /// - Parameter cost: what was lost because a prompt cache was not read; zero where it is unknown.
  func lost(_ reason: CacheLoss, _ cost: Money) { metrics.cacheLost[reason, default: .zero].add(cost) }

  /// - Parameter header: the name of one of our fields, or one label for all unknown ones.
  func unknownHint(_ header: String) { metrics.unknownHints[header, default: 0] += 1 }
  func probed() { metrics.probes += 1 }
  /// Counts a bug of ours. Returns how often its kind was met so far.
  func ourBug(_ kind: OurBug) -> Int {
    metrics.ourBugs[kind, default: 0] += 1
    return metrics.ourBugs[kind, default: 0]
  }
  func impossible(_ number: ImpossibleNumber) { metrics.impossibleNumbers[number, default: 0] += 1 }
}
