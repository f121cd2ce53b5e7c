// Races on purpose, for `scripts/test --tsan`: if the sanitizer did not report them, its silence about the rest would say nothing.
// They run only where TOLLGATE_PLANTED_RACE names them, and each changes a count at which nothing else looks.
import Foundation
import SharedState
import Testing

@Suite struct PlantedRaceTests {
  /// More than one, since the first call of anything generic takes a lock of the Swift runtime, which puts the threads into an order.
  private static let rounds = 1000
  private static let planted = ProcessInfo.processInfo.environment["TOLLGATE_PLANTED_RACE"]

  private final class Unguarded: @unchecked Sendable {
    // Two threads change it at once: that is the race.
    var count = 0
  }

  /// Runs where `scripts/test --tsan` plants it, as do the others.
  @Test(.enabled(if: planted == "no-lock")) func noLock() {
    let value = Unguarded()
    Threads.run(2) { _ in for _ in 0..<Self.rounds { value.count += 1 } }
    #expect(value.count > 0)
  }

  /// What orders the threads that share a lock must not order those that do not.
  @Test(.enabled(if: planted == "another-lock")) func anotherLock() {
    let value = Unguarded()
    let first = Guarded(0)
    let second = Guarded(0)
    Threads.run(2) { number in
      for _ in 0..<Self.rounds {
        if number == 0 { first.withLock { _ in value.count += 1 } } else { second.withLock { _ in value.count += 1 } }
      }
    }
    #expect(value.count > 0)
  }

  /// The lock orders what is done while it is held, and nothing that a thread does after it.
  @Test(.enabled(if: planted == "after-lock")) func afterTheLock() {
    let value = Unguarded()
    let lock = Guarded(0)
    Threads.run(2) { _ in
      for _ in 0..<Self.rounds {
        lock.withLock { $0 += 1 }
        value.count += 1
      }
    }
    #expect(value.count > 0)
  }
}
