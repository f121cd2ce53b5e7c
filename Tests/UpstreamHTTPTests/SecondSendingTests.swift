// The bound between a connection that ends at once and one that ends in the middle of the work.
import Testing

@testable import UpstreamHTTP

@Suite struct SecondSendingTests {
  @Test(arguments: [
    (0, false), (999_999_999, false), (1_000_000_000, false), (1_000_000_001, true), (60_000_000_000, true),
  ])
  func aProviderHadTimeAfterTheMoment(_ after: UInt64, _ hadTime: Bool) {
    #expect(SecondSending.hadTime(wholeAt: 5, now: 5 + after, moment: SecondSending.moment) == hadTime)
    #expect(!SecondSending.hadTime(wholeAt: nil, now: 5 + after, moment: SecondSending.moment))
    #expect(!SecondSending.hadTime(wholeAt: .max, now: after, moment: SecondSending.moment), "a clock never runs back")
  }

  @Test func onlyAReusedConnectionIsDueAndOnlyBeforeThatOrForIdempotentMethods() {
    for method in ["POST", "PATCH", "GET", "PUT"] {
      let isIdempotent = isIdempotentMethod(method)
      for hadTime in [false, true] {
        #expect(!SecondSending.isDue(isReused: false, isIdempotent: isIdempotent, hadTime: hadTime))
        #expect(
          SecondSending.isDue(isReused: true, isIdempotent: isIdempotent, hadTime: hadTime)
            == (isIdempotent || !hadTime))
      }
    }
  }
}
