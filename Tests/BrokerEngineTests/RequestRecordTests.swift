// The verbs by which a request's record is written.
import AdmissionCore
import Testing

@testable import BrokerEngine

@Suite struct RequestRecordTests {
  private func record() -> RequestRecord {
    RequestRecord(
      id: RequestID(high: 0, low: 1), method: "POST", path: "/", priority: .low, arrivedAt: 10, arrivedAtWall: 0)
  }

  private func grant(_ number: Int, provider: ProviderID = "sim", queued: Span = .seconds(1)) -> Grant {
    Grant(
      request: RequestID(high: 0, low: 1), lease: LeaseID(rawValue: UInt64(number)), provider: provider, key: "main",
      attempt: number, queued: queued, reservedInput: 0, reservedOutput: 0, held: Money(nanodollars: 7))
  }

  private func end(_ record: RequestRecord, _ cost: Money?, at now: UInt64 = 90) {
    record.attemptEnded(at: now, .success, failure: nil, usage: Usage(), cost: cost, costSource: .prices)
  }

  @Test func verbsOfAnAttemptWriteTheLastOne() {
    let record = record()
    record.granted(grant(1), at: 20)
    #expect(record.attemptBegan == 20 && record.attemptStatus == nil)
    record.sent(at: 30)
    record.answered(503, at: 40)
    end(record, .zero)
    record.requeued(at: 0)
    #expect(record.state == .queued)
    record.granted(grant(2, provider: "other"), at: 100)
    record.answered(200, at: 120)
    #expect(record.attempts.map(\.began) == [30, 100])
    #expect(record.attempts.map(\.status) == [503, 200])
    #expect(record.attempts.map(\.ended) == [90, nil])
    #expect(record.attempts.map(\.provider) == ["sim", "other"])
    #expect(record.provider == "other" && record.attemptCount == 2 && record.state == .running)
  }

  @Test func costsAddUpUntilOneIsUnknown() {
    let record = record()
    #expect(record.cost == nil)
    for number in 1...2 {
      record.granted(grant(number), at: 20)
      end(record, Money(nanodollars: 5))
    }
    #expect(record.cost?.nanodollars == 10)
    record.granted(grant(3), at: 20)
    end(record, nil)
    record.granted(grant(4), at: 20)
    end(record, Money(nanodollars: 5))
    #expect(record.cost == nil)
  }

  private func reading(_ account: Int) -> BlockerReading {
    BlockerReading(blocker: .budget("\(account)"), needed: Int64(account), beforeInLane: account)
  }

  @Test func keepsSixteenWaits() {
    let record = record()
    for number in 1...20 { record.waiting(reading(number), at: UInt64(number)) }
    #expect(record.waits.map(\.since) == (1...16).map { UInt64($0) })
    #expect(record.waits.map(\.until) == (2...17).map { UInt64($0) }, "each ends where the next one begins")
  }

  @Test func aWaitEndsOnceAndKeepsItsNumbers() {
    let record = record()
    record.submitted(at: 20)
    record.waiting(reading(1), at: 20)
    // The same reason with other numbers is the same wait.
    var same = reading(1)
    same.needed = 99
    record.waiting(same, at: 25)
    #expect(record.waits.map(\.reading.needed) == [1] && record.waits[0].until == nil)
    record.granted(grant(1), at: 30)
    #expect(record.waits.map(\.until) == [30])
    end(record, nil, at: 40)
    record.requeued(at: 0)
    record.waiting(reading(1), at: 41)
    #expect(record.waits.map(\.since) == [20, 41], "after an attempt it is another wait")
    record.concluded(.evictedMaxWait, at: 60)
    #expect(record.waits.map(\.until) == [30, 60])
    #expect(record.stays(at: 99) == [20...30, 40...60])
  }

  @Test func itsStaysAreTheTimesInWhichItWaited() {
    let record = record()
    #expect(record.stays(at: 15).isEmpty, "it is not there yet")
    record.submitted(at: 20)
    #expect(record.stays(at: 25) == [20...25])
    record.granted(grant(1), at: 30)
    record.sent(at: 33)
    #expect(record.stays(at: 50) == [20...30])
    end(record, nil, at: 40)
    record.requeued(at: 0)
    #expect(record.stays(at: 50) == [20...30, 40...50])
    record.granted(grant(2), at: 60)
    #expect(record.stays(at: 99) == [20...33, 40...60])
    // Who is granted when it ends did not go ahead of it.
    end(record, nil, at: 70)
    record.concluded(.completed, at: 70)
    #expect(record.stays(at: 99) == [20...33, 40...60])
  }

  @Test func whatNeverRanWaitedToItsEnd() {
    let record = record()
    record.submitted(at: 20)
    record.concluded(.clientLeftQueued, at: 50)
    #expect(record.stays(at: 99) == [20...50])
  }

  @Test func theFirstFirstByteCounts() {
    let record = record()
    record.firstByteCame(at: 50)
    record.firstByteCame(at: 60)
    #expect(record.firstByteAt == 50)
  }

  @Test func theLongerTimeInTheQueueStays() {
    let record = record()
    record.granted(grant(1, queued: .seconds(3)), at: 20)
    record.judged(queued: .seconds(2), budgetRemaining: nil)
    #expect(record.queued == .seconds(3))
    record.judged(queued: .seconds(4), budgetRemaining: Money(nanodollars: 1))
    #expect(record.queued == .seconds(4) && record.budgetRemaining?.nanodollars == 1)
    var asked = 0
    record.budgetLooked {
      asked += 1
      return nil
    }
    #expect(asked == 0 && record.budgetRemaining?.nanodollars == 1)
  }
}
