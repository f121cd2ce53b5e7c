// Request ids sort by time, never repeat, and read back.
import AdmissionCore
import Testing

@testable import BrokerEngine

@Suite struct ULIDTests {
  @Test func sortsByTimeAndCountsUpWithinAMillisecond() {
    var maker = ULIDMaker(seed: 7)
    let first = maker.next(wallNanoseconds: 1_700_000_000_000_000_000)
    let second = maker.next(wallNanoseconds: 1_700_000_000_000_500_000)
    let earlier = maker.next(wallNanoseconds: 1_600_000_000_000_000_000)
    let later = maker.next(wallNanoseconds: 1_700_000_000_001_000_000)
    let all = [first, second, earlier, later]
    #expect(all == all.sorted())
    #expect(Set(all).count == 4)
    #expect(all.map(\.text) == all.map(\.text).sorted())
  }

  @Test func readsBackItsText() {
    var maker = ULIDMaker(seed: 1)
    for step in 0..<100 {
      let id = maker.next(wallNanoseconds: Int64(step) * 1_000_000_000_000)
      #expect(id.text.utf8.count == 26)
      #expect(RequestID(text: id.text) == id)
      #expect(RequestID(text: id.text.lowercased()) == id)
    }
  }

  /// The example of the ULID specification: the time part of 1469918176385 is 01ARYZ6S41.
  @Test func writesTheSpecificationsTime() {
    var maker = ULIDMaker(seed: 1)
    #expect(maker.next(wallNanoseconds: 1_469_918_176_385_000_000).text.hasPrefix("01ARYZ6S41"))
  }

  @Test(arguments: [
    "", "01ARYZ6S41", "81ARYZ6S41TSV4RRFFQ69G5FAV", "01ARYZ6S41TSV4RRFFQ69G5FAU", "01ARYZ6S41TSV4RRFFQ69G5FA!",
  ])
  func refusesWhatIsNoULID(_ text: String) {
    #expect(RequestID(text: text) == nil)
  }
}
