// Clients that give up: a call that waits is evicted when it could not have its first byte before its client leaves, so
// that no call is paid for nobody.
//
// Only the queue is bounded so: a call that can be sent when it comes is sent, and a running call is never cut.

extension Admission {
  /// Bounds the request's deadline by the last instant at which its call could begin and its first byte still reach the
  /// client.
  func heedPatience(of request: inout Request, at now: Instant) {
    guard let patience = request.box.ticket.patience, !request.box.ticket.isFree else { return }
    let firstByte = expectedFirstByte(of: request, at: now)
    // The client's clock has run since before the request came, and our answer has a way to go as well.
    let way = min(Span(nanoseconds: max(0, patience.nanoseconds / 20)), .seconds(1))
    let lastStart = request.submitted + patience + Span(nanoseconds: -max(firstByte, way).nanoseconds)
    guard lastStart < request.deadline else { return }
    request.deadline = lastStart
    request.givingUp = GivingUp(after: patience, firstByte: firstByte)
  }

  /// How long the first byte takes at the quickest of the request's providers of which that is known.
  private func expectedFirstByte(of request: Request, at now: Instant) -> Span {
    let isStream = request.box.ticket.isStream
    var least: Span?
    for leg in providers.routes[request.route].legs {
      guard
        let time = providers[leg.provider].firstBytes.nineOfTen(isStream: isStream, model: request.model, at: now)
      else { continue }
      least = min(least ?? time, time)
    }
    return least ?? .zero
  }

  /// Learns from a call that has ended how long its first byte took.
  /// - Returns: true where waiting requests may have to leave earlier.
  mutating func learnFirstByte(of lease: Lease, _ settlement: Settlement, at now: Instant) -> Bool {
    guard !lease.isFree else { return false }
    let (provider, model) = (lease.placement.provider, lease.request.model)
    let isStream = lease.request.box.ticket.isStream
    if let time = settlement.firstByte {
      return providers[provider].firstBytes.learn(time, isStream: isStream, model: model, at: now)
    }
    guard settlement.verdict == .clientLeft, settlement.wasSent, !settlement.answerBegan else { return false }
    return providers[provider].firstBytes.noteNone(
      within: now - lease.began, isStream: isStream, model: model, at: now)
  }

  /// First bytes of such calls take longer than the waiting requests were told: bounds the deadlines of those that would
  /// not have theirs in time.
  mutating func heedPatienceOfWaiting(of lease: Lease, at now: Instant, into actions: inout ActionList) {
    let isStream = lease.request.box.ticket.isStream
    guard
      let firstByte = providers[lease.placement.provider].firstBytes.nineOfTen(
        isStream: isStream, model: lease.request.model, at: now)
    else { return }
    for id in waiting.takeImpatient(firstByte) {
      guard let index = waiting.index(of: id) else { continue }
      var request = waiting[index]
      let before = request.deadline
      heedPatience(of: &request, at: now)
      if request.deadline < before {
        (waiting[index].deadline, waiting[index].givingUp) = (request.deadline, request.givingUp)
      }
      waiting.orderByPatience(index)
      guard request.deadline < before else { continue }
      if request.deadline <= now {
        evict(index, outcome: .evictedMaxWait, at: now, into: &actions)
      } else {
        schedule(index, at: now, into: &actions)
      }
    }
  }
}
