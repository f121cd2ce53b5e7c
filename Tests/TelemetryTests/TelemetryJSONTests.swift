// Documents of spans and metrics byte by byte, hostile names in them, and the bounds of instruments.
import Testing

@testable import Telemetry

private let source = TelemetrySource(version: "1.2", instance: "i")
private let head =
  #""resource":{"attributes":[{"key":"service.name","value":{"stringValue":"tollgate"}},"#
  + #"{"key":"service.version","value":{"stringValue":"1.2"}},{"key":"service.instance.id","value":{"stringValue":"i"}}]}"#
private let scope = #""scope":{"name":"tollgate","version":"1.2"}"#
private let schema = #""schemaUrl":"https://opentelemetry.io/schemas/1.41.0""#

@Suite struct TelemetryJSONTests {
  private static func span(_ name: String = "chat m") -> TraceSpan {
    TraceSpan(
      trace: TraceID(high: 1, low: 0xFF), id: SpanID(0xA), parent: nil, name: name, kind: .server,
      start: 1_795_000_000_000_000_007,
      end: 1_795_000_000_000_000_009)
  }
  private static func text(_ spans: TraceSpan...) -> String {
    String(decoding: TelemetryJSON.traces(spans, of: source), as: UTF8.self)
  }

  @Test func aSpanInFull() {
    var span = Self.span()
    (span.parent, span.parentIsRemote, span.state, span.kind, span.error) = (
      SpanID(0xB), true, "a=1", .client, "it \"broke\""
    )
    span.attributes = [
      Attribute("text", "\u{7}\"é"), Attribute("whole", Int64.max), Attribute("decimal", decimal: 0.25),
      Attribute("flag", true),
      Attribute("none", decimal: .nan),
    ]
    span.events = [TraceSpan.Event("first_byte", at: 1_795_000_000_000_000_008)]
    #expect(
      Self.text(span) == #"{"resourceSpans":[{"# + head + #","scopeSpans":[{"# + scope
        + #","spans":[{"traceId":"000000000000000100000000000000ff","spanId":"000000000000000a","traceState":"a=1","#
        + #""parentSpanId":"000000000000000b","flags":769,"name":"chat m","kind":3,"startTimeUnixNano":"1795000000000000007","#
        + #""endTimeUnixNano":"1795000000000000009","attributes":[{"key":"text","value":{"stringValue":"\u0007\"é"}},"#
        + #"{"key":"whole","value":{"intValue":"9223372036854775807"}},{"key":"decimal","value":{"doubleValue":0.25}},"#
        + #"{"key":"flag","value":{"boolValue":true}},{"key":"none","value":{"doubleValue":null}}],"#
        + #""events":[{"timeUnixNano":"1795000000000000008","name":"first_byte"}],"#
        + #""status":{"message":"it \"broke\"","code":2}}],"# + schema + "}]," + schema + "}]}")
  }

  @Test func aSpanWithNothing() {
    let text = Self.text(Self.span())
    #expect(
      text.contains(#""flags":257,"name":"chat m","kind":2,"#)
        && text.hasSuffix(#""attributes":[]}],"# + schema + "}]," + schema + "}]}"))
    for absent in ["parentSpanId", "traceState", "events", "status"] { #expect(!text.contains(absent)) }
    #expect(Self.text().contains(#""spans":[]"#))
  }

  @Test func aSpanNeverEndsBeforeItBegins() {
    let span = TraceSpan(
      trace: TraceID(high: 1, low: 1), id: SpanID(1), parent: nil, name: "", kind: .internal, start: 5, end: 4)
    #expect(span.end == 5)
  }

  @Test(arguments: [1_023, 1_024, 1_025, 5_000]) func longTextsAreCut(_ length: Int) {
    let text = String(repeating: "x", count: length)
    let cut = Attribute.cut(text)
    #expect(
      cut.utf8.count == min(length, 1_024) && (cut == text) == (length <= 1_024)
        && (length <= 1_024 || cut.hasSuffix("...")))
    // No character is cut in two.
    let wide = Attribute.cut(String(repeating: "\u{1F600}", count: length))
    #expect(wide.utf8.count <= 1_024 && wide.unicodeScalars.allSatisfy { $0 == "\u{1F600}" || $0 == "." })
    #expect(Self.span(text).name == cut)
  }

  @Test func metricsInFull() {
    var spread = Distribution(bounds: [0.01, 1])
    for value in [0.005, 0.01, 0.5, 2, .nan, .infinity] { spread.record(value) }
    var metrics = [
      Metric("a.b", unit: "s", help: "Time.", .distributions([Metric.Point([Attribute("k", "v")], spread)])),
      Metric("c", unit: "{call}", help: "Calls.", .levels([Metric.Point([], 7)])),
    ]
    metrics[1].since = 4
    let text = String(decoding: TelemetryJSON.metrics(metrics, since: 5, now: 9, of: source), as: UTF8.self)
    #expect(
      text == #"{"resourceMetrics":[{"# + head + #","scopeMetrics":[{"# + scope
        + #","metrics":[{"name":"a.b","description":"Time.","unit":"s","histogram":{"dataPoints":[{"attributes":"#
        + #"[{"key":"k","value":{"stringValue":"v"}}],"startTimeUnixNano":"5","timeUnixNano":"9","count":"4","sum":2.515,"#
        + #""bucketCounts":["2","1","1"],"explicitBounds":[0.01,1]}],"aggregationTemporality":2}},"#
        + #"{"name":"c","description":"Calls.","unit":"{call}","sum":{"dataPoints":[{"attributes":[],"startTimeUnixNano":"4","#
        + #""timeUnixNano":"9","asInt":"7"}],"aggregationTemporality":2,"isMonotonic":false}}],"# + schema + "}],"
        + schema + "}]}")
  }

  @Test func anInstrumentHasSoManyCombinationsAndNoMore() throws {
    var instrument = Instrument("n", unit: "s", help: "h", bounds: [1])
    for number in 0..<Instrument.most - 1 { instrument.record(0, [Attribute("k", number)]) }
    #expect(instrument.metric.pointCount == Instrument.most - 1)
    for number in 0..<100 { instrument.record(2, [Attribute("other", number)]) }
    instrument.record(2, [Attribute("k", 0)])
    let points = try #require(instrument.metric.distributions)
    #expect(points.count == Instrument.most && points[0].value.counts == [1, 1])
    let last = try #require(points.last)
    #expect(last.attributes == [Attribute("otel.metric.overflow", true)] && last.value.count == 100)
  }
}

extension Metric {
  fileprivate var distributions: [Point<Distribution>]? {
    if case .distributions(let points) = points { points } else { nil }
  }
}
