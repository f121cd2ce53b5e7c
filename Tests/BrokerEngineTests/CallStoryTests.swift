// What a collector of OpenTelemetry is told of calls: their spans, the fields that providers get, names from closed sets,
// and metrics without clients' names.
import AdmissionCore
import HTTPMessage
import PolicyFile
import ProviderWire
import Telemetry
import Testing

@testable import BrokerEngine

private let trace = "4bf92f3577b34da6a3ce929d0e0e4736"
private let parent = "00-\(trace)-00f067aa0ba902b7-01"

@Suite final class CallStoryTests {
  private let keeper = RigKeeper()

  private func rig(_ basisPoints: Int = 10_000) -> Rig {
    let rig = keeper.rig()
    var drawn: UInt64 = 0
    rig.broker.operator.tracer = Tracer(HeadSampling(basisPoints: basisPoints)) {
      drawn &+= 0x1234_5678_9ABC_DEF1
      return drawn
    }
    return rig
  }

  private func attributes(_ span: TraceSpan) -> [String: Attribute.Value] {
    Dictionary(span.attributes.map { ($0.name, $0.value) }, uniquingKeysWith: { _, _ in .text("twice") })
  }

  private static let answer =
    #"{"model":"m-1","choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":7,"completion_tokens":3}}"#

  @Test func aCallsSpans() throws {
    let rig = rig()
    rig.send(fields: [("traceparent", parent), ("tracestate", "a=1"), ("x-tollgate-session", "s")])
    rig.advance(.milliseconds(5))
    rig.upstream.last?.respond(503)
    rig.advance(.seconds(60))
    rig.upstream.last?.respond(200, [("content-type", "application/json")], [Self.answer])
    let record = try #require(rig.ended.first)
    let story = try #require(CallStory(record))
    let providers = Dictionary(
      rig.broker.operator.policy.providers.map { ($0.id, ProviderLabels($0)) }, uniquingKeysWith: { first, _ in first })
    let spans = story.spans(providers, scheme: "https")
    #expect(spans.count == story.spanCount && story.bytes > 512 && record.traceID == trace)
    let root = spans[0]
    #expect(root.name == "POST /v1/chat/completions" && root.kind == .server && root.parent?.text == "00f067aa0ba902b7")
    #expect(root.parentIsRemote && root.state == "a=1" && root.error == nil)
    #expect(attributes(root)["tollgate.attempts"] == .whole(2) && attributes(root)["url.scheme"] == .text("https"))
    #expect(attributes(root)["gen_ai.conversation.id"] == .text("s"))
    let others = spans.dropFirst()
    #expect(
      others.allSatisfy {
        $0.parent == root.id && $0.trace == root.trace && root.start <= $0.start && $0.end <= root.end
      })
    #expect(Set(spans.map(\.id)).count == spans.count)
    let tries = others.filter { $0.kind == .client }
    #expect(others.contains { $0.name == "queue backoff" && $0.kind == .internal })
    #expect(tries.map(\.name) == ["chat m", "chat m"] && tries.map(\.error) == ["", nil])
    #expect(
      attributes(tries[0])["error.type"] == .text("503") && attributes(tries[0])["gen_ai.usage.input_tokens"] == nil)
    #expect(attributes(tries[1])["gen_ai.usage.input_tokens"] == .whole(7))
    #expect(attributes(tries[1])["gen_ai.response.model"] == .text("m-1"))
    #expect(tries.allSatisfy { $0.events.map(\.name) == ["first_byte"] })
    // What the providers were sent.
    #expect(
      rig.upstream.calls.map { $0.request.fields.first("traceparent") }
        == tries.map { "00-\(trace)-\($0.id.text)-01" })
    #expect(rig.upstream.calls.allSatisfy { $0.request.fields.first("tracestate") == "a=1" })
  }

  @Test func whatIsNotSampledIsNotTold() throws {
    let rig = rig(0)
    rig.send()
    #expect(rig.upstream.last?.request.fields.first("traceparent")?.hasSuffix("-00") == true)
    rig.upstream.last?.respond(200, [("content-type", "application/json")], [Self.answer])
    let record = try #require(rig.ended.first)
    #expect(CallStory(record) == nil && record.traceID != nil)
  }

  @Test func withoutACollectorFieldsGoOnAsTheyCame() throws {
    let rig = keeper.rig()
    rig.send(fields: [("Traceparent", "as it came"), ("tracestate", "a"), ("traceparent", "twice")])
    let fields = try #require(rig.upstream.last?.request.fields)
    #expect(
      fields.pairs.filter { $0.name.lowercased().hasPrefix("trace") }.map(\.value) == ["as it came", "a", "twice"])
    rig.upstream.last?.respond(200, [("content-type", "application/json")], [Self.answer])
    #expect(rig.ended.first?.traceID == nil)
  }

  @Test func aCallThatIsRefusedAtItsHeadIsTold() throws {
    let rig = rig()
    rig.send("/nothing/here")
    let story = try #require(rig.ended.first.flatMap { CallStory($0) })
    let spans = story.spans([:], scheme: "http")
    #expect(spans.count == 1 && spans[0].name == "POST" && spans[0].error == nil)
    #expect(attributes(spans[0])["http.response.status_code"] == .whole(404))
  }

  @Test func operationsAndRoutesComeFromClosedSets() {
    for (path, operation, route) in [
      ("/v1/chat/completions", "chat", true), ("/v1/messages", "chat", true), ("/v1/responses", "chat", true),
      ("/v1/completions", "text_completion", true), ("/v1/embeddings", "embeddings", true),
      ("/v1beta/models/gemini-4:generateContent", "generate_content", false),
      ("/v1/messages/count_tokens", "count_tokens", true), ("/v1/models", nil, true),
      ("/v1/models/secret-name", nil, false),
      ("/v1/files/file-123", nil, false), ("/some/where", nil, false), ("", nil, false),
      ("/v1/chat/completions/", "chat", false),
    ] as [(String, String?, Bool)] {
      #expect(GenAI.operation(at: path) == operation, "\(path)")
      #expect(GenAI.route(path) == (route ? path : nil), "\(path)")
    }
    #expect(GenAI.method("POST") == "POST" && GenAI.method("post") == "_OTHER" && GenAI.method("BREW") == "_OTHER")
  }

  @Test(arguments: [
    ("https://api.openai.com/v1", DialectName.openai, "openai", "api.openai.com", 443),
    ("https://eu.api.openai.com/v1", .openai, "openai", "eu.api.openai.com", 443),
    ("https://x.openai.azure.com/openai/v1", .openai, "azure.ai.openai", "x.openai.azure.com", 443),
    ("https://api.groq.com/openai/v1", .openai, "groq", "api.groq.com", 443),
    ("https://api.mistral.ai:8443/v1", .openai, "mistral_ai", "api.mistral.ai", 8_443),
    (
      "https://bedrock-runtime.us-east-1.amazonaws.com", .anthropic, "aws.bedrock",
      "bedrock-runtime.us-east-1.amazonaws.com", 443
    ),
    ("https://us-east5-aiplatform.googleapis.com", .gemini, "gcp.vertex_ai", "us-east5-aiplatform.googleapis.com", 443),
    ("https://evil-api.openai.com.example/v1", .anthropic, "anthropic", "evil-api.openai.com.example", 443),
    ("https://myapi.openai.com/v1", .gemini, "gcp.gemini", "myapi.openai.com", 443),
    ("http://127.0.0.1:8080/v1", .openai, "openai", "127.0.0.1", 8_080),
    ("http://[::1]:81/v1", .openai, "openai", "::1", 81),
    ("http://[::1]", .gemini, "gcp.gemini", "::1", 80), ("http://h", .anthropic, "anthropic", "h", 80),
  ])
  func providersHaveTheirWellKnownNames(
    _ url: String, _ dialect: DialectName, _ name: String, _ host: String, _ port: Int
  ) {
    let labels = ProviderLabels(Provider(id: "p", dialect: dialect, baseURL: url))
    #expect(labels.name == name && labels.host == host && labels.port == port)
  }

  @Test func errorsComeFromAClosedSet() {
    func error(_ verdict: Verdict.Kind?, status: Int? = nil, failure: String? = nil) -> String? {
      var attempt = RequestRecord.Attempt(number: 1, provider: "p", key: nil, began: 0)
      (attempt.verdict, attempt.status, attempt.failure) = (verdict, status, failure)
      return GenAI.error(attempt)
    }
    #expect(error(nil) == nil && error(.success, status: 200) == nil && error(.clientLeft, status: 200) == nil)
    #expect(error(.throttled, status: 429) == "429" && error(.failed, status: 799) == "_OTHER")
    #expect(error(.failed, failure: "connect_refused") == "connect_refused")
    // The provider's own words.
    #expect(error(.failed, status: 200, failure: "<b>whatever it said</b>") == "failed")
    #expect(error(.truncated, status: 200, failure: "truncated") == "truncated")
  }

  @Test func clientsNamesAreNoPropertiesOfMetrics() throws {
    let rig = rig()
    var meter = CallMeter()
    for number in 0..<50 {
      rig.send(body: #"{"model":"name-\#(number)","messages":[]}"#)
      rig.upstream.last?.respond(200, [("content-type", "application/json")], [Self.answer])
    }
    for record in rig.ended { meter.ended(record, model: rig.broker.operator.label(ofModel: record.model), [:]) }
    let metrics = meter.metrics(rig.broker.operator)
    let duration = try #require(metrics.first { $0.name == "gen_ai.client.operation.duration" })
    let points = try #require(duration.distributions)
    #expect(points.count == 1 && points[0].value.count == 50)
    #expect(points[0].attributes.contains(Attribute("gen_ai.request.model", "other")))
    let tokens = try #require(metrics.first { $0.name == "gen_ai.client.token.usage" })
    let types = try #require(tokens.distributions)
    #expect(types.map(\.value.sum) == [350, 150])
    let wait = try #require(metrics.first { $0.name == "tollgate.queue.wait" })
    #expect(wait.since != nil && wait.pointCount == 3)
  }
}

extension Metric {
  fileprivate var distributions: [Point<Distribution>]? {
    if case .distributions(let points) = points { points } else { nil }
  }
}
