// The end of the process comes: who waits and cannot be over by then is told so at once, while there is time to go elsewhere.

extension Admission {
  /// Bounds each waiting request's deadline by the last instant at which its call could begin and still end, and concludes those for
  /// which nothing can become usable until then.
  mutating func boundWaiting(at now: Instant, into actions: inout ActionList) {
    guard waitingCount > 0, drainEnd != .distantFuture else { return }
    let queued = waiting.indices.compactMap { index in waiting[index].map { (order: $0.sequence, id: $0.ticket.id) } }
      .sorted { $0.order < $1.order }.map(\.id)
    for id in queued {
      guard let slot = locations[id], slot >= 0, var request = waiting[Int(slot)] else { continue }
      request.deadline = min(request.deadline, lastStart(of: request))
      waiting[Int(slot)]?.deadline = request.deadline
      if request.deadline <= now || isHopeless(request, at: now) {
        evict(slot, outcome: .rejectedDraining, at: now, into: &actions)
      } else {
        schedule(slot, at: now, into: &actions)
      }
    }
  }

  /// When a call must begin at the latest to be over when the drain ends, as far as calls like it tell.
  func lastStart(of request: Request) -> Instant {
    guard drainEnd != .distantFuture else { return .distantFuture }
    return routes.routes[Int(request.route)].legs.map { lastStart(at: $0.provider, of: request) }.max() ?? drainEnd
  }

  /// The same at one provider of its route.
  func lastStart(at provider: Int32, of request: Request) -> Instant {
    guard drainEnd != .distantFuture else { return .distantFuture }
    return drainEnd
      + Span(nanoseconds: -providers[Int(provider)].durations.expected(model: request.model).nanoseconds)
  }
}
