// The lock: one thread at a time has the value, however many want it, and whoever has it sees what the others did.
import Foundation
import SharedState
import Testing

@Suite struct GuardedTests {
  private struct Sums {
    var count = 0
    var text: [Int] = []
    var isInside = false
    var overlaps = 0
  }

  /// So many rounds that threads meet at the lock also under a sanitizer, and wait for one another.
  private static let (threads, rounds) = (4, 50_000)

  @Test func oneThreadAtATimeHasTheValue() {
    let sums = Guarded(Sums())
    Threads.run(Self.threads) { number in
      for round in 0..<Self.rounds {
        sums.withLock { sums in
          if sums.isInside { sums.overlaps += 1 }
          sums.isInside = true
          sums.count += 1
          // Memory of its own, which moves as it grows.
          if round % 100 == 0 { sums.text.append(number) }
          sums.isInside = false
        }
      }
    }
    let end = sums.withLock { $0 }
    #expect(end.overlaps == 0)
    #expect(end.count == Self.threads * Self.rounds)
    for number in 0..<Self.threads {
      #expect(end.text.count { $0 == number } == Self.rounds / 100)
    }
  }

  @Test func whatTheBodyReturnsComesOut() {
    let value = Guarded([1, 2, 3])
    let last = value.withLock { $0.removeLast() }
    #expect(last == 3)
    #expect(value.withLock { $0 } == [1, 2])
  }

  private struct Refused: Error, Equatable { var reason: Int }

  @Test func anErrorOfTheBodyComesOutAndTheLockIsFree() {
    let value = Guarded(1)
    #expect(throws: Refused(reason: 7)) {
      try value.withLock { value throws(Refused) in
        value = 2
        throw Refused(reason: 7)
      }
    }
    #expect(value.withLock { $0 } == 2)
  }

  @Test func aValueThatCannotBeCopiedIsGuardedToo() {
    struct Handle: ~Copyable { var number = 1 }
    let handle = Guarded(Handle())
    handle.withLock { $0.number += 1 }
    #expect(handle.withLock { $0.number } == 2)
  }
}
