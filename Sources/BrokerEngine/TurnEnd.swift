// What the engine puts off to the end of the loop's turn: first pieces of answers, which wait for more, and the books' entries of
// the turn.
//
// Promises: what was put off runs once, in the order in which it was put off, before the loop waits again; what is put off
// meanwhile runs in the same go. The loop is asked once for all of it, and nothing is allocated for a piece of work.
import EventLoop

final class TurnEnd {
  enum Work {
    /// The first bytes of an answer, or the last word of a stream.
    case answer(Attempt)
    /// Entries that were appended in this turn.
    case entries(Books)
  }

  let loop: EventLoop
  private var works: [Work] = []
  private var running: [Work] = []
  /// Made once: the loop would make one for each turn.
  private lazy var go: () -> Void = { [unowned self] in carryOut() }

  init(loop: EventLoop) { self.loop = loop }

  func putOff(_ work: Work) {
    if works.isEmpty { loop.atEndOfTurn(go) }
    works.append(work)
  }

  private func carryOut() {
    swap(&works, &running)
    for work in running {
      switch work {
      case .answer(let attempt): attempt.turnEnded()
      case .entries(let books): books.handOver()
      }
    }
    running.removeAll(keepingCapacity: running.capacity <= 1024)
  }
}
