// Writes entries to the ledger, and delays what must not happen before they are safe: the first byte of an attempt
// waits for its hold, and the last byte of an answer for the request's end.
//
// Promises: entries are appended in the order of events, and handed over together at the end of the turn, which comes
// early where several calls wait; but the end of an attempt is kept back until then, so that it and the end of its
// request, which mostly follows at once, are one entry. What waits continues in the order of the entries; while the
// ledger cannot be written, ends do not wait (running calls are finished) and attempts that were not sent are refused.
// Without a ledger nothing waits.
import AdmissionCore
import DequeModule
import LedgerVocabulary
import TextForms

final class LedgerClerk {
  private let ledger: (any LedgerPort)?
  /// nil in tests that report themselves which entries are safe.
  private let turnEnd: TurnEnd?
  /// True where the entries of this turn will be handed over at its end.
  private var isToHandOver = false
  private enum Waiting {
    /// The attempt waits to be sent.
    case hold(Attempt)
    /// The exchange waits to send the last bytes to its client.
    case end(Exchange)
  }

  /// The ends of this turn's attempts whose requests have not ended. Mostly one, and not for long.
  private var ended: [AttemptEnd] = []

  /// What waits, with the number of the entry it waits for; in ascending order.
  private var waiting = Deque<(number: UInt64, who: Waiting)>()

  init(_ ledger: (any LedgerPort)?, turnEnd: TurnEnd?) {
    self.ledger = ledger
    self.turnEnd = turnEnd
    ledger?.onCommitted = { [unowned self] number in committed(upTo: number) }
    ledger?.onObstacleChanged = { [unowned self] in obstacleChanged() }
  }

  /// The number of entries that the ledger did not accept.
  var putAside: Int { ledger?.putAside ?? 0 }

  /// Why no new work may be taken; nil where all is well.
  var obstacle: String? { ledger?.obstacle }

  /// Writes the hold of an attempt that is about to be sent. `holdIsSafe` or `holdIsStuck` follows, at once where there
  /// is no ledger.
  func held(_ attempt: Attempt, _ hold: @autoclosure () -> AttemptHold) {
    guard let ledger else { return attempt.holdIsSafe() }
    let hold = hold()
    // Of the attempt before it.
    if let earlier = takeEnd(of: hold.request) { _ = ledger.append(earlier) }
    let number = ledger.append(hold)
    appended()
    if let obstacle = ledger.obstacle { return attempt.holdIsStuck(obstacle) }
    wait(for: number, .hold(attempt))
  }

  func settled(_ end: @autoclosure () -> AttemptEnd) {
    guard ledger != nil else { return }
    ended.append(end())
    appended()
  }

  /// Writes the end of a request. `endIsSafe` follows.
  func concluded(_ exchange: Exchange, at wall: WallInstant) {
    guard let ledger else { return exchange.endIsSafe() }
    var end = RequestEnd(exchange.record, at: wall)
    let number: UInt64
    if var attempt = takeEnd(of: end.request) {
      // Both are over now. The clock may have been set back between the two.
      end.ended = max(end.ended, attempt.at)
      attempt.at = end.ended
      number = ledger.append(end, lastAttempt: attempt)
    } else {
      number = ledger.append(end)
    }
    appended()
    guard exchange.awaitsDelivery else { return }
    if ledger.obstacle != nil { return exchange.endIsSafe() }
    wait(for: number, .end(exchange))
  }

  func changed(_ change: LedgerChange) {
    guard let ledger else { return }
    _ = ledger.append(change)
    appended()
  }

  func remembered(_ memo: LedgerMemo) {
    guard let ledger else { return }
    _ = ledger.append(memo)
    appended()
  }

  private func wait(for number: UInt64, _ who: Waiting) {
    waiting.append((number, who))
    turnEnd?.countWaiter()
  }

  private func takeEnd(of request: RequestID) -> AttemptEnd? {
    ended.lastIndex { $0.request == request }.map { ended.remove(at: $0) }
  }

  private func appended() {
    guard !isToHandOver, let turnEnd else { return }
    isToHandOver = true
    turnEnd.putOff(.entries(self))
  }

  /// Hands over what was appended in this turn so far. Mostly this makes the entries safe at once.
  func handOver() {
    isToHandOver = false
    guard let ledger else { return }
    for end in ended { _ = ledger.append(end) }
    ended.removeAll(keepingCapacity: ended.capacity <= 64)
    committed(upTo: ledger.handOver())
  }

  private func committed(upTo number: UInt64) {
    while let first = waiting.first, first.number <= number {
      waiting.removeFirst()
      switch first.who {
      case .hold(let attempt): attempt.holdIsSafe()
      case .end(let exchange): exchange.endIsSafe()
      }
    }
  }

  private func obstacleChanged() {
    guard let obstacle = ledger?.obstacle else { return }
    let stuck = waiting
    waiting.removeAll()
    for (_, who) in stuck {
      switch who {
      case .hold(let attempt): attempt.holdIsStuck(obstacle)
      case .end(let exchange): exchange.endIsSafe()
      }
    }
  }
}

extension RequestEnd {
  init(_ record: RequestRecord, at ended: WallInstant) {
    self.init(
      request: record.id, arrived: WallInstant(nanoseconds: record.arrivedAtWall), ended: ended,
      tenant: TenantID(record.tenant), clientKey: record.clientKey, session: SessionID(record.session),
      agent: AgentID(record.agent), priority: record.priority, priorityReason: record.priorityReason, kind: record.kind,
      model: record.model,
      provider: record.provider.map { ProviderID($0) }, key: record.key.map { KeyID($0) },
      outcome: record.outcome ?? .failedUpstream, status: record.status, attempts: record.attemptCount,
      queued: record.queued,
      firstByte: record.firstByteAt.map { Span(nanoseconds: Int64($0 &- record.arrivedAt)) })
  }
}
