// Who sends on and who gives way when memory is short, in virtual time.
import AdmissionCore
import HTTPMessage
import Testing

@testable import HTTPEndpoint

/// A client that sends a body of known length.
private final class Sender: ArrivingBody {
  let startedAt: UInt64
  let length: Int
  private(set) var taken = 0
  var isUrgent = false
  /// What lies in its socket.
  var unread = 0
  var wait = BodyWait()
  private(set) var gaveWay = false
  private(set) var isWhole = false
  private var share: MemoryShare

  init(_ memory: MemoryAccount, length: Int, at now: UInt64) {
    startedAt = now
    self.length = length
    share = MemoryShare(memory, .bodies)
  }

  var missing: Int { length - taken }
  var isArriving: Bool { !gaveWay && !isWhole }
  var isStuck: Bool { unread > 0 }
  func goOn() {}
  func giveWay() {
    gaveWay = true
    share.resize(to: 0)
  }

  /// What a session does when its socket is readable.
  func read(_ intake: BodyIntake, atMost most: Int = 64 << 10) {
    // As a session does, which is told of a socket whose bytes it has read.
    guard isArriving, unread > 0 else { return }
    if intake.holdsUp(self) { return intake.enter(self) }
    take(min(unread, most, missing))
    if missing == 0 { isWhole = true }
  }

  /// What came with its head is there, whether there is room or not.
  func take(_ count: Int) {
    unread -= count
    taken += count
    share.resize(to: taken)
  }

  /// Its answer has begun: nothing is kept.
  func release() { share.resize(to: 0) }
}

private final class IntakeBench {
  let memory: MemoryAccount
  var now: UInt64 = 1_000_000_000_000
  var senders: [Sender] = []
  private(set) var intake: BodyIntake!

  init(limit: Int) {
    memory = MemoryAccount(limit: limit)
    intake = BodyIntake(
      memory: memory, limits: SessionLimits(EndpointLimits()), loop: nil, now: { [unowned self] in now },
      bodies: { [unowned self] in senders })
  }

  func sender(_ length: Int, sending: Int? = nil, urgent: Bool = false) -> Sender {
    now += 1
    let sender = Sender(memory, length: length, at: now)
    sender.isUrgent = urgent
    sender.unread = sending ?? length
    senders.append(sender)
    return sender
  }

  /// Every sender reads until it cannot.
  func settle() {
    var before = -1
    while before != memory.total {
      before = memory.total
      for sender in senders { sender.read(intake) }
      intake.review()
      for sender in senders { sender.read(intake) }
    }
  }

  func pass(milliseconds: UInt64) {
    now += milliseconds * 1_000_000
    settle()
  }
}

@Suite struct BodyIntakeTests {
  private let mib = 1 << 20

  @Test func nobodyWaitsWhileThereIsRoom() {
    let bench = IntakeBench(limit: 16 * mib)
    let some = (0..<15).map { _ in bench.sender(mib) }
    bench.settle()
    #expect(some.allSatisfy { $0.isWhole })
    #expect(!bench.intake.isCrowded)
  }

  @Test func theOldestBecomesWholeAndTheYoungestGivesWayAfterFiveSeconds() {
    let bench = IntakeBench(limit: 16 * mib)
    let some = (0..<3).map { _ in bench.sender(10 * mib) }
    bench.settle()
    #expect(bench.memory.total <= 15 * mib + 64 << 10)
    bench.pass(milliseconds: 4_999)
    #expect(some.allSatisfy { !$0.gaveWay && !$0.isWhole })
    bench.pass(milliseconds: 1)
    #expect(some[0].isWhole && !some[1].gaveWay && some[2].gaveWay)
    // What the first held comes back when its answer has begun.
    some[0].release()
    bench.pass(milliseconds: 1)
    #expect(some[1].isWhole)
  }

  /// What bodies leave as free heap is told when they give way, also where the shortage was told a moment ago.
  @Test func eachTimeThatBodiesGiveWayIsToldWithinAQuarterOfASecond() {
    let bench = IntakeBench(limit: 16 * mib)
    var told: [UInt64] = []
    let start = bench.now
    bench.intake.onShortage = { told.append((bench.now - start) / 1_000_000) }
    let some = (0..<3).map { _ in bench.sender(10 * mib) }
    bench.settle()
    #expect(told == [0])
    bench.pass(milliseconds: 5_000)
    #expect(some[2].gaveWay)
    #expect(told == [0, 5_000])
    // Another shortage within the tenth of a second waits for its end.
    some[0].release()
    bench.pass(milliseconds: 1)
    #expect(some[1].isWhole)
    let next = bench.sender(10 * mib)
    bench.settle()
    #expect(bench.intake.isCrowded && !next.isWhole)
    #expect(told == [0, 5_000])
    bench.pass(milliseconds: 98)
    #expect(told == [0, 5_000])
    bench.pass(milliseconds: 1)
    #expect(told == [0, 5_000, 5_100])
  }

  /// Others that hold memory give some of it up, while no body waits.
  @Test func whatOthersGiveUpIsToldToo() {
    let bench = IntakeBench(limit: 16 * mib)
    var told = 0
    bench.intake.onShortage = { told += 1 }
    bench.memory.onGivenUp?()
    bench.memory.onGivenUp?()
    #expect(told == 1)
    bench.pass(milliseconds: 99)
    #expect(told == 1)
    bench.pass(milliseconds: 1)
    #expect(told == 2)
    bench.pass(milliseconds: 1_000)
    #expect(told == 2)
  }

  @Test func withNobodyYoungerItGivesWayItself() {
    let bench = IntakeBench(limit: 16 * mib)
    bench.memory.take(15 * mib, .retry)
    let late = bench.sender(mib)
    bench.settle()
    bench.pass(milliseconds: 4_999)
    #expect(!late.gaveWay)
    bench.pass(milliseconds: 1)
    #expect(late.gaveWay)
  }

  @Test func anOlderBodyThatIsSilentKeepsItsPlaceBeforeAYoungerOne() {
    let bench = IntakeBench(limit: 16 * mib)
    let silent = bench.sender(15 * mib, sending: 14 * mib)
    bench.settle()
    let late = bench.sender(4 * mib)
    bench.settle()
    bench.pass(milliseconds: 5_000)
    #expect(!silent.gaveWay && late.gaveWay)
    silent.unread = mib
    bench.settle()
    #expect(silent.isWhole)
  }

  @Test func whoComesVerySlowlyGivesWayFirst() {
    let bench = IntakeBench(limit: 16 * mib)
    let slow = bench.sender(15 * mib, sending: 300 << 10)
    bench.settle()
    bench.pass(milliseconds: 31_000)
    let some = [bench.sender(12 * mib), bench.sender(12 * mib)]
    bench.settle()
    bench.pass(milliseconds: 5_000)
    #expect(slow.gaveWay)
    #expect(!some[0].gaveWay)
  }

  @Test func smallUrgentBodiesPassUpToTheLimitAndOthersDoNot() {
    let bench = IntakeBench(limit: 16 * mib)
    let large = bench.sender(20 * mib)
    bench.settle()
    let urgent = (0..<8).map { _ in bench.sender(64 << 10, urgent: true) }
    let plain = bench.sender(64 << 10)
    let tooLarge = bench.sender((64 << 10) + 1, urgent: true)
    bench.settle()
    #expect(urgent.allSatisfy { $0.isWhole })
    #expect(!plain.isWhole && plain.taken == 0 && tooLarge.taken <= 1)
    #expect(!large.gaveWay)
    bench.pass(milliseconds: 5_000)
    #expect(plain.gaveWay || plain.isWhole)
  }

  @Test func whenEverythingIsTakenTheYoungestGoAtOnce() {
    let bench = IntakeBench(limit: 16 * mib)
    let old = bench.sender(20 * mib, sending: 8 * mib)
    let young = bench.sender(20 * mib, sending: 6 * mib)
    bench.settle()
    bench.memory.take(3 * mib, .queued)
    bench.intake.review()
    #expect(young.gaveWay && !old.gaveWay)
  }

  @Test func theOldestStaysWhenTheOthersTogetherHoldTooLittle() {
    let bench = IntakeBench(limit: 16 * mib)
    let old = bench.sender(20 * mib)
    bench.settle()
    let young = (0..<4).map { _ in bench.sender(mib, sending: 4 << 10) }
    for sender in young { sender.take(4 << 10) }
    bench.memory.take(mib, .queued)
    #expect(bench.memory.isExhausted)
    bench.intake.review()
    #expect(!old.gaveWay && young.allSatisfy { $0.gaveWay })
    bench.memory.give(mib, .queued)
    bench.pass(milliseconds: 5_000)
    #expect(old.gaveWay, "there is nobody younger, and it cannot become whole")
  }

  @Test(arguments: [(24, 64, 4), (1_000, 64, 200)])
  func everyClientOfACrowdIsAnsweredAndNothingIsHeldBeyondTheLimit(count: Int, limit: Int, pace: Int) {
    // Each sends 32 MiB, `pace` of them some of it in each tenth of a second.
    let bench = IntakeBench(limit: limit * mib)
    for _ in 0..<count { _ = bench.sender(32 * mib, sending: 0) }
    var generator = SeededRandom(seed: 7)
    var most = 0
    var tenths = 0
    while bench.senders.contains(where: \.isArriving), tenths < 20_000 {
      tenths += 1
      for _ in 0..<pace {
        let sender = bench.senders[Int.random(in: 0..<count, using: &generator)]
        sender.unread = min(sender.unread + 256 << 10, sender.missing)
      }
      for sender in bench.senders {
        if sender.isWhole { sender.release() }
        sender.read(bench.intake, atMost: 1 << 20)
      }
      bench.now += 100_000_000
      bench.intake.review()
      most = max(most, bench.memory.total)
    }
    #expect(!bench.senders.contains { $0.isArriving }, "\(tenths)")
    #expect(bench.senders.contains { $0.isWhole })
    #expect(most <= limit * mib + mib)
  }
}
