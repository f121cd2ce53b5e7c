// Request ids sort by time, never repeat, and read back.
import AdmissionCore
import Testing

@testable import BrokerEngine

@Suite struct ULIDTests {
  @Test func sortsByTimeAndCountsUpWithinAMillisecond() {
    var maker = ULIDMaker(seed: 7)
    let first = maker.next(wallNanoseconds: 1_700_000_000_000_000_000)
    let second = maker.next(wallNanoseconds: 1_700_000_000_000_500_000)
    let earlier = maker.next(wallNanoseconds: 1_699_999_990_000_000_000)
    let later = maker.next(wallNanoseconds: 1_700_000_000_001_000_000)
    let all = [first, second, earlier, later]
    #expect(all == all.sorted())
    #expect(Set(all).count == 4)
    #expect(all.map(\.text) == all.map(\.text).sorted())
  }

  @Test func followsAClockThatWasSetBack() {
    var maker = ULIDMaker(seed: 7)
    func milliseconds(_ id: RequestID) -> UInt64 { id.high >> 16 }
    let right = maker.next(wallNanoseconds: 1_700_000_000_000_000_000)
    let ahead = maker.next(wallNanoseconds: 1_700_010_800_000_000_000)
    // Ten seconds are the limit: at it ids go on, past it they follow.
    #expect(milliseconds(maker.next(wallNanoseconds: 1_700_010_790_000_000_000)) == 1_700_010_800_000)
    #expect(milliseconds(maker.next(wallNanoseconds: 1_700_010_789_999_000_000)) == 1_700_010_789_999)
    let back = maker.next(wallNanoseconds: 1_700_000_000_000_000_000)
    #expect(milliseconds(back) == 1_700_000_000_000)
    #expect(Set([right, ahead, back]).count == 3)
    #expect(milliseconds(maker.next(wallNanoseconds: .min)) == 0)
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
