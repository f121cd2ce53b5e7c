// The end of the process comes: who waits and cannot be over by then is told so at once, while there is time to go elsewhere.

extension Admission {
  /// Bounds each waiting request's deadline by the last instant at which its call could begin and still end, and concludes those for
  /// which nothing can become usable until then.
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

  /// When a call must begin at the latest to be over when the drain ends, as far as calls like it tell.
  func lastStart(of request: Request) -> Instant {
    guard drainEnd != .distantFuture else { return .distantFuture }
    return providers.routes[request.route].legs.map { lastStart(at: $0.provider, of: request) }.max() ?? drainEnd
  }

  /// The same at one provider of its route.
  func lastStart(at provider: ProviderIndex, of request: Request) -> Instant {
    guard drainEnd != .distantFuture else { return .distantFuture }
    return drainEnd
      + Span(nanoseconds: -providers[provider].durations.expected(model: request.model).nanoseconds)
  }
}
