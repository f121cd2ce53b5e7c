// One line a request, which a client's text cannot break out of.
import AdmissionCore
import ProviderWire
import Testing

@testable import BrokerEngine

@Suite struct AccessLogTests {
  private func record() -> RequestRecord {
    let record = RequestRecord(
      id: RequestID(high: 1 << 16, low: 2), method: "POST", path: "/v1/messages", priority: .high, arrivedAt: 1_000_000,
      arrivedAtWall: 0)
    record.identified(Caller(name: "default", key: nil, tenant: nil))
    record.answers(200, bytes: 0)
    record.concluded(.completed, at: 9_500_000)
    return record
  }

  @Test func textHoldsTheFacts() {
    let line = String(decoding: AccessLog.line(record(), .text, at: 1_763_720_000_123_000_000), as: UTF8.self)
    #expect(line.hasPrefix("2025-11-21T10:13:20.123Z 00000000010000000000000002 completed 200 POST /v1/messages "))
    #expect(line.hasSuffix("\n"))
    #expect(line.contains(" priority=high tenant=default "))
    #expect(line.contains(" total_ms=8 "))
    // The same name as in JSON and in the API.
    #expect(line.contains(" queued_ms=0 ") && !line.contains("queue_ms"))
    let json = String(decoding: AccessLog.line(record(), .json, at: 0), as: UTF8.self)
    #expect(json.contains(#""queued_ms":0,"#))
  }

  @Test func clientsTextCannotForgeALine() {
    let record = record()
    record.classed(
      Classed(
        classification: Classification(priority: .low, reason: "r\nfake", kind: "k\nfake", unknownHints: []),
        session: "a\nfake \"line\"", group: nil, agent: "b\nfake"))
    var facts = RequestFacts()
    facts.model = "m\u{1B}[31m"
    record.understood(facts)
    for format in [AccessLogFormat.text, .json] {
      let line = AccessLog.line(record, format, at: 0)
      #expect(line.count { $0 == 0x0A } == 1)
      #expect(line.last == 0x0A)
      #expect(!line.contains(0x1B))
    }
  }

  @Test func showsWhatACallIsForAndWhy() {
    let record = record()
    record.classed(
      Classed(
        classification: Classification(
          priority: .low, reason: "header user-agent: kind title", kind: "title", unknownHints: []),
        session: "s", group: nil, agent: "a1"))
    let line = String(decoding: AccessLog.line(record, .text, at: 0), as: UTF8.self)
    #expect(line.contains(#" session=s agent=a1 kind=title priority_reason="header user-agent: kind title" "#))
    let json = String(decoding: AccessLog.line(record, .json, at: 0), as: UTF8.self)
    #expect(json.contains(#""priority_reason":"header user-agent: kind title","kind":"title""#))
    #expect(json.contains(#""agent":"a1""#))
  }

  @Test func offWritesNothing() {
    #expect(AccessLog.line(record(), .off, at: 0).isEmpty)
  }

  @Test(arguments: [
    (0, "1970-01-01T00:00:00.000Z"), (951_782_400_000, "2000-02-29T00:00:00.000Z"),
    (1_709_164_799_999, "2024-02-28T23:59:59.999Z"), (4_102_444_800_000, "2100-01-01T00:00:00.000Z"),
  ])
  func writesTimes(_ milliseconds: Int64, _ text: String) {
    #expect(Timestamp.text(milliseconds * 1_000_000) == text)
  }

  /// Clocks of machines without a battery begin before 1970; the last one is what 64 bits can hold.
  @Test(
    arguments: [
      (-1, "1970-01-01T00:00:00.000Z"), (-1_000_000_001, "1970-01-01T00:00:00.000Z"),
      (.min, "1970-01-01T00:00:00.000Z"),
      (.max, "2262-04-11T23:47:16.854Z"),
    ] as [(Int64, String)])
  func writesTimesOfClocksThatAreWrong(_ nanoseconds: Int64, _ text: String) {
    #expect(Timestamp.text(nanoseconds) == text)
    let line = AccessLog.line(record(), .text, at: nanoseconds)
    #expect(String(decoding: line, as: UTF8.self).hasPrefix(text))
  }
}
