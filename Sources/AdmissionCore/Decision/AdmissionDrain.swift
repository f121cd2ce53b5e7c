// Drain: requests that wait and cannot be over before its end are told so at once, while there is time to go elsewhere.

extension Admission {
  /// Bounds each waiting request's deadline by the last instant at which its call could begin and still end in time,
  /// and concludes those for which no candidate can become usable by then.
  mutating func boundWaiting(at now: Instant, into actions: inout ActionList) {
    guard !waiting.isEmpty, drainEnd != .distantFuture else { return }
    for id in waiting.inOrder.map({ waiting[$0].ticket.id }) {
      guard let index = waiting.index(of: id) else { continue }
      waiting[index].deadline = min(waiting[index].deadline, lastStart(of: waiting[index]))
      if waiting[index].deadline <= now || cannotRecoverInTime(waiting[index], at: now) {
        evict(index, outcome: .rejectedDraining, at: now, into: &actions)
      } else {
        schedule(index, at: now, into: &actions)
      }
    }
  }

  /// The latest instant at which the call can begin and be over when the drain ends, judged by the durations of similar
  /// calls.
  func lastStart(of request: Request) -> Instant {
    guard drainEnd != .distantFuture else { return .distantFuture }
    return providers.routes[request.route].legs.map { lastStart(at: $0.provider, of: request) }.max() ?? drainEnd
  }

  /// The same at one provider of its route.
  func lastStart(at provider: ProviderIndex, of request: Request) -> Instant {
    guard drainEnd != .distantFuture else { return .distantFuture }
    // How long a model's other calls last says nothing about its free ones.
    if request.ticket.isFree { return drainEnd }
    return drainEnd
      + Span(nanoseconds: -providers[provider].durations.expected(model: request.model).nanoseconds)
  }
}
