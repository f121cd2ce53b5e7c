// How long first bytes take: nine of ten, from how many calls, apart by model and form, and forgotten after an hour.
import Testing

@testable import AdmissionCore

@Suite struct FirstByteTimesTests {
  private let start = Instant(nanoseconds: 1_000_000_000)

  private func learned(_ seconds: [Int64], model: ModelNumber = ModelNumber(1)) -> FirstByteTimes {
    var times = FirstByteTimes()
    for second in seconds { _ = times.learn(.seconds(second), isStream: true, model: model, at: start) }
    return times
  }

  private func nineOfTen(_ times: FirstByteTimes, at now: Instant? = nil) -> Span? {
    times.nineOfTen(isStream: true, model: ModelNumber(1), at: now ?? start)
  }

  @Test func fewerThanTenSayNothing() {
    #expect(nineOfTen(FirstByteTimes()) == nil)
    #expect(nineOfTen(learned([Int64](repeating: 5, count: 9))) == nil)
    #expect(nineOfTen(learned([Int64](repeating: 5, count: 10))) == .seconds(5))
  }

  /// Compared with sorting, for every number of calls, rising, falling and mixed; beyond the window only the last count.
  @Test(arguments: 10...40) func isTheNinthTenthOfTheLast(_ count: Int) {
    let rising = (1...Int64(count)).map { $0 }
    for seconds in [rising, rising.reversed(), rising.map { $0 * 37 % 41 }] {
      let last = seconds.suffix(FirstByteTimes.window).sorted()
      let rank = (last.count * 9 + 9) / 10
      #expect(nineOfTen(learned(seconds)) == .seconds(last[rank - 1]), "\(seconds)")
    }
  }

  @Test func oneThatIsSlowDoesNotDecide() {
    #expect(nineOfTen(learned([Int64](repeating: 1, count: 9) + [500])) == .seconds(1))
  }

  @Test func isForgottenAfterAnHour() {
    var times = learned([Int64](repeating: 5, count: 10))
    #expect(nineOfTen(times, at: start + Span(nanoseconds: 3_600_000_000_000 - 1)) == .seconds(5))
    #expect(nineOfTen(times, at: start + .seconds(3600)) == nil)
    for _ in 0..<10 {
      _ = times.learn(.seconds(2), isStream: true, model: ModelNumber(1), at: start + .seconds(3600))
    }
    #expect(nineOfTen(times, at: start + .seconds(3600)) == .seconds(2))
  }

  @Test func modelsAndFormsAreApartAndBounded() {
    var times = learned([Int64](repeating: 5, count: 10))
    #expect(times.nineOfTen(isStream: false, model: ModelNumber(1), at: start) == nil)
    #expect(times.nineOfTen(isStream: true, model: ModelNumber(2), at: start) == nil)
    let (last, beyond) = (ModelNumber(OutputPredictor.models), ModelNumber(OutputPredictor.models + 1))
    for _ in 0..<10 {
      for model in [last, beyond] { _ = times.learn(.seconds(7), isStream: true, model: model, at: start) }
    }
    #expect(times.nineOfTen(isStream: true, model: last, at: start) == .seconds(7))
    #expect(times.nineOfTen(isStream: true, model: beyond, at: start) == nil)
    #expect(nineOfTen(times) == .seconds(5))
  }

  @Test func tellsWhenItHasRisen() {
    var times = learned([Int64](repeating: 8, count: 9))
    let news = [8, 8, 9, 9, 40, 40, 40].map {
      times.learn(.seconds($0), isStream: true, model: ModelNumber(1), at: start)
    }
    // Known for the first time; an eighth more is not told; the second slow one of fourteen is.
    #expect(news == [true, false, false, false, false, true, false])
    #expect(nineOfTen(times) == .seconds(40))
  }

  @Test func whoLeftBeforeTheFirstByteCountsOnlyWhereItWasLong() {
    var nothing = FirstByteTimes()
    var told = false
    func leave(_ times: inout FirstByteTimes, after seconds: Int64) {
      for _ in 0..<20 {
        let isNews = times.noteNone(within: .seconds(seconds), isStream: true, model: ModelNumber(1), at: start)
        told = told || isNews
      }
    }
    leave(&nothing, after: 300)
    #expect(nineOfTen(nothing) == nil && !told)
    var times = learned([Int64](repeating: 5, count: 10))
    leave(&times, after: 5)
    #expect(nineOfTen(times) == .seconds(5) && !told)
    leave(&times, after: 300)
    #expect(nineOfTen(times) == .seconds(300) && told)
  }

  @Test func timesThatCannotBeAreCut() {
    #expect(nineOfTen(learned([Int64](repeating: -5, count: 10))) == .zero)
    var times = FirstByteTimes()
    for _ in 0..<10 { _ = times.learn(Span(nanoseconds: .max), isStream: true, model: ModelNumber(1), at: start) }
    #expect(nineOfTen(times) == Span(nanoseconds: .max))
  }
}
