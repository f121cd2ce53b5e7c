// Watches, timers and signals: what they tell, and that none is heard once it was closed, cancelled or dropped.
import EventLoop
import Foundation
import Testing

@Suite struct HandlesTests {
  /// Turns until `condition` holds, or half a minute has passed.
  private func turn(_ loop: EventLoop, until condition: () -> Bool) {
    let watchdog = LoopTimer(loop) {}
    watchdog.schedule(after: .seconds(30))
    while !condition(), watchdog.isScheduled { loop.turn(waiting: true) }
  }

  /// Turns until a timer that is due after all that were scheduled has fired.
  private func settle(_ loop: EventLoop) {
    var isOver = false
    let last = LoopTimer(loop) { isOver = true }
    last.schedule(after: .milliseconds(5))
    turn(loop) { isOver }
  }

  /// Two connected descriptors and a loop that gives up after half a minute.
  private final class Bench {
    let loop: EventLoop
    var ends: [Int32] = [-1, -1]
    private var watchdog: LoopTimer!
    private var isLate = false

    init() throws {
      loop = try EventLoop()
      #if canImport(Glibc)
        let code = socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends)
      #else
        let code = socketpair(AF_UNIX, SOCK_STREAM, 0, &ends)
      #endif
      #expect(code == 0)
      watchdog = LoopTimer(loop) { [unowned self] in self.isLate = true }
    }

    deinit { for end in ends where end >= 0 { close(end) } }

    func turn(until condition: () -> Bool) {
      watchdog.schedule(after: .seconds(30))
      while !condition(), !isLate { loop.turn(waiting: true) }
      watchdog.cancel()
      #expect(!isLate, "what was waited for did not happen")
    }

    func put(_ count: Int = 1, into end: Int) {
      let bytes = [UInt8](repeating: 1, count: count)
      #expect(write(ends[end], bytes, count) == count)
    }

    func take(from end: Int) -> Int {
      var space = [UInt8](repeating: 0, count: 100)
      return read(ends[end], &space, space.count)
    }

    func closeEnd(_ end: Int) {
      close(ends[end])
      ends[end] = -1
    }
  }

  // MARK: DescriptorWatch

  @Test func tellsWhatADescriptorIsReadyFor() throws {
    let bench = try Bench()
    var seen: [Readiness] = []
    let watch = try DescriptorWatch(bench.loop, descriptor: bench.ends[0]) { seen.append($0) }
    watch.wait(for: .writable)
    bench.turn { !seen.isEmpty }
    #expect(seen.first == .writable)
    seen = []
    watch.wait(for: .readable)
    bench.loop.turn(waiting: false)
    #expect(seen.isEmpty)
    bench.put(into: 1)
    bench.turn { !seen.isEmpty }
    #expect(seen.first == .readable)
  }

  @Test func waitsForNothingWhenTold() throws {
    let bench = try Bench()
    var count = 0
    let watch = try DescriptorWatch(bench.loop, descriptor: bench.ends[0]) { _ in count += 1 }
    watch.wait(for: .readable)
    bench.put(into: 1)
    watch.wait(for: [])
    bench.loop.turn(waiting: false)
    #expect(count == 0)
    watch.wait(for: .readable)
    bench.turn { count == 1 }
    #expect(bench.take(from: 0) == 1)
  }

  @Test func tellsThatThePeerLeftEvenIfItsBytesAreNotRead() throws {
    let bench = try Bench()
    var seen: [Readiness] = []
    let watch = try DescriptorWatch(bench.loop, descriptor: bench.ends[0]) { seen.append($0) }
    watch.wait(for: .disconnected)
    bench.put(into: 1)
    bench.loop.turn(waiting: false)
    #expect(seen.isEmpty)
    bench.closeEnd(1)
    bench.turn { !seen.isEmpty }
    #expect(seen.allSatisfy { $0.contains(.disconnected) })
  }

  @Test func aWatchMayBeClosedInsideItsCall() throws {
    let bench = try Bench()
    var count = 0
    var watch: DescriptorWatch?
    watch = try DescriptorWatch(bench.loop, descriptor: bench.ends[0]) { _ in
      count += 1
      watch?.close()
      watch = nil
    }
    watch?.wait(for: [.readable, .writable])
    bench.put(into: 1)
    bench.turn { count == 1 }
    bench.loop.turn(waiting: false)
    #expect(count == 1)
  }

  @Test func aWatchThatAnotherClosesInTheSameTurnIsNotHeard() throws {
    let bench = try Bench()
    let other = try Bench()
    var heard: [Int] = []
    var watches: [DescriptorWatch] = []
    for (index, end) in [bench.ends[0], other.ends[0]].enumerated() {
      watches.append(
        try DescriptorWatch(bench.loop, descriptor: end) { _ in
          heard.append(index)
          for watch in watches { watch.close() }
        })
    }
    for watch in watches { watch.wait(for: .writable) }
    bench.turn { !heard.isEmpty }
    bench.loop.turn(waiting: false)
    #expect(heard.count == 1)
  }

  @Test func droppingAWatchClosesIt() throws {
    let bench = try Bench()
    var count = 0
    var watch: DescriptorWatch? = try DescriptorWatch(bench.loop, descriptor: bench.ends[0]) { _ in count += 1 }
    watch?.wait(for: .writable)
    watch = nil
    bench.loop.turn(waiting: false)
    #expect(count == 0)
    // The descriptor can be watched again, which it could not while a handle had it.
    let next = try DescriptorWatch(bench.loop, descriptor: bench.ends[0]) { _ in count += 1 }
    next.wait(for: .writable)
    bench.turn { count > 0 }
  }

  @Test func aClosedWatchWaitsForNothing() throws {
    let bench = try Bench()
    var count = 0
    let watch = try DescriptorWatch(bench.loop, descriptor: bench.ends[0]) { _ in count += 1 }
    watch.close()
    watch.wait(for: .writable)
    watch.close()
    bench.loop.turn(waiting: false)
    #expect(count == 0)
  }

  @Test func refusesADescriptorThatIsNone() throws {
    let loop = try EventLoop()
    #expect(throws: EventLoopError.self) { try DescriptorWatch(loop, descriptor: 1_000_000) { _ in } }
  }

  // MARK: LoopTimer

  @Test func timersFireInTheOrderOfTheirDeadlines() throws {
    let loop = try EventLoop()
    var fired: [Int] = []
    let start = loop.now
    let timers = (0..<5).map { number in LoopTimer(loop) { fired.append(number) } }
    for number in [3, 1, 4, 0, 2] { timers[number].schedule(at: start + UInt64(number + 1) * 2_000_000) }
    turn(loop) { fired.count == 5 }
    #expect(fired == [0, 1, 2, 3, 4])
    #expect(loop.now - start >= 10_000_000, "a timer fired early")
  }

  @Test func noTimerIsEarlyByAPartOfAMillisecond() throws {
    let loop = try EventLoop()
    for step in 0..<20 {
      let deadline = loop.now + 1_000_000 + UInt64(step) * 90_000
      var firedAt: UInt64 = 0
      let timer = LoopTimer(loop) { firedAt = loop.now }
      timer.schedule(at: deadline)
      turn(loop) { firedAt > 0 }
      #expect(firedAt >= deadline)
    }
  }

  @Test func aTimerThatWasCancelledOrReplacedDoesNotFire() throws {
    let loop = try EventLoop()
    var count = 0
    let timer = LoopTimer(loop) { count += 1 }
    timer.schedule(after: .zero)
    timer.schedule(after: .milliseconds(2))
    #expect(timer.isScheduled)
    settle(loop)
    #expect(count == 1)
    #expect(!timer.isScheduled)
    timer.schedule(after: .zero)
    timer.cancel()
    #expect(!timer.isScheduled)
    settle(loop)
    #expect(count == 1)
  }

  @Test func aDeadlineInThePastFiresAtOnce() throws {
    let loop = try EventLoop()
    var fired = false
    let timer = LoopTimer(loop) { fired = true }
    timer.schedule(at: 0)
    settle(loop)
    #expect(fired)
  }

  @Test func aTimerMayScheduleItselfAgain() throws {
    let loop = try EventLoop()
    var count = 0
    var timer: LoopTimer?
    timer = LoopTimer(loop) {
      count += 1
      if count < 3 { timer?.schedule(after: .milliseconds(1)) }
    }
    timer?.schedule(after: .zero)
    turn(loop) { count == 3 }
    settle(loop)
    #expect(count == 3)
    timer = nil
  }

  @Test func aTimerMayBeDroppedInsideItsCall() throws {
    let loop = try EventLoop()
    var timer: LoopTimer?
    var count = 0
    let marker = [1, 2, 3]
    timer = LoopTimer(loop) {
      timer = nil
      // What the closure captured must still be there.
      count += marker.count
    }
    timer?.schedule(after: .zero)
    settle(loop)
    #expect(count == 3)
  }

  @Test func droppingATimerCancelsIt() throws {
    let loop = try EventLoop()
    var fired = false
    var timer: LoopTimer? = LoopTimer(loop) { fired = true }
    timer?.schedule(after: .zero)
    timer = nil
    settle(loop)
    #expect(!fired)
  }

  // MARK: SignalWatch

  @Test func signalsArriveOnTheLoop() throws {
    let loop = try EventLoop()
    var count = 0
    let watch = try SignalWatch(loop, signal: SIGUSR2) { count += 1 }
    let watchdog = LoopTimer(loop) {}
    watchdog.schedule(after: .seconds(30))
    kill(getpid(), SIGUSR2)
    while count == 0, watchdog.isScheduled { loop.turn(waiting: true) }
    #expect(count == 1)
    withExtendedLifetime(watch) {}
  }

  @Test func refusesASignalThatCannotBeCaught() throws {
    let loop = try EventLoop()
    #expect(throws: EventLoopError.self) { try SignalWatch(loop, signal: SIGKILL) {} }
  }

  // MARK: Duration

  @Test(arguments: [
    (Duration.zero, UInt64(0)), (.nanoseconds(1), 1), (.milliseconds(1500), 1_500_000_000), (.seconds(-1), 0),
    (.nanoseconds(-1), 0), (.seconds(10_000_000_000), UInt64(Int64.max)),
  ])
  func convertsDurations(duration: Duration, nanoseconds: UInt64) {
    #expect(duration.wholeNanoseconds == nanoseconds)
  }

  /// As many socket pairs, all with a byte to read, and what became of them in one turn.
  private func turnOverMany(_ count: Int, _ loop: EventLoop, handler: @escaping (Int) -> Void) throws {
    var pairs: [[Int32]] = []
    defer { for end in pairs.joined() { close(end) } }
    var watches: [DescriptorWatch] = []
    for number in 0..<count {
      var ends: [Int32] = [-1, -1]
      #if canImport(Glibc)
        let code = socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends)
      #else
        let code = socketpair(AF_UNIX, SOCK_STREAM, 0, &ends)
      #endif
      try #require(code == 0)
      pairs.append(ends)
      let watch = try DescriptorWatch(loop, descriptor: ends[0]) { _ in
        watches[number].wait(for: [])
        handler(number)
      }
      watches.append(watch)
      watch.wait(for: .readable)
      try #require(write(ends[1], [1], 1) == 1)
    }
    loop.turn(waiting: true)
    watches.forEach { $0.close() }
  }

  @Test func theFirstOfManyThatWaitForTheEndOfATurnWaitForFew() throws {
    let loop = try EventLoop()
    for _ in 0..<2 {
      var gathered = 0
      var batches: [Int] = []
      try turnOverMany(40, loop) { _ in
        if gathered == 0 {
          loop.atEndOfTurn {
            batches.append(gathered)
            gathered = 0
          }
        }
        gathered += 1
        loop.countWaiter()
      }
      // The last ones did not have to be brought forward; in the next turn all begins anew.
      #expect(batches == [4, 8, 16, 12])
    }
  }

  @Test func threeThatWaitForTheEndOfATurnWaitForAll() throws {
    let loop = try EventLoop()
    var seen = 0
    var ends: [Int] = []
    try turnOverMany(20, loop) { number in
      if seen == 0 { loop.atEndOfTurn { ends.append(seen) } }
      seen += 1
      if number < 3 { loop.countWaiter() }
    }
    #expect(ends == [20])
  }
}
