// What is asked about the past, and the answer: series of points with one time axis, for charts.
import AdmissionCore
import LedgerVocabulary
import TextForms

/// A checked query.
public struct HistoryQuery: Sendable, Equatable {
  /// The most points of a series; a shorter step is raised.
  public static let mostPoints: Int64 = 400
  /// The most series of a metric; the smallest are summed as `other`.
  public static let mostSeries = 50
  /// Steps are chosen from these, in seconds.
  static let steps: [Int64] = [
    5, 30, 300, 600, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200, 86_400, 172_800, 604_800, 1_209_600, 2_419_200,
  ]

  public var metrics: [HistoryMetric]
  public var since: WallInstant
  /// The end, which is not included.
  public var until: WallInstant
  /// In seconds.
  public var step: Int64
  /// When it is asked, if not at `until`.
  public var now: WallInstant?

  public init(
    metrics: [HistoryMetric], since: WallInstant, until: WallInstant, step: Int64, now: WallInstant? = nil
  ) {
    self.metrics = metrics
    self.since = since
    self.until = until
    self.step = step
    self.now = now
  }

  /// Reads the texts of a query string; nil means the default: the last hour, with a step that gives a few hundred
  /// points at most.
  /// - Parameter metric: one or more names of metrics, separated by commas.
  /// - Throws: `LedgerError` of kind `wrongQuestion`, which says what is allowed.
  public init(metric: String?, since: String?, until: String?, step: String?, now: WallInstant) throws {
    var metrics: [HistoryMetric] = []
    for name in (metric ?? "").split(separator: ",") {
      guard let metric = HistoryMetric(rawValue: name.filter { $0 != " " }) else {
        throw LedgerError(.wrongQuestion, "metric: found '\(name)', allowed are \(HistoryQuery.allowed)")
      }
      if !metrics.contains(metric) { metrics.append(metric) }
    }
    guard !metrics.isEmpty else {
      throw LedgerError(.wrongQuestion, "metric: it is missing, allowed are \(HistoryQuery.allowed)")
    }
    let until = try HistoryQuery.instant("until", until, now: now) ?? now
    let since =
      try HistoryQuery.instant("since", since, now: now)
      ?? WallInstant(nanoseconds: until.nanoseconds.saturatingSubtracting(UTCTime.hour))
    guard since < until else { throw LedgerError(.wrongQuestion, "since: it is not before until") }
    var seconds: Int64?
    if let step, !step.isEmpty {
      guard let length = UTCTime.duration(step), length >= UTCTime.second else {
        throw LedgerError(
          .wrongQuestion, "step: found '\(step)', allowed is a duration such as 30s, 5m or 2h")
      }
      seconds = length / UTCTime.second
    }
    let span = until.nanoseconds.saturatingSubtracting(max(0, since.nanoseconds)) / UTCTime.second
    self.init(
      metrics: metrics, since: since, until: until,
      step: seconds ?? HistoryQuery.steps.first { span / $0 < HistoryQuery.mostPoints } ?? span / 100, now: now)
  }

  private static let allowed = HistoryMetric.allCases.map(\.rawValue).joined(separator: ", ")

  static func instant(_ field: String, _ text: String?, now: WallInstant) throws -> WallInstant? {
    guard let text, !text.isEmpty else { return nil }
    guard let instant = UTCTime.instant(text, now: now) else {
      throw LedgerError(
        .wrongQuestion,
        "\(field): found '\(text)', allowed are a duration such as 24h or 7d, a date such as 2026-11-21, and RFC 3339")
    }
    return instant
  }
}

/// The time axis of an answer: steps of one length, each beginning at a multiple of it since 1970.
struct HistoryAxis: Equatable {
  /// The number of the first step since 1970.
  var first: Int64
  /// In seconds.
  var step: Int64
  var count: Int64

  /// A hundred years, in seconds: what is longer does not fit into nanoseconds.
  private static let longest: Int64 = 36_525 * 86_400

  /// Covers the span with steps of at least this length, and of whole multiples of `unit` seconds.
  init(_ query: HistoryQuery, step: Int64, unit: Int64) {
    let since = max(0, query.since.nanoseconds)
    let until = max(since, query.until.nanoseconds)
    let span = (until - since) / UTCTime.second + 1
    let least = max(min(step, HistoryAxis.longest), span / (HistoryQuery.mostPoints - 1) + 1)
    self.step = (least + unit - 1) / unit * unit
    let length = self.step * UTCTime.second
    first = since / length
    count = max(1, (until - 1) / length - first + 1)
  }

  /// The index of the step that contains this instant; nil outside.
  func index(_ nanoseconds: Int64) -> Int64? {
    let index = max(0, nanoseconds) / (step * UTCTime.second) - first
    return (0..<count).contains(index) ? index : nil
  }

  /// In nanoseconds since 1970.
  var begin: Int64 { first * step * UTCTime.second }
  var end: Int64 {
    let (end, isTooLarge) = (first + count).multipliedReportingOverflow(by: step * UTCTime.second)
    return isTooLarge ? .max : end
  }
}

public enum HistoryPoints: Sendable, Equatable {
  /// One for each step; nil where there were no waits.
  case seconds([Double?])
  /// The sum of each step.
  case amounts([Int64])
}

public struct HistorySeries: Sendable, Equatable {
  public var labels: [HistoryLabel]
  public var points: HistoryPoints
  public init(labels: [HistoryLabel], points: HistoryPoints) {
    self.labels = labels
    self.points = points
  }
}

/// The series of one metric.
public struct HistoryChart: Sendable, Equatable {
  public var metric: HistoryMetric
  /// The largest first, `other` last; of waits, one for each class.
  public var series: [HistorySeries]
  public init(metric: HistoryMetric, series: [HistorySeries]) {
    self.metric = metric
    self.series = series
  }
}

public struct HistoryAnswer: Sendable, Equatable {
  /// The beginning of the first step.
  public var since: WallInstant
  /// The end of the last step, or the instant of the question where that is earlier.
  public var until: WallInstant
  /// In seconds; longer than asked where that is more than `HistoryQuery.mostPoints` points or finer than what is kept.
  public var step: Int64
  /// The number of steps.
  public var count: Int
  /// In the order of the query.
  public var charts: [HistoryChart]

  public init(since: WallInstant, until: WallInstant, step: Int64, count: Int, charts: [HistoryChart]) {
    self.since = since
    self.until = until
    self.step = step
    self.count = count
    self.charts = charts
  }

  public func begin(_ index: Int) -> WallInstant {
    WallInstant(nanoseconds: since.nanoseconds + Int64(index) * step * UTCTime.second)
  }

  /// How much of a step lies before `until`, in seconds; more than 0.
  public func seconds(_ index: Int) -> Double {
    let left = Double(until.nanoseconds.saturatingSubtracting(begin(index).nanoseconds)) / 1e9
    return min(Double(step), max(left, 0.001))
  }
}
