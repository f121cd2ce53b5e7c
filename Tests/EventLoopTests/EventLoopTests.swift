// The loop itself: work at the end of a turn, stopping, the two clocks, and letters from other threads.
import EventLoop
import Foundation
import SharedState
import Testing

@Suite struct EventLoopTests {
  @Test func workAtTheEndOfATurnRunsOnceAndBeforeTheLoopWaits() throws {
    let loop = try EventLoop()
    var order: [Int] = []
    loop.atEndOfTurn {
      order.append(1)
      // Put off meanwhile: runs in the same go.
      loop.atEndOfTurn { order.append(2) }
    }
    #expect(order == [])
    loop.turn(waiting: false)
    #expect(order == [1, 2])
    loop.turn(waiting: false)
    #expect(order == [1, 2])
  }

  @Test func stopEndsRun() throws {
    let loop = try EventLoop()
    var count = 0
    let forever = LoopTimer(loop) {}
    forever.schedule(after: .seconds(3600))
    let timer = LoopTimer(loop) {
      count += 1
      loop.stop()
    }
    timer.schedule(after: .zero)
    loop.run()
    #expect(count == 1)
    #expect(forever.isScheduled)
  }

  @Test func theClocksAgree() throws {
    let loop = try EventLoop()
    loop.turn(waiting: false)
    let now = loop.now
    #expect(loop.turnTime <= now)
    #expect(now - loop.turnTime < 5_000_000_000)
    #expect(loop.now >= now)
  }

  // MARK: Mailbox

  @Test func lettersOfOtherThreadsArriveInOrder() throws {
    let loop = try EventLoop()
    let mailbox = loop.mailbox
    let seen = Guarded<[Int]>([])
    let thread = Thread {
      for number in 0..<1000 { mailbox.post { seen.withLock { $0.append(number) } } }
    }
    let watchdog = LoopTimer(loop) { Issue.record("the letters did not arrive") }
    watchdog.schedule(after: .seconds(30))
    thread.start()
    while seen.withLock({ $0.count }) < 1000, watchdog.isScheduled { loop.turn(waiting: true) }
    #expect(seen.withLock { $0 } == (0..<1000).map { $0 })
  }

  @Test func aLetterMayPostTheNext() throws {
    let loop = try EventLoop()
    let mailbox = loop.mailbox
    let seen = Guarded(0)
    mailbox.post {
      seen.withLock { $0 += 1 }
      mailbox.post { seen.withLock { $0 += 10 } }
    }
    let keepsTheLoopAlive = LoopTimer(loop) {}
    keepsTheLoopAlive.schedule(after: .seconds(30))
    while seen.withLock({ $0 }) < 11, keepsTheLoopAlive.isScheduled { loop.turn(waiting: true) }
    #expect(seen.withLock { $0 } == 11)
  }

  @Test func lettersToALoopThatIsGoneAreDropped() throws {
    var loop: EventLoop? = try EventLoop()
    let mailbox = loop?.mailbox
    let opened = Guarded(false)
    mailbox?.post { opened.withLock { $0 = true } }
    loop = nil
    mailbox?.post { opened.withLock { $0 = true } }
    #expect(opened.withLock { $0 } == false)
  }
}
