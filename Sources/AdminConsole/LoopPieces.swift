// What the console does on the loop's thread, in small pieces: one in each turn, so that a call waits for one at most,
// however many ask and however long the lists are.
//
// Promises: work of several pieces takes turns with the others; all who ask how the broker stands before a snapshot is
// made get the same one, which is never older than their question. Without a loop, as in tests, all is done at once.
import BrokerEngine
import EventLoop

final class LoopPieces {
  private let broker: Operator
  private var timer: LoopTimer?
  /// Each does its next piece, and returns true when that was the last one.
  private var work: [() -> Bool] = []
  private var lookers: [(BrokerSnapshot) -> Void] = []
  /// How many snapshots were made.
  private(set) var looks = 0

  init(loop: EventLoop?, broker: Operator) {
    self.broker = broker
    timer = loop.map { LoopTimer($0) { [unowned self] in turn() } }
  }

  /// - Parameter piece: called again and again, until it returns true.
  func add(_ piece: @escaping () -> Bool) {
    guard let timer else {
      while !piece() {}
      return
    }
    work.append(piece)
    if work.count == 1 { timer.schedule(after: .zero) }
  }

  /// Tells how the broker stands, soon.
  func look(_ then: @escaping (BrokerSnapshot) -> Void) {
    lookers.append(then)
    guard lookers.count == 1 else { return }
    add { [unowned self] in
      let snapshot = broker.look()
      looks += 1
      let all = lookers
      lookers = []
      for one in all { one(snapshot) }
      return true
    }
  }

  private func turn() {
    let piece = work.removeFirst()
    if !piece() { work.append(piece) }
    if !work.isEmpty { timer?.schedule(after: .zero) }
  }
}
