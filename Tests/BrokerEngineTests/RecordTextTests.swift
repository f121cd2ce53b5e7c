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
    record.asked(for: (long + "x")[...])
    #expect(record.path.utf8.count == 256)
    record.explained(long)
    #expect(record.message?.utf8.count == 256)
    record.granted(
      Grant(
        request: record.id, lease: LeaseID(rawValue: 1), provider: "p", attempt: 1, queued: .zero, reservedInput: 0,
        reservedOutput: 0), at: 0)
    record.attemptEnded(at: 1, .truncated, failure: long, usage: nil, cost: nil, costSource: .unknown)
    #expect(record.attempts.first?.failure?.utf8.count == 256)
  }
}
