// The book of requests: who is alive, and a bounded memory of who was.
import AdmissionCore
import HTTPMessage
import Testing

@testable import BrokerEngine

@Suite struct RequestBookTests {
  private func record(_ number: UInt64) -> RequestRecord {
    RequestRecord(
      id: RequestID(high: 0, low: number), method: "GET", path: "/", priority: .low, arrivedAt: 0, arrivedAtWall: 0)
  }

  @Test func remembersTheLastOnesOnly() {
    let memory = MemoryAccount()
    let book = RequestBook(capacity: 3, memory: memory)
    let records = (1...5).map { record(UInt64($0)) }
    for record in records {
      let place = book.began(record, nil)
      #expect(book.record(record.id) === record && !book.isIdle)
      book.ended(record, place)
    }
    #expect(book.recent(limit: 10).map(\.id.low) == [5, 4, 3])
    #expect(book.recent(limit: 2).map(\.id.low) == [5, 4])
    #expect(book.record(records[0].id) == nil)
    #expect(book.record(records[4].id) === records[4])
    #expect(book.isIdle)
    #expect(memory.bytes(.records) == book.textBytes)
  }

  @Test func countsTheTextOfTheRecordsThatItKeeps() {
    let book = RequestBook(capacity: 2, memory: MemoryAccount())
    #expect(book.textBytes == 0)
    for number in 1...5 {
      let record = record(UInt64(number))
      record.asked(for: String(repeating: "p", count: number * 10)[...])
      book.ended(record, nil)
    }
    // Of the last two: their paths and `GET`.
    #expect(book.textBytes == 40 + 50 + 6)
  }

  @Test func listsTheLivingByState() {
    let book = RequestBook(capacity: 1, memory: MemoryAccount())
    let waiting = record(2)
    let running = record(1)
    running.granted(
      Grant(
        request: running.id, lease: LeaseID(rawValue: 1), provider: "sim", attempt: 1, queued: .zero, reservedInput: 0,
        reservedOutput: 0), at: 1)
    let place = book.began(waiting, nil)
    _ = book.began(running, nil)
    #expect(book.alive(.queued, limit: 9).map(\.id.low) == [2])
    #expect(book.alive(.running, limit: 9).map(\.id.low) == [1])
    #expect(book.alive(.running, limit: 0).isEmpty)
    // A place that is free again is the next one's.
    book.ended(waiting, place)
    let next = record(3)
    _ = book.began(next, nil)
    #expect(book.alive(.queued, limit: 9).map(\.id.low) == [3])
    #expect(book.record(running.id) === running && book.record(next.id) === next)
  }
}
