// Queries about the past as texts, their time axis, and percentiles from buckets.
import AdmissionCore
import LedgerVocabulary
import Testing
import TextForms

@testable import LedgerStore

@Suite struct HistoryQueryTests {
  private func query(_ metric: String?, since: String? = nil, until: String? = nil, step: String? = nil) throws
    -> HistoryQuery
  {
    try HistoryQuery(metric: metric, since: since, until: until, step: step, now: Scene.at(0))
  }

  @Test(arguments: [("5m", 5), ("1h", 30), ("24h", 300), ("30d", 7_200), ("365d", 86_400), ("100d", 43_200)])
  func aStepIsChosenForTheSpan(since: String, step: Int64) throws {
    let query = try query("calls", since: since)
    #expect(query.step == step && query.until == Scene.at(0))
  }

  @Test func textsAreRead() throws {
    let query = try query("wait_p50, cost,wait_p50", since: "2026-11-20", until: "2026-11-21T00:00:00Z", step: "10m")
    #expect(query.metrics == [.waitP50, .cost] && query.step == 600)
    #expect(query.until.nanoseconds - query.since.nanoseconds == 86_400_000_000_000)
    #expect(try self.query("calls").since == Scene.at(-3_600))
  }

  @Test(
    arguments: [
      (nil, nil, nil, "metric: it is missing"), ("", nil, nil, "metric: it is missing"),
      ("walt_p50", nil, nil, "metric: found 'walt_p50', allowed are wait_p50, wait_p95, wait_p99, calls"),
      ("calls", "yesterday", nil, "since: found 'yesterday'"), ("calls", "0s", nil, "since: it is not before until"),
      ("calls", "1h", "fast", "step: found 'fast'"), ("calls", "1h", "0s", "step: found '0s'"),
      ("calls", "1h", "10ms", "step: found '10ms'"),
    ] as [(String?, String?, String?, String)])
  func aWrongTextIsRefusedWithWhatIsAllowed(metric: String?, since: String?, step: String?, says: String) throws {
    let error = try #require(throws: LedgerError.self) { try query(metric, since: since, step: step) }
    #expect(error.kind == .wrongQuestion && error.description.contains(says))
  }

  @Test func anAxisCoversTheSpanWithFewEnoughSteps() {
    var dice = Dice(3)
    for _ in 0..<2_000 {
      let since = Int64(dice.roll(2_000_000_000)) * 1_000_000_000 + Int64(dice.roll(1_000_000_000))
      let span = Int64(1 + dice.roll(100_000)) * [1, 1_000_000, 1_000_000_000, 60_000_000_000][dice.roll(4)]
      let unit: Int64 = [1, 300, 3_600][dice.roll(3)]
      let query = HistoryQuery(
        metrics: [.calls], since: WallInstant(nanoseconds: since), until: WallInstant(nanoseconds: since + span),
        step: Int64(1 + dice.roll(5_000)))
      let axis = HistoryAxis(query, step: query.step, unit: unit)
      #expect(axis.step % unit == 0 && axis.step >= query.step && (1...HistoryQuery.mostPoints).contains(axis.count))
      #expect(axis.begin <= since && axis.end >= since + span)
      #expect(axis.index(since) == 0 && axis.index(since + span - 1) == axis.count - 1 && axis.index(axis.end) == nil)
    }
  }

  @Test func aStepCountsUntilTheQuestion() {
    let query = HistoryQuery(
      metrics: [], since: WallInstant(nanoseconds: 0), until: WallInstant(nanoseconds: 450_000_000_000), step: 300)
    let answer = HistoryAnswer(since: query.since, until: query.until, step: 300, count: 2, charts: [])
    #expect(answer.begin(1).nanoseconds == 300_000_000_000)
    #expect(answer.seconds(0) == 300 && answer.seconds(1) == 150)
  }
}
