// The queue before a collector: each event in each state, and each bound at, under and over it.
import Testing

@testable import Telemetry

private typealias Queue = ExportQueue<Int>

private let second: UInt64 = 1_000_000_000

@Suite struct ExportQueueTests {
  private static var limits: ExportLimits {
    var limits = ExportLimits()
    (limits.batch, limits.mostWaiting, limits.mostBytes) = (10, 30, 300)
    return limits
  }

  private enum Seen: Equatable { case write([Int]), send(String), nothing }

  private static func take(_ queue: inout Queue, _ now: UInt64) -> Seen {
    switch queue.take(now: now) {
    case .write(let items)?: .write(items)
    case .send(let text)?: .send(String(decoding: text, as: UTF8.self))
    case nil: .nothing
    }
  }

  /// With one batch of three pieces that is being sent.
  private static func sending(at now: UInt64 = 0, _ limits: ExportLimits = limits) -> Queue {
    var queue = Queue(limits)
    queue.add(1, pieces: 3, bytes: 10, now: now)
    _ = take(&queue, now + limits.longestStay)
    queue.wrote(Array("one".utf8))
    _ = take(&queue, now + limits.longestStay)
    return queue
  }

  @Test func aBatchWaitsUntilItIsFullOrOld() {
    var queue = Queue(Self.limits)
    #expect(Self.take(&queue, 0) == .nothing && queue.nextDue() == nil && queue.isEmpty)
    queue.add(1, pieces: 9, bytes: 1, now: 7)
    #expect(Self.take(&queue, 7) == .nothing && queue.nextDue() == 7 + 5 * second)
    #expect(Self.take(&queue, 6 + 5 * second) == .nothing)
    var old = queue
    #expect(Self.take(&old, 7 + 5 * second) == .write([1]))
    queue.add(2, pieces: 1, bytes: 1, now: 8)
    #expect(queue.nextDue() == 0)
    #expect(Self.take(&queue, 8) == .write([1, 2]) && queue.waitingPieces == 0 && queue.waitingBytes == 0)
    #expect(!queue.isEmpty)
  }

  @Test func aBatchTakesWholeItems() {
    var queue = Queue(Self.limits)
    for (item, pieces) in [(1, 6), (2, 4), (3, 1), (4, 12)] { queue.add(item, pieces: pieces, bytes: 1, now: 0) }
    #expect(Self.take(&queue, 0) == .write([1, 2]))
    queue.wrote([])
    _ = queue.take(now: 0)
    queue.ended(.status(200), now: 0, share: 0)
    #expect(Self.take(&queue, 0) == .write([3]))
    queue.wrote([])
    _ = queue.take(now: 0)
    queue.ended(.status(200), now: 0, share: 0)
    // One alone may be larger.
    #expect(Self.take(&queue, 0) == .write([4]) && queue.delivered == 11)
  }

  @Test(arguments: [(30, 1, 0), (31, 1, 31), (1, 300, 0), (1, 301, 1)])
  func whatWaitsIsBounded(_ pieces: Int, _ bytes: Int, _ dropped: Int) {
    var queue = Queue(Self.limits)
    queue.add(1, pieces: pieces, bytes: bytes, now: 0)
    #expect(queue.dropped == dropped && queue.waitingPieces == (dropped > 0 ? 0 : pieces))
  }

  @Test func anOverflowDropsTheNewest() {
    var queue = Queue(Self.limits)
    for item in 1...35 { queue.add(item, pieces: 1, bytes: 1, now: 0) }
    #expect(queue.dropped == 5 && queue.waitingPieces == 30 && Self.take(&queue, 0) == .write(Array(1...10)))
    queue.add(36, pieces: 1, bytes: 1, now: 0)
    #expect(queue.waitingPieces == 21)
  }

  @Test func thereIsOneBatchAtATime() {
    var queue = Queue(Self.limits)
    queue.add(1, pieces: 10, bytes: 1, now: 0)
    queue.add(2, pieces: 10, bytes: 1, now: 0)
    #expect(Self.take(&queue, 0) == .write([1]))
    // Neither a second one, nor an answer to what was not sent.
    #expect(Self.take(&queue, .max / 2) == .nothing && queue.nextDue() == nil)
    #expect(queue.ended(.status(200), now: 0, share: 0) == nil && queue.delivered == 0)
    queue.wrote(Array("one".utf8))
    #expect(queue.nextDue() == 0 && Self.take(&queue, 0) == .send("one"))
    #expect(Self.take(&queue, .max / 2) == .nothing && queue.nextDue() == nil)
    // Written a second time: nothing changes.
    queue.wrote(Array("other".utf8))
    queue.ended(.failed("gone"), now: 0, share: 0)
    #expect(Self.take(&queue, second) == .send("one"))
    queue.ended(.status(200), now: second, share: 0)
    #expect(Self.take(&queue, second) == .write([2]))
  }

  @Test(arguments: [200, 202, 299]) func whatIsAcceptedIsDone(_ status: Int) {
    var queue = Self.sending()
    #expect(queue.ended(.status(status), now: 0, share: 0) == nil)
    #expect(queue.isEmpty && queue.delivered == 3 && queue.dropped == 0 && queue.nextDue() == nil)
  }

  @Test(arguments: [(0, 0), (1, 1), (3, 3), (4, 3), (-1, 0), (.max, 3)])
  func whatTheCollectorRejectsIsCounted(_ rejected: Int, _ dropped: Int) {
    var queue = Self.sending()
    let trouble = queue.ended(.status(200, rejected: rejected), now: 0, share: 0)
    #expect(queue.isEmpty && queue.dropped == dropped && queue.delivered == 3 - dropped)
    #expect(trouble == (dropped > 0 ? "the collector rejected \(dropped) of 3" : nil))
  }

  @Test(arguments: [429, 502, 503, 504]) func whatMayBeSentAgainIs(_ status: Int) {
    var queue = Self.sending()
    #expect(queue.ended(.status(status), now: 100, share: 0) == "the collector answered \(status)")
    #expect(queue.nextDue() == 100 + second / 2 && queue.dropped == 0)
    #expect(Self.take(&queue, 99 + second / 2) == .nothing && Self.take(&queue, 100 + second / 2) == .send("one"))
  }

  @Test(arguments: [301, 307, 400, 401, 403, 404, 413, 500, 501, 505, 599])
  func whatMayNotIsDropped(_ status: Int) {
    var queue = Self.sending()
    // Retry-After changes nothing of it.
    #expect(queue.ended(.status(status, retryAfter: second), now: 0, share: 0) != nil)
    #expect(queue.dropped == 3 && queue.isEmpty)
    // The next batch is not sent at once either.
    queue.add(2, pieces: 10, bytes: 1, now: 0)
    #expect(Self.take(&queue, 0) == .nothing && Self.take(&queue, second) == .write([2]))
  }

  @Test func aPauseIsAsLongAsTheCollectorAsks() {
    for (asked, due) in [(0, second / 2), (second / 4, second / 2), (17 * second, 17 * second)] {
      var queue = Self.sending()
      queue.ended(.status(429, retryAfter: asked), now: 0, share: 0)
      #expect(queue.nextDue() == due)
    }
    var queue = Self.sending()
    queue.ended(.status(503, retryAfter: 299 * second), now: 5 * second, share: 0)
    #expect(queue.dropped == 0 && queue.nextDue() == 304 * second)
    #expect(Self.take(&queue, 303 * second) == .nothing && Self.take(&queue, 304 * second) == .send("one"))
  }

  /// Longer than a batch is tried: it is dropped. But one answer must not stop what comes later until the process ends.
  @Test(arguments: [300 * second + 1, 301 * second, 86_400 * second, 1_000_000_000 * second, UInt64.max / 4])
  func noCollectorIsHeededForLongerThanABatchIsTried(_ asked: UInt64) {
    var queue = Self.sending()
    queue.ended(.status(429, retryAfter: asked), now: 5 * second, share: 0)
    #expect(queue.dropped == 3)
    queue.add(2, pieces: 10, bytes: 1, now: 6 * second)
    #expect(Self.take(&queue, 304 * second) == .nothing && Self.take(&queue, 305 * second) == .write([2]))
  }

  @Test func pausesDoubleUpToTheLongest() {
    var queue = Self.sending()
    var now: UInt64 = 5 * second
    var pauses: [UInt64] = []
    for _ in 0..<8 {
      queue.ended(.failed("gone"), now: now, share: 0.999_999)
      let due = queue.nextDue() ?? 0
      pauses.append((due - now + second / 1_000) / second)
      now = due
      _ = queue.take(now: now)
    }
    #expect(pauses == [1, 2, 4, 8, 16, 30, 30, 30])
    queue.ended(.status(200), now: now, share: 0)
    queue.add(2, pieces: 10, bytes: 1, now: now)
    #expect(Self.take(&queue, now) == .write([2]))
  }

  @Test func aBatchIsTriedForAsLongAsItsPatience() {
    for (pause, isDropped) in [(300 * second, false), (300 * second + 1, true)] {
      var queue = Queue(Self.limits)
      queue.add(1, pieces: 10, bytes: 1, now: 0)
      _ = queue.take(now: 0)
      queue.wrote([])
      _ = queue.take(now: 0)
      queue.ended(.status(503, retryAfter: pause), now: 0, share: 0)
      #expect(queue.isEmpty == isDropped && queue.dropped == (isDropped ? 10 : 0))
    }
  }

  @Test func atTheEndEverythingIsSentOnceMore() {
    var queue = Self.sending()
    queue.ended(.failed("gone"), now: 5 * second, share: 0)
    queue.add(2, pieces: 1, bytes: 1, now: 5 * second)
    #expect(Self.take(&queue, 5 * second) == .nothing)
    queue.end()
    #expect(queue.nextDue() == 0 && Self.take(&queue, 5 * second) == .send("one"))
    queue.ended(.status(503), now: 5 * second, share: 0)
    #expect(queue.dropped == 3 && queue.nextDue() == 0)
    #expect(Self.take(&queue, 5 * second) == .write([2]))
    queue.wrote(Array("two".utf8))
    #expect(Self.take(&queue, 5 * second) == .send("two"))
    queue.ended(.status(200), now: 5 * second, share: 0)
    #expect(queue.isEmpty && queue.delivered == 1)
  }

  @Test func whatIsGivenUpIsCounted() {
    var queue = Self.sending()
    queue.add(2, pieces: 4, bytes: 1, now: 0)
    queue.giveUp()
    #expect(queue.dropped == 7 && queue.isEmpty && queue.waitingPieces == 0)
    // The answer comes after all.
    #expect(queue.ended(.status(200), now: 0, share: 0) == nil && queue.delivered == 0)
    queue.giveUp()
    #expect(queue.dropped == 7)
  }
}
