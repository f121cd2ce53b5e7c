// Work that the engine postpones to the end of the loop's turn: sending first pieces of answers, which wait for more
// bytes, and handing over the turn's ledger entries.
//
// Promises: postponed work runs once, in order, before the loop waits again; work that is postponed meanwhile runs in
// the same pass. The loop is asked only once per turn, and nothing is allocated per piece of work. Where several calls
// wait for the turn's entries, the turn ends early for the first of them.
import EventLoop

final class TurnEnd {
  enum Work {
    /// The first bytes of an answer, or the end of a stream.
    case answer(Attempt)
    /// Entries that were appended in this turn.
    case entries(LedgerClerk)
  }

  let loop: EventLoop
  private var works: [Work] = []
  private var running: [Work] = []
  /// Made once, so that no closure is allocated per turn.
  private lazy var go: () -> Void = { [unowned self] in carryOut() }

  init(loop: EventLoop) { self.loop = loop }

  func putOff(_ work: Work) {
    if works.isEmpty { loop.atEndOfTurn(go) }
    works.append(work)
  }

  /// Counts a call, or the end of an answer, that waits for entries of this turn: the loop ends the turn early where
  /// several wait.
  func countWaiter() { loop.countWaiter() }

  private func carryOut() {
    swap(&works, &running)
    for work in running {
      switch work {
      case .answer(let attempt): attempt.turnEnded()
      case .entries(let clerk): clerk.handOver()
      }
    }
    running.removeAll(keepingCapacity: running.capacity <= 1024)
  }
}
