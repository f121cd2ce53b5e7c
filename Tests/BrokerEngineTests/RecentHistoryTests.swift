// The last hour's slots: what they hold, how they are put together, and what is forgotten.
import AdmissionCore
import Testing

@testable import BrokerEngine

@Suite struct RecentHistoryTests {
  private static let second: Int64 = 1_000_000_000
  /// A multiple of sixty seconds.
  private static let start: Int64 = 1_763_719_980 * second

  /// Nanoseconds since 1970, so many seconds after the start.
  private func at(_ seconds: Int64) -> Int64 { Self.start + seconds * Self.second }

  private func usage(input: TokenCount, output: TokenCount, cacheRead: TokenCount = 0) -> Usage {
    var usage = Usage()
    usage.inputTokens = input
    usage.outputTokens = output
    usage.cacheReadTokens = cacheRead
    return usage
  }

  @Test func ratesAreOfTheCoveredTime() throws {
    var history = RecentHistory(at: at(0))
    for _ in 0..<3 { history.ended("a", .completed) }
    history.used(
      usage(input: 100, output: 20, cacheRead: 60), Money(nanodollars: 5_000_000), provider: "a", tenant: "t")
    history.refused("a")
    history.sample(queued: [0, 2, 4], running: [("a", 6)], at: at(1))
    history.sample(queued: [0, 0, 2], running: [("a", 2)], at: at(2))
    #expect(
      history.series(.kept(.calls), since: at(0), until: at(60), step: 5 * Self.second).isEmpty,
      "the slot still runs")
    history.sample(queued: [0, 0, 0], running: [], at: at(5))
    func value(_ metric: ChartMetric, _ label: String) throws -> Double? {
      let all = history.series(metric, since: at(0), until: at(60), step: 60 * Self.second)
      return try #require(all.first { $0.labels.map(\.value).contains(label) }).points.first?.value
    }
    // Five of the step's sixty seconds are known.
    #expect(try value(.kept(.calls), "completed") == 36)
    #expect(try value(.kept(.refused), "a") == 12)
    #expect(try value(.kept(.tokens), "input") == 480)
    #expect(try value(.kept(.tokens), "cache_read") == 720)
    #expect(try value(.kept(.tokens), "output") == 240)
    #expect(try value(.kept(.cost), "t") == 3.6)
    #expect(try value(.queued, "low") == 3)
    #expect(try value(.inUse, "a") == 4)
  }

  @Test func timeWithoutSlotsIsNotZeroButUnknown() {
    var history = RecentHistory(at: at(0))
    history.ended("a", .completed)
    history.sample(queued: [0, 0, 0], running: [], at: at(5))
    // The machine slept.
    history.sample(queued: [0, 0, 0], running: [], at: at(60))
    history.ended("a", .completed)
    history.sample(queued: [0, 0, 0], running: [], at: at(65))
    let points =
      history.series(.kept(.calls), since: at(0), until: at(65), step: 5 * Self.second).first?.points ?? []
    #expect(points.count == 13)
    #expect(points.map(\.value) == [12, 0] + Array(repeating: nil, count: 10) + [12])
    #expect(points.map(\.at) == (0..<13).map { (at($0 * 5)) / 1_000_000 })
  }

  @Test func percentilesOfAStepAreOfAllItsWaits() throws {
    var history = RecentHistory(at: at(0))
    for slot in 0..<12 {
      for _ in 0..<(slot == 11 ? 4 : 8) { history.waited(.high, Span(nanoseconds: 2 * Self.second)) }
      if slot == 11 { for _ in 0..<8 { history.waited(.high, Span(nanoseconds: 20 * Self.second)) } }
      history.sample(queued: [0, 0, 0], running: [], at: at(Int64(slot) * 5 + 5))
    }
    func value(_ metric: ChartMetric) throws -> Double {
      try #require(
        history.series(metric, since: at(0), until: at(60), step: 60 * Self.second).first?.points.first?.value)
    }
    #expect(abs(try value(.kept(.waitP50)) - 2) < 0.2)
    #expect(abs(try value(.kept(.waitP95)) - 20) < 2)
    #expect(
      history.series(.kept(.waitP50), since: at(0), until: at(60), step: 5 * Self.second).map(
        \.labels.first?.value) == [
          "high"
        ])
  }

  @Test func anHourIsKeptAndNoMore() {
    var history = RecentHistory(at: at(0))
    for slot in 1...1000 {
      history.ended("a", .completed)
      history.sample(queued: [0, 0, 0], running: [], at: at(Int64(slot) * 5))
    }
    #expect(history.knownSince == at(1400))
    let points =
      history.series(.kept(.calls), since: at(0), until: at(5000), step: 5 * Self.second).first?.points ?? []
    #expect(points.count { $0.value != nil } == RecentHistory.slots)
    #expect(points.first { $0.value != nil }?.at == at(1400) / 1_000_000)
    #expect(
      history.lastMinute(at: at(5000)) == [
        "a": {
          var one = MinuteFigures(); one.calls = 12; return one
        }()
      ])
    #expect(history.lastMinute(at: at(6000)).isEmpty)
  }

  @Test func aClockThatIsSetBackMakesNoSlotTwice() {
    var history = RecentHistory(at: at(100))
    history.ended("a", .completed)
    history.sample(queued: [0, 0, 0], running: [], at: at(20))
    history.sample(queued: [0, 0, 0], running: [], at: at(106))
    let points =
      history.series(.kept(.calls), since: at(0), until: at(200), step: 5 * Self.second).first?.points ?? []
    #expect(points.filter { $0.value != nil }.map(\.at) == [at(100) / 1_000_000])
  }

  @Test func manyTenantsBecomeOther() {
    var history = RecentHistory(at: at(0))
    for number in 0..<(RecentHistory.mostRows + 50) {
      history.used(usage(input: 1, output: 1), Money(nanodollars: 1_000_000_000), provider: "a", tenant: "t\(number)")
    }
    history.sample(queued: [0, 0, 0], running: [], at: at(5))
    let all = history.series(.kept(.cost), since: at(0), until: at(5), step: 5 * Self.second)
    #expect(all.count == RecentHistory.mostRows + 1)
    #expect(all.last?.labels.first?.value == "other")
    #expect(all.last?.points.first?.value == 36_000)
    #expect(history.costOfLastHour == Money(nanodollars: 1_000_000_000 * Int64(RecentHistory.mostRows + 50)))
  }

  @Test func theCostOfTheLastHourIsOfThisMoment() {
    var history = RecentHistory(at: at(0))
    #expect(history.costOfLastHour == .zero)
    history.used(usage(input: 1, output: 1), Money(nanodollars: 7), provider: "a", tenant: "t")
    #expect(history.costOfLastHour == Money(nanodollars: 7))
    history.sample(queued: [0, 0, 0], running: [], at: at(5))
    #expect(history.costOfLastHour == Money(nanodollars: 7))
    history.used(usage(input: 1, output: 1), Money(nanodollars: 5), provider: "a", tenant: "t")
    #expect(history.costOfLastHour == Money(nanodollars: 12))
    history.sample(queued: [0, 0, 0], running: [], at: at(10))
    history.sample(queued: [0, 0, 0], running: [], at: at(3_604))
    #expect(history.costOfLastHour == Money(nanodollars: 12))
    for slot in 722...1450 as ClosedRange<Int64> { history.sample(queued: [0, 0, 0], running: [], at: at(5 * slot)) }
    #expect(history.costOfLastHour == .zero)
  }

  @Test func sumsDoNotOverflow() {
    var history = RecentHistory(at: at(0))
    for _ in 0..<4 {
      history.used(usage(input: TokenCount(Int64.max), output: 0), Money(nanodollars: .max), provider: "a", tenant: "t")
    }
    history.sample(queued: [.max / 4, 0, 0], running: [], at: at(1))
    history.sample(queued: [0, 0, 0], running: [], at: at(5))
    #expect(history.costOfLastHour == Money(nanodollars: .max))
    #expect(history.series(.kept(.tokens), since: .min / 2, until: .max, step: 1).isEmpty)
    #expect(!history.series(.kept(.tokens), since: at(0), until: .max, step: .max / 2).isEmpty)
  }
}
