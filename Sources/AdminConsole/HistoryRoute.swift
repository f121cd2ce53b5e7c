// `GET /api/v1/history` and `GET /api/v1/audit`: charts of the past, and who changed what.
//
// The last hour comes from memory, as far as it is known there; what is older, or was before the start, from the ledger,
// which another thread asks. How many wait and run is known for the last hour only.
import AdmissionCore
import BrokerEngine
import LedgerStore
import LedgerVocabulary
import TextForms

extension AdminConsole {
  func history(_ query: ConsoleQuery, _ send: @escaping (Reply) -> Void) {
    do {
      let metrics = try HistoryPage.metrics(query["metric"])
      let now = WallInstant(nanoseconds: broker.wallNanoseconds(at: broker.now))
      // Only the times are read here: any metric will do.
      let span = try HistoryQuery(
        metric: HistoryMetric.calls.rawValue, since: query["since"], until: query["until"], step: query["step"],
        now: now)
      let marksQuery = AuditQuery(
        since: span.since, until: span.until, limit: HistoryPage.mostMarks, subjects: HistoryPage.marked)
      let isRecent =
        span.since.nanoseconds >= broker.historyBegins
        && span.until.nanoseconds - span.since.nanoseconds <= 3_600_000_000_000
      var page = HistoryPage(span: span, isSingle: metrics.count == 1)
      let stored: [HistoryMetric] =
        isRecent ? [] : metrics.compactMap { if case .kept(let metric) = $0 { metric } else { nil } }
      for metric in metrics where isRecent || metric == .queued || metric == .inUse {
        page.recent[metric] = broker.history(
          metric, since: span.since.nanoseconds, until: span.until.nanoseconds, step: page.recentStep)
      }
      guard let desk = ledgerDesk else { return finish(page, metrics, send) }
      desk.audit(marksQuery) { [self] result in
        if case .success(let rows) = result { page.marks = rows }
        guard !stored.isEmpty else { return finish(page, metrics, send) }
        var asked = span
        asked.metrics = stored
        desk.history(asked) { [self] result in
          switch result {
          case .success(let answer):
            page.answer = answer
            finish(page, metrics, send)
          case .failure(let error): send(.error(error.kind == .wrongQuestion ? 400 : 503, error.description))
          }
        }
      }
    } catch let mistake as QueryMistake {
      send(.error(400, mistake.message))
    } catch { send(.error(400, "\(error)")) }
  }

  private func finish(_ told: HistoryPage, _ metrics: [ChartMetric], _ send: @escaping (Reply) -> Void) {
    var page = told
    // What comes from memory lacks nothing.
    if page.answer != nil { page.pending = ledgerDesk?.counts().pending ?? 0 }
    let whole = page
    renderer.render({ .json(whole.json(metrics)) }, then: send)
  }

  func audit(_ query: ConsoleQuery, _ send: @escaping (Reply) -> Void) {
    guard let desk = ledgerDesk else { return send(.error(503, "there is no ledger")) }
    do {
      let now = WallInstant(nanoseconds: broker.wallNanoseconds(at: broker.now))
      desk.audit(try AuditQuery(since: query["since"], until: query["until"], limit: query["limit"], now: now)) {
        result in
        switch result {
        case .success(let rows): send(.json(AuditJSON.page(rows)))
        case .failure(let error): send(.error(503, error.description))
        }
      }
    } catch { send(.error(400, "\(error)")) }
  }
}

/// The answer about the past, as it is put together.
struct HistoryPage: Sendable {
  static let mostMarks = 200
  /// The changes that charts mark.
  static let marked: Set<String> = ["breaker", "limit", "policy", "key", "broker", "budget", "alert"]

  var span: HistoryQuery
  /// One metric alone has no list around it.
  var isSingle: Bool
  var recent: [ChartMetric: [ChartSeries]] = [:]
  var answer: HistoryAnswer?
  var marks: [AuditRow] = []
  /// Entries that the ledger's answer lacks, since they cannot be written yet.
  var pending = 0

  init(span: HistoryQuery, isSingle: Bool) {
    self.span = span
    self.isSingle = isSingle
  }

  /// The step of what comes from memory, in nanoseconds: whole slots, and not too many points.
  var recentStep: Int64 {
    let slot: Int64 = 5_000_000_000
    let length = max(0, span.until.nanoseconds - span.since.nanoseconds)
    let least = max(span.step * 1_000_000_000, length / (HistoryQuery.mostPoints - 1))
    return max(slot, (least + slot - 1) / slot * slot)
  }

  static func metrics(_ text: String?) throws(QueryMistake) -> [ChartMetric] {
    let allowed = ChartMetric.all.map(\.name).joined(separator: ", ")
    var metrics: [ChartMetric] = []
    for name in (text ?? "").split(separator: ",") {
      guard let metric = ChartMetric(name: name.filter { $0 != " " }) else {
        throw QueryMistake(message: "metric: found '\(name)', allowed are \(allowed)")
      }
      if !metrics.contains(metric) { metrics.append(metric) }
    }
    guard !metrics.isEmpty else { throw QueryMistake(message: "metric: it is missing, allowed are \(allowed)") }
    return metrics
  }

  func json(_ metrics: [ChartMetric]) -> [UInt8] {
    var json = JSONWriter(reserving: 16_384)
    json.object { json in
      if isSingle, let metric = metrics.first {
        chart(&json, metric)
      } else {
        json.key("metrics")
        json.array(metrics) { json, metric in json.object { chart(&$0, metric) } }
      }
      json.member("pending", pending)
      json.key("marks")
      json.array(marks.reversed()) { AuditJSON.mark(&$0, $1) }
    }
    return json.bytes
  }

  private func chart(_ json: inout JSONWriter, _ metric: ChartMetric) {
    let (step, all) = series(metric)
    json.member("metric", metric.name)
    json.member("step_s", step)
    json.key("series")
    json.array(all) { json, series in
      json.object { json in
        json.object("labels") { json in
          for label in series.labels {
            json.key(named: label.name)
            json.value(label.value)
          }
        }
        json.key("points")
        json.array(series.points) { json, point in Self.point(&json, point.at, point.value) }
      }
    }
  }

  /// From the ledger's answer, or from memory. The step is in seconds.
  private func series(_ metric: ChartMetric) -> (step: Int64, series: [ChartSeries]) {
    guard let answer, let own = answer.charts.first(where: { ChartMetric.kept($0.metric) == metric }) else {
      return (recentStep / 1_000_000_000, Self.bounded(recent[metric] ?? []))
    }
    let all = own.series.map { series in
      ChartSeries(
        labels: series.labels,
        points: (0..<answer.count).map { index in
          ChartSeries.Point(
            at: answer.begin(index).nanoseconds / 1_000_000,
            value: Self.value(of: series.points, index, own.metric, answer.seconds(index), step: answer.step))
        })
    }
    return (answer.step, all)
  }

  private static func point(_ json: inout JSONWriter, _ at: Int64, _ value: Double?) {
    json.array(0..<2) { json, index in
      if index == 0 { json.value(at) } else { json.value(decimal: value) }
    }
  }

  /// As a rate, where sums are kept.
  private static func value(
    of points: HistoryPoints, _ index: Int, _ metric: HistoryMetric, _ seconds: Double, step: Int64
  ) -> Double? {
    switch points {
    case .seconds(let values): return values[index]
    case .amounts(let values):
      // The rate of a step that has just begun would be that of a moment.
      guard seconds >= Double(step) / 4 else { return nil }
      let perSecond = Double(values[index]) / seconds
      return metric == .cost ? perSecond * 3600 / 1e9 : perSecond * 60
    }
  }

  /// The largest series; the others are one.
  private static func bounded(_ all: [ChartSeries]) -> [ChartSeries] {
    guard all.count > HistoryQuery.mostSeries else { return all }
    func sum(_ series: ChartSeries) -> Double { series.points.reduce(0) { $0 + ($1.value ?? 0) } }
    let ordered = all.map { (series: $0, sum: sum($0)) }.sorted { $0.sum > $1.sum }.map(\.series)
    var kept = Array(ordered.prefix(HistoryQuery.mostSeries - 1))
    var rest = ordered[kept.count]
    rest.labels = rest.labels.map { HistoryLabel($0.name, "other") }
    for one in ordered.dropFirst(kept.count + 1) {
      for index in rest.points.indices {
        if let value = one.points[index].value { rest.points[index].value = (rest.points[index].value ?? 0) + value }
      }
    }
    kept.append(rest)
    return kept
  }
}
