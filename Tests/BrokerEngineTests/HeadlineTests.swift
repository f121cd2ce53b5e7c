// The sentence that says how things are.
import AdmissionCore
import Testing

@testable import BrokerEngine

@Suite struct HeadlineTests {
  private func headline(
    _ high: Headline.ClassWait? = nil, _ low: Headline.ClassWait? = nil, _ troubles: [String] = [],
    draining: Int? = nil,
    losesCalls: Bool = false
  ) -> String {
    let idle = Priority.allCases.map { Headline.ClassWait(priority: $0, queued: 0, predicted: .zero) }
    return Headline(
      draining: draining, takesNoCalls: draining != nil, losesCalls: losesCalls,
      classes: [high ?? idle[0], idle[1], low ?? idle[2]],
      troubles: troubles
    ).text
  }

  @Test func aQuietBroker() { #expect(headline() == "high calls wait 0 ms; nothing is failing") }

  @Test func whoWaitsHowLongAndForWhat() {
    let low = Headline.ClassWait(
      priority: .low, queued: 14, oldest: Span(nanoseconds: 4_000_000_000),
      blocker: .providerBucket("anthropic", .outputTokens))
    #expect(
      headline(nil, low)
        == "high calls wait 0 ms; 14 low calls wait, the oldest for 4 s for output tokens of anthropic; nothing is failing"
    )
    let high = Headline.ClassWait(
      priority: .high, queued: 1, oldest: Span(nanoseconds: 12_000_000), blocker: .providerConcurrency("openai"))
    #expect(headline(high) == "1 high call waits, for 12 ms, for a permit of openai; nothing is failing")
  }

  @Test func whatANewCallWouldWait() {
    func span(_ seconds: Int64) -> Span { Span(nanoseconds: seconds * 1_000_000_000) }
    #expect(
      headline(Headline.ClassWait(priority: .high, queued: 0, predicted: span(3)))
        == "a high call would wait about 3 s; nothing is failing")
    #expect(
      headline(Headline.ClassWait(priority: .high, queued: 0))
        == "nobody can tell how long a high call would wait; nothing is failing")
    let low = Headline.ClassWait(
      priority: .low, queued: 2, oldest: span(4), predicted: span(90), blocker: .providerConcurrency("openai"))
    #expect(
      headline(nil, low)
        == "high calls wait 0 ms; 2 low calls wait, the oldest for 4 s for a permit of openai, a new one about 90 s; nothing is failing"
    )
  }

  @Test func troublesAreBounded() {
    #expect(headline(nil, nil, ["a is wrong"]) == "a is wrong; high calls wait 0 ms")
    #expect(headline(nil, nil, ["a", "b", "c"]) == "a; b; c; high calls wait 0 ms")
    #expect(headline(nil, nil, ["a", "b", "c", "d"]) == "a; b; c; and 1 more trouble; high calls wait 0 ms")
    #expect(headline(nil, nil, Array(repeating: "a", count: 9)).contains("; and 6 more troubles; "))
  }

  /// That a call waits for nothing says little where it is refused then, and that nobody can tell, where it is told why.
  @Test func whatTroublesMakeUntrueIsLeftOut() {
    let low = Headline.ClassWait(priority: .low, queued: 1, blocker: .providerConcurrency("openai"))
    #expect(headline(nil, low, ["a"], losesCalls: true) == "a; 1 low call waits, for a permit of openai")
    let later = Headline.ClassWait(priority: .high, queued: 0, predicted: Span(nanoseconds: 3_000_000_000))
    #expect(headline(later, nil, ["a"], losesCalls: true) == "a; a high call would wait about 3 s")
    #expect(headline(Headline.ClassWait(priority: .high, queued: 0), nil, ["a"]) == "a")
  }

  /// An open breaker whose time is over waits for a call.
  @Test func whatEndsByItselfIsToldWithItsTime() {
    let now = Instant(nanoseconds: 5_000_000_000)
    #expect(Headline.next(nil, "next try", at: now) == "")
    #expect(Headline.next(now + .seconds(40), "next try", at: now) == ", next try in 40 s")
    #expect(Headline.next(now + .milliseconds(1), "next try", at: now) == ", next try in 1 ms")
    #expect(Headline.next(now, "next try", at: now) == ", next try now")
    #expect(Headline.next(now + .seconds(-9), "again", at: now) == ", again now")
  }

  @Test func aDrainComesFirst() {
    #expect(headline(draining: 1) == "draining: no new calls are taken, 1 call runs on")
    #expect(headline(draining: 3) == "draining: no new calls are taken, 3 calls run on")
  }

  @Test(arguments: [
    (-5, "0 ms"), (0, "0 ms"), (999, "999 ms"), (1000, "1 s"), (1040, "1 s"), (1050, "1.1 s"), (9940, "9.9 s"),
    (9960, "10 s"), (10_400, "10 s"), (119_400, "119 s"), (120_000, "2 min"), (7_140_000, "119 min"),
    (7_200_000, "2 h"),
  ])
  func durations(_ milliseconds: Int64, _ text: String) {
    #expect(Headline.duration(Span(nanoseconds: milliseconds * 1_000_000)) == text)
  }

  /// Names of tenants and models may be a client's text.
  @Test(arguments: ["a\u{1B}[31m", "x\ny", "\u{202E}abc", String(repeating: "n", count: 4000)])
  func namesCannotBreakTheLine(_ name: String) {
    for blocker in [
      Blocker.tenantConcurrency(TenantID(name)), .modelClosed("p", model: name), .budget(name),
      .tenantBucket(TenantID(name), .tokens),
    ] {
      let text = Headline.cause(blocker)
      #expect(text.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value < 0x7F }, "\(text)")
      #expect(text.utf8.count < 200)
    }
  }
}
