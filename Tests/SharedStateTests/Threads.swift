// Runs the same work on several threads at once, and waits for all of them.
import Foundation
import Synchronization

enum Threads {
  /// Returns once `work` has returned on each of `count` threads, which all begin at the same moment.
  static func run(_ count: Int, _ work: @escaping @Sendable (_ number: Int) -> Void) {
    let gate = Gate(count)
    let ended = DispatchSemaphore(value: 0)
    for number in 0..<count {
      let thread = Thread {
        gate.pass()
        work(number)
        ended.signal()
      }
      thread.start()
    }
    for _ in 0..<count { ended.wait() }
  }

  /// Opens when everyone is there. It must not put the threads' later work into an order that the work itself lacks, so its counter is
  /// only looked at.
  private final class Gate: Sendable {
    private let missing: Atomic<Int>
    init(_ count: Int) { missing = Atomic(count) }

    func pass() {
      missing.subtract(1, ordering: .relaxed)
      while missing.load(ordering: .relaxed) > 0 { sched_yield() }
    }
  }
}
