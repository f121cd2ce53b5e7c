// A provider that does not know `stream_options` is not asked for usage for an hour.
import Testing

@testable import BrokerEngine

@Suite struct UsageRefusalsTests {
  @Test func restsForAnHour() {
    let hour: UInt64 = 3_600_000_000_000
    var refusals = UsageRefusals()
    #expect(refusals.mayAsk("a", at: 0))
    refusals.add("a", at: 5)
    #expect(!refusals.mayAsk("a", at: 5))
    #expect(!refusals.mayAsk("a", at: hour + 4))
    #expect(refusals.mayAsk("a", at: hour + 5))
    #expect(refusals.mayAsk("b", at: 5))
  }
}
