// What senders write is cut where it is recorded.
import AdmissionCore
import Testing

@testable import BrokerEngine

@Suite struct RecordTextTests {
  @Test func cutsAboveTheLimitOnly() {
    for count in [0, 1, 255, 256] {
      let text = String(repeating: "a", count: count)
      #expect(RecordText.cut(text) == text)
    }
    let cut = RecordText.cut(String(repeating: "a", count: 257))
    #expect(cut.utf8.count == 256)
    #expect(cut == String(repeating: "a", count: 253) + "…")
  }

  @Test(arguments: ["é", "€", "😀", "👩‍👩‍👧‍👦", "e\u{301}"])
  func cutsBetweenCharacters(_ letter: String) {
    for lead in 0..<30 {
      let text = String(repeating: "x", count: lead) + String(repeating: letter, count: 300)
      let cut = RecordText.cut(text)
      #expect(cut.utf8.count <= 256 && cut.utf8.count > 256 - letter.utf8.count - 4)
      #expect(cut.last == "…" && text.hasPrefix(cut.dropLast()))
    }
  }

  @Test func aLetterWithEndlessMarksIsCutBetweenScalars() {
    let cut = RecordText.cut("a" + String(repeating: "\u{301}", count: 10_000))
    #expect(cut.utf8.count <= 256 && cut.utf8.count > 180)
    #expect(cut.unicodeScalars.last == "…")
  }

  @Test func recordsKeepTheBeginningOfPathsMessagesAndFailures() {
    let long = String(repeating: "/p", count: 30_000)
    let record = RequestRecord(
      id: RequestID(high: 0, low: 1), method: "GET", path: long, priority: .low, arrivedAt: 0, arrivedAtWall: 0)
    #expect(record.path.utf8.count == 256)
    record.path = long + "x"
    #expect(record.path.utf8.count == 256)
    record.message = long
    #expect(record.message?.utf8.count == 256)
    var attempt = RequestRecord.Attempt(number: 1, provider: "p", key: nil, began: 0)
    attempt.end(at: 1, verdict: "failed", failure: long, cost: nil, costSource: .unknown)
    #expect(attempt.failure?.utf8.count == 256)
  }
}
