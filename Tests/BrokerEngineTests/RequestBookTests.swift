// The book of requests: who is alive, and a bounded memory of who was.
import AdmissionCore
import Testing

@testable import BrokerEngine

@Suite struct RequestBookTests {
  private func record(_ number: UInt64) -> RequestRecord {
    RequestRecord(
      id: RequestID(high: 0, low: number), method: "GET", path: "/", priority: .low, arrivedAt: 0, arrivedAtWall: 0)
  }

  @Test func remembersTheLastOnesOnly() {
    var book = RequestBook(capacity: 3)
    let records = (1...5).map { record(UInt64($0)) }
    for record in records {
      book.began(record)
      #expect(book.record(record.id) === record)
      book.ended(record)
    }
    #expect(book.recent(limit: 10).map(\.id.low) == [5, 4, 3])
    #expect(book.recent(limit: 2).map(\.id.low) == [5, 4])
    #expect(book.record(records[0].id) == nil)
    #expect(book.record(records[4].id) === records[4])
    #expect(book.live.isEmpty)
  }

  @Test func countsTheTextOfTheRecordsThatItKeeps() {
    var book = RequestBook(capacity: 2)
    #expect(book.textBytes == 0)
    for number in 1...5 {
      let record = record(UInt64(number))
      record.path = String(repeating: "p", count: number * 10)
      book.ended(record)
    }
    // Of the last two: their paths and `GET`.
    #expect(book.textBytes == 40 + 50 + 6)
  }

  @Test func listsTheLivingByState() {
    var book = RequestBook(capacity: 1)
    let waiting = record(2)
    let running = record(1)
    running.state = .running
    book.began(waiting)
    book.began(running)
    #expect(book.alive(.queued, limit: 9).map(\.id.low) == [2])
    #expect(book.alive(.running, limit: 9).map(\.id.low) == [1])
    #expect(book.alive(.running, limit: 0).isEmpty)
  }
}
