// Counts what the engine does, and tells of each request that ends.
//
// Promise: labels come from the policy, never from a client's text (`LabelPolicy`).
import AdmissionCore
import PolicyFile

final class Counters {
  private(set) var metrics = BrokerMetrics()
  private var labels: LabelPolicy
  private let requestEnded: (RequestRecord) -> Void

  init(labels: LabelPolicy, requestEnded: @escaping (RequestRecord) -> Void) {
    self.labels = labels
    self.requestEnded = requestEnded
  }

  /// Other names may be labels from now on; what was adopted stays where there is room.
  func replaceLabels(_ new: LabelPolicy) {
    var new = new
    new.inheritLabels(from: labels)
    labels = new
  }

  /// A request has its outcome.
  func ended(_ record: RequestRecord) {
    guard let outcome = record.outcome else { return }
    metrics.requests[
      BrokerMetrics.RequestLabels(provider: record.provider ?? "none", priority: record.priority, outcome: outcome),
      default: 0] += 1
    requestEnded(record)
  }

  func waited(_ priority: Priority, _ queued: Span) {
    metrics.queueWait[Int(priority.rawValue)].observe(queued.inSeconds)
  }

  /// - Parameter ownTime: nanoseconds that a granted request took of ours: queue and provider excluded.
  func tookOurTime(_ ownTime: UInt64) { metrics.overhead.observe(Double(ownTime) / 1e9) }

  /// - Parameter waited: nanoseconds from the sending of the call to the head of its answer.
  func answered(_ provider: String, _ status: Int, after waited: UInt64) {
    metrics.firstByte[provider, default: Histogram.firstByte].observe(Double(waited) / 1e9)
    metrics.upstreamResponses[BrokerMetrics.StatusLabels(provider: provider, status: status), default: 0] += 1
  }

  func retried(_ provider: String, because verdict: Verdict) {
    metrics.upstreamRetries[BrokerMetrics.RetryLabels(provider: provider, reason: verdict.name), default: 0] += 1
  }

  /// - Parameters:
  ///   - cost: zero where nobody knows it.
  ///   - isPriced: whether the price list knows what the request's model costs.
  func used(_ usage: Usage, _ cost: Money, of record: RequestRecord, isPriced: Bool) {
    let provider = record.provider ?? "none"
    let model = labels.model(
      record.model, tenant: record.tenant, isPriced: isPriced, wasUsed: !usage.isEstimated)
    metrics.count(usage, cost, provider: provider, model: model, tenant: labels.tenant(record.tenant))
    if !usage.isEstimated, record.estimatedInput > 0, usage.inputTokens > 0 {
      metrics.count(
        estimated: record.estimatedInput.value, actual: usage.inputTokens.value, provider: provider, model: model)
    }
  }

  /// - Parameter header: our own field's name, or one label for all that we do not know.
  func unknownHint(_ header: String) { metrics.unknownHints[header, default: 0] += 1 }
  func probed() { metrics.probes += 1 }
  /// Returns how often that was met by now.
  func ourBug(_ kind: OurBug) -> Int {
    metrics.ourBugs[kind, default: 0] += 1
    return metrics.ourBugs[kind, default: 0]
  }
  func impossible(_ number: ImpossibleNumber) { metrics.impossibleNumbers[number, default: 0] += 1 }
}
