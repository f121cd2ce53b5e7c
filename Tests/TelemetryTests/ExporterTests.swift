// The exporter over an upstream in memory: what it sends where and when, and what it makes of answers and outages.
import HTTPDoubles
import HTTPMessage
import Testing

@testable import Telemetry

private let second: UInt64 = 1_000_000_000

@Suite struct ExporterTests {
  private final class Rig {
    let upstream = ScriptedUpstream()
    var now: UInt64 = 0
    var scheduled: [UInt64] = []
    var background: [() -> Void] = []
    var metrics = [
      Metric("m", unit: "1", help: "h", .levels([Metric.Point([], 1), Metric.Point([Attribute("a", 1)], 2)]))
    ]
    var outages: [String] = []
    lazy var exporter: Exporter = {
      let exporter = Exporter(
        ExporterParts(
          upstream: upstream, now: { [unowned self] in now }, wall: { [unowned self] in Int64(now) + 1_000 },
          draw: { 0 },
          offLoop: { [unowned self] work, report in background.append { report(work()) } },
          schedule: { [unowned self] in scheduled.append($0) }, source: TelemetrySource(version: "9", instance: "i"),
          metrics: { [unowned self] in metrics }))
      exporter.onOutage = { [unowned self] in
        outages.append("\($0.rawValue): \($1 ?? "over")\($2 ? ", lost" : "")")
      }
      return exporter
    }()

    func configure(_ endpoint: String = "http://c:4318") {
      exporter.configure(CollectorAddress(endpoint: endpoint, fields: HeaderFields([("authorization", "Bearer t")])))
    }
    func add(_ count: Int = 1) {
      exporter.add(
        CallReport(count: count, bytes: 100) {
          (0..<count).map {
            TraceSpan(
              trace: TraceID(high: 1, low: 1), id: SpanID(UInt64($0) + 1), parent: nil, name: "n", kind: .server,
              start: 1, end: 2)
          }
        })
    }
    /// The other thread does its work.
    func write() {
      let works = background
      background = []
      for work in works { work() }
    }
    func pass(to instant: UInt64) {
      now = instant
      exporter.wake()
    }
    var paths: [String] { upstream.calls.map { String($0.request.url.dropFirst("http://c:4318".count)) } }
  }

  @Test func spansAreSentInBatchesWithTheFields() throws {
    let rig = Rig()
    rig.configure()
    rig.add(2)
    #expect(rig.scheduled.last == 5 * second)
    rig.pass(to: 5 * second)
    // Nothing is written on this thread.
    #expect(rig.upstream.calls.isEmpty && rig.background.count == 1)
    rig.write()
    let request = try #require(rig.upstream.calls.first?.request)
    #expect(request.method == "POST" && request.url == "http://c:4318/v1/traces" && request.provider == Exporter.pool)
    #expect(
      request.fields.first("content-type") == "application/json" && request.fields.first("authorization") == "Bearer t")
    #expect(request.fields.first("user-agent") == "tollgate/9")
    #expect(String(decoding: request.body, as: UTF8.self).split(separator: "spanId").count == 3)
    rig.upstream.calls[0].respond(200, [], ["{}"])
    #expect(rig.exporter.dropped == 0 && rig.outages.isEmpty)
  }

  @Test func aFullBatchDoesNotWait() {
    let rig = Rig()
    rig.configure()
    rig.add(511)
    #expect(rig.background.isEmpty)
    rig.add(1)
    #expect(rig.background.count == 1)
  }

  @Test func metricsAreReadEachMinute() {
    let rig = Rig()
    rig.configure()
    rig.pass(to: 60 * second - 1)
    #expect(rig.background.isEmpty && rig.scheduled.last == 60 * second)
    rig.pass(to: 60 * second)
    // A reading does not wait for others, as spans do.
    rig.write()
    #expect(rig.paths == ["/v1/metrics"])
    let body = String(decoding: rig.upstream.calls[0].request.body, as: UTF8.self)
    #expect(body.contains(#""startTimeUnixNano":"1000","timeUnixNano":"60000001000","asInt":"1""#))
    rig.upstream.calls[0].respond(200)
    rig.metrics = []
    rig.pass(to: 120 * second)
    #expect(rig.background.isEmpty && rig.scheduled.last == 180 * second)
  }

  @Test func withoutACollectorNothingIsKept() {
    let rig = Rig()
    rig.add()
    rig.pass(to: 600 * second)
    #expect(rig.background.isEmpty && rig.upstream.calls.isEmpty)
    var isOver = false
    rig.exporter.end { isOver = true }
    #expect(isOver)
  }

  @Test func anOutageIsReportedOnceAndSoIsItsEnd() {
    let rig = Rig()
    rig.configure()
    rig.add()
    rig.pass(to: 5 * second)
    rig.write()
    rig.upstream.calls[0].fail(mayHaveArrived: false)
    for _ in 0..<3 {
      rig.pass(to: rig.now + 40 * second)
      rig.write()
      rig.upstream.calls.last { $0.request.url.hasSuffix("traces") }?.respond(503)
      rig.upstream.calls.last { $0.request.url.hasSuffix("metrics") }?.respond(200)
    }
    #expect(rig.outages == ["traces: connect_refused"])
    rig.pass(to: rig.now + 40 * second)
    rig.upstream.calls.last { $0.request.url.hasSuffix("traces") }?.respond(200)
    #expect(rig.outages == ["traces: connect_refused", "traces: over"] && rig.exporter.dropped == 0)
    #expect(rig.exporter.outage == nil)
  }

  @Test func aCollectorThatAcceptsAndRefusesLaterIsToldOnceForEachChange() {
    let rig = Rig()
    rig.configure()
    func answer(_ status: Int?) {
      rig.add()
      rig.pass(to: rig.now + 40 * second)
      rig.write()
      let call = rig.upstream.calls.last { $0.request.url.hasSuffix("traces") }
      if let status { call?.respond(status) } else { call?.fail(mayHaveArrived: false) }
      rig.upstream.calls.last { $0.request.url.hasSuffix("metrics") }?.respond(200)
    }
    answer(200)
    #expect(rig.outages.isEmpty)
    answer(nil)
    answer(503)
    #expect(rig.outages == ["traces: connect_refused"])
    // From now on what it is told is lost, which the first line did not say.
    answer(403)
    answer(403)
    answer(nil)
    answer(401)
    #expect(rig.outages == ["traces: connect_refused", "traces: the collector answered 403, lost"])
    answer(200)
    #expect(rig.outages.count == 3 && rig.outages.last == "traces: over")
    answer(503)
    #expect(rig.outages.count == 4 && rig.outages.last == "traces: the collector answered 503")
  }

  @Test func anOutageOfBothKindsIsOneAndSaysWhatIsLost() {
    let rig = Rig()
    rig.configure()
    rig.add()
    rig.pass(to: 60 * second)
    rig.write()
    for call in rig.upstream.calls { call.respond(400) }
    #expect(rig.upstream.calls.count == 2)
    #expect(rig.outages == ["traces: the collector answered 400, lost"])
    #expect(rig.exporter.outage?.reason == "the collector answered 400" && rig.exporter.outage?.since == 60_000_001_000)
    rig.add()
    rig.pass(to: 130 * second)
    rig.write()
    rig.upstream.calls.last { $0.request.url.hasSuffix("traces") }?.respond(200)
    #expect(rig.outages.count == 1 && rig.exporter.outage != nil)
    rig.upstream.calls.last { $0.request.url.hasSuffix("metrics") }?.respond(200)
    #expect(rig.outages.count == 2 && rig.outages[1] == "metrics: over" && rig.exporter.outage == nil)
  }

  @Test(arguments: [
    ("40", 40), ("Thu, 01 Jan 1970 00:01:30 GMT", 84), ("Thu, 01 Jan 1970 00:00:01 GMT", 0), ("soon", 0),
  ])
  func aCollectorIsAskedAgainWhenItSaid(_ asked: String, _ seconds: UInt64) {
    let rig = Rig()
    rig.configure()
    rig.add()
    rig.pass(to: 5 * second)
    rig.write()
    rig.upstream.calls[0].respond(503, [("retry-after", asked)])
    // Without a wish, half of the first pause.
    let due = 5 * second + max(second / 2, seconds * second)
    rig.pass(to: due - 1)
    #expect(!rig.upstream.calls.dropFirst().contains { $0.request.url.hasSuffix("traces") })
    rig.pass(to: due + second)
    #expect(rig.upstream.calls.dropFirst().contains { $0.request.url.hasSuffix("traces") })
  }

  @Test(arguments: [
    (#"{"partialSuccess":{"rejectedSpans":"2","errorMessage":"no"}}"#, 2),
    (#"{"partialSuccess":{"rejectedSpans": 1}}"#, 1),
    (#"{"partialSuccess":{"errorMessage":"a \"rejectedSpans\": 5"}}"#, 0),
    (#"{"partialSuccess":{"rejectedSpans":"x"}}"#, 0),
    (#"{"partialSuccess":{"rejectedSpans":"99999999999999999999999"}}"#, 3), ("{", 0), ("", 0),
    ("\"rejectedSpans\"", 0),
  ])
  func whatACollectorRejectsIsCounted(_ body: String, _ dropped: Int) {
    let rig = Rig()
    rig.configure()
    rig.add(3)
    rig.pass(to: 5 * second)
    rig.write()
    rig.upstream.calls[0].respond(200, [], [body])
    #expect(rig.exporter.dropped == dropped && rig.outages.count == (dropped > 0 ? 1 : 0))
  }

  @Test func ofALongAnswerOnlyTheBeginningIsRead() {
    let rig = Rig()
    rig.configure()
    rig.add()
    rig.pass(to: 5 * second)
    rig.write()
    let call = rig.upstream.calls[0]
    call.events.upstreamResponded(ResponseHead(status: 200))
    call.events.upstreamReceived([UInt8](repeating: 0, count: Exporter.answerLimit)[...])
    #expect(!call.isCancelled)
    rig.add()
    call.events.upstreamReceived([0])
    #expect(call.isCancelled && rig.exporter.dropped == 0)
    // The place is free again.
    rig.pass(to: 10 * second)
    rig.write()
    #expect(rig.upstream.calls.count == 2)
  }

  @Test func aPauseThatTheCollectorAsksForIsKept() {
    let rig = Rig()
    rig.configure()
    rig.add()
    rig.pass(to: 5 * second)
    rig.write()
    rig.upstream.calls[0].respond(429, [("retry-after", "17")])
    #expect(rig.scheduled.last == 22 * second)
    rig.pass(to: 22 * second - 1)
    #expect(rig.upstream.calls.count == 1)
    rig.pass(to: 22 * second)
    #expect(rig.upstream.calls.count == 2)
  }

  @Test func anotherAddressGetsWhatWaits() {
    let rig = Rig()
    rig.configure()
    rig.add()
    rig.configure("http://d")
    rig.pass(to: 5 * second)
    rig.write()
    #expect(rig.upstream.calls.map(\.request.url) == ["http://d/v1/traces"])
  }

  @Test func theEndTellsWhatWaitsAndTheMetrics() {
    let rig = Rig()
    rig.configure()
    rig.add()
    var isOver = false
    rig.exporter.end { isOver = true }
    rig.write()
    #expect(rig.paths.sorted() == ["/v1/metrics", "/v1/traces"] && !isOver)
    rig.add()
    rig.upstream.calls[0].respond(200)
    #expect(!isOver)
    rig.upstream.calls[1].respond(503)
    #expect(isOver && rig.exporter.dropped >= 1)
    rig.pass(to: 600 * second)
    #expect(rig.upstream.calls.count == 2)
  }

  @Test func whatIsNotToldInTimeIsGivenUp() {
    let rig = Rig()
    rig.configure()
    rig.add(4)
    var isOver = false
    rig.exporter.end { isOver = true }
    rig.exporter.giveUp()
    rig.write()
    #expect(rig.exporter.dropped == 6 && rig.upstream.calls.isEmpty && !isOver)
  }
}
