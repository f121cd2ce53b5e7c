// The list of requests: those that live, and a bounded number of those that ended.
import AdmissionCore
import HTTPMessage
import Testing

@testable import BrokerEngine

@Suite struct RequestListTests {
  private func record(_ number: UInt64) -> RequestRecord {
    RequestRecord(
      id: RequestID(high: 0, low: number), method: "GET", path: "/", priority: .low, arrivedAt: 0, arrivedAtWall: 0)
  }

  @Test func remembersTheLastOnesOnly() {
    let memory = MemoryAccount()
    let requests = RequestList(capacity: 3, memory: memory)
    let records = (1...5).map { record(UInt64($0)) }
    for record in records {
      let place = requests.began(record, nil)
      #expect(requests.record(record.id) === record && !requests.isIdle)
      requests.ended(record, place)
    }
    #expect(requests.recent(limit: 10).map(\.id.low) == [5, 4, 3])
    #expect(requests.recent(limit: 2).map(\.id.low) == [5, 4])
    #expect(requests.record(records[0].id) == nil)
    #expect(requests.record(records[4].id) === records[4])
    #expect(requests.isIdle)
    #expect(memory.bytes(.records) == requests.textBytes)
  }

  @Test func countsTheTextOfTheRecordsThatItKeeps() {
    let requests = RequestList(capacity: 2, memory: MemoryAccount())
    #expect(requests.textBytes == 0)
    for number in 1...5 {
      let record = record(UInt64(number))
      record.asked(for: String(repeating: "p", count: number * 10)[...])
      requests.ended(record, nil)
    }
    // Of the last two: their paths and `GET`.
    #expect(requests.textBytes == 40 + 50 + 6)
  }

  @Test func listsTheLivingByState() {
    let requests = RequestList(capacity: 1, memory: MemoryAccount())
    let waiting = record(2)
    let running = record(1)
    running.granted(
      Grant(
        request: running.id, lease: LeaseID(rawValue: 1), provider: "sim", attempt: 1, queued: .zero, reservedInput: 0,
        reservedOutput: 0), at: 1)
    let place = requests.began(waiting, nil)
    _ = requests.began(running, nil)
    #expect(requests.alive(.queued, limit: 9).map(\.id.low) == [2])
    #expect(requests.alive(.running, limit: 9).map(\.id.low) == [1])
    #expect(requests.alive(.running, limit: 0).isEmpty)
    // A place that is free again is the next one's.
    requests.ended(waiting, place)
    let next = record(3)
    _ = requests.began(next, nil)
    #expect(requests.alive(.queued, limit: 9).map(\.id.low) == [3])
    #expect(requests.record(running.id) === running && requests.record(next.id) === next)
  }

  /// Of many, the first ones in the order that was asked for, whatever places they have.
  @Test func listsTheOldestAndTheSlowest() {
    let requests = RequestList(capacity: 4, memory: MemoryAccount())
    func lasting(_ number: UInt64, arrived: UInt64) -> RequestRecord {
      RequestRecord(
        id: RequestID(high: 0, low: number), method: "GET", path: "/", priority: .low, arrivedAt: arrived,
        arrivedAtWall: 0)
    }
    // Their ids are out of order, as after a clock that was set back.
    let numbers: [UInt64] = [7, 3, 9, 1, 8, 2, 6]
    let records = numbers.map { lasting($0, arrived: $0 % 4) }
    for record in records { _ = requests.began(record, nil) }
    // One that is no longer alive counts too; nobody has told this record that it is over.
    requests.ended(lasting(20, arrived: 0), nil)
    #expect(requests.alive(.queued, limit: 3).map(\.id.low) == [1, 2, 3])
    #expect(requests.alive(.queued, limit: 99).map(\.id.low) == numbers.sorted())
    #expect(requests.alive(.queued, limit: 0).isEmpty)
    func slowest(_ limit: Int, _ states: Set<RequestRecord.State> = [.queued, .running, .ended]) -> [UInt64] {
      requests.slowest(limit: limit, at: 10, states, RequestFilter()).map(\.id.low)
    }
    #expect(slowest(3, [.queued]) == [8, 20, 1])
    #expect(slowest(99, [.queued]) == [8, 20, 1, 9, 2, 6, 3, 7])
    #expect(slowest(0).isEmpty && slowest(-1).isEmpty)
    #expect(slowest(2).count == 2)
  }

  @Test func findsTheKnownOnesOfSome() {
    let requests = RequestList(capacity: 4, memory: MemoryAccount())
    let records = (1...5).map { record(UInt64($0)) }
    for record in records { _ = requests.began(record, nil) }
    let ended = record(9)
    requests.ended(ended, nil)
    let ids = Set([records[1].id, records[4].id, ended.id, RequestID(high: 0, low: 77)])
    let found = requests.records(ids)
    #expect(Set(found.keys) == [records[1].id, records[4].id, ended.id])
    #expect(found[ended.id] === ended && found[records[1].id] === records[1])
    #expect(requests.records([]).isEmpty)
  }
}
