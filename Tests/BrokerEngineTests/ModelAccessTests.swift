// A tenant's list of models, and `unknown_price: reject`, hold whatever the request looks like.
import AdmissionCore
import HTTPMessage
import PolicyFile
import Testing

@testable import BrokerEngine

@Suite struct ModelAccessTests {
  /// How a request is written.
  struct Case: Sendable, CustomTestStringConvertible {
    var target = "/v1/chat/completions"
    var type: String? = "application/json"
    var body: String
    var method = "POST"
    var testDescription: String { "\(method) \(target) [\(type ?? "")] \(body.prefix(60))" }
  }

  private static func form(_ parts: String, boundary: String = "x", head: String = "multipart/form-data; boundary=")
    -> (
      type: String, body: String
    )
  {
    (head + boundary, parts.replacing("|", with: "--\(boundary)").replacing("\n", with: "\r\n"))
  }

  private static func form(_ target: String, _ parts: String, boundary: String = "x") -> Case {
    let form = form(parts, boundary: boundary)
    return Case(target: target, type: form.type, body: form.body)
  }

  private static let part = "|\nContent-Disposition: form-data; name="

  /// A hundred fields more than are looked at.
  private static let many = String(repeating: "\(part)\"a\"\n\nb\n", count: 1100)

  private static func upload(_ purpose: String, _ name: String, _ content: String) -> Case {
    let head = "\(part)\"purpose\"\n\n\(purpose)\n\(part)\"file\"; filename=\"\(name)\"\n\n"
    return form("/v1/files", "\(head)\(content)\n|--\n")
  }

  /// All of them reach a model that the tenant may not use, or may reach one.
  static let hidden = bodies + batches + paths + odd + forms

  private static let bodies: [Case] = [
    Case(body: #"{"model":"gpt-5-pro","messages":[]}"#), Case(body: #"{"messages":[]}"#), Case(body: #"{"model":7}"#),
    Case(body: #"{"model":null}"#), Case(body: #"{"model":["gpt-5-pro"]}"#),
    Case(body: #"{"model":{"id":"gpt-5-pro"}}"#),
    Case(body: #"{"model":"gpt-5-pro","model":"mini"}"#), Case(body: #"{"model":"mini","model":"gpt-5-pro"}"#),
    Case(body: #"{"model":"mini","Model":"gpt-5-pro"}"#), Case(body: #"{"MODEL":"gpt-5-pro","model":"mini"}"#),
    Case(body: #"{"model":"mini","M\u006fdel":"gpt-5-pro"}"#), Case(body: #"{"mod\u0065l":"gpt-5-pro"}"#),
    Case(body: #"{"model":"mini","model":null}"#), Case(body: #"{"Model":"mini"}"#),
    Case(body: #"{"model":"mini","models":["mini","gpt-5-pro"]}"#),
    Case(body: #"{"models":["gpt-5-pro"]}"#), Case(body: #"{"model":"mini","fallbacks":["gpt-5-pro"]}"#),
    Case(body: #"{"model":"mini","fallbacks":[{"model":"gpt-5-pro"}]}"#),
    Case(body: #"{"model":"mini","fallbacks":[{"mini":["gpt-5-pro"]}]}"#),
    Case(body: #"{"model":"mini","tools":[{"type":"image_generation","model":"gpt-5-pro"}]}"#),
    Case(target: "/v1/responses?model=gpt-5-pro", body: #"{"model":"mini"}"#),
    Case(type: nil, body: #"{"model":"gpt-5-pro"}"#), Case(type: "text/plain", body: #"{"model":"gpt-5-pro"}"#),
    Case(type: "application/x-www-form-urlencoded", body: #"{"model":"mini","user":"&model=gpt-5-pro&"}"#),
  ]

  private static let batches: [Case] = [
    Case(
      target: "/v1/messages/batches",
      body: #"{"requests":[{"params":{"model":"mini"}},{"params":{"model":"gpt-5-pro"}}]}"#),
    Case(target: "/v1/messages/batches", body: #"{"requests":[{"params":{"model":"mini"}},{"params":{"model":1}}]}"#),
    Case(target: "/v1/messages/batches", body: #"{"requests":[]}"#),
    Case(
      target: "/v1/messages/batches",
      body: #"{"requests":[{"params":{"model":"mini","tools":[{"type":"advisor","model":"gpt-5-pro"}]}}]}"#),
    Case(target: "/v1/batches", body: #"{"input_file_id":"file-1","endpoint":"/v1/chat/completions"}"#),
    upload("batch", "b.jsonl", "{\"body\":{\"model\":\"mini\"}}\n{\"body\":{\"model\":\"gpt-5-pro\"}}"),
  ]

  private static let paths: [Case] = [
    Case(target: "/v1/engines/gpt-5-pro/completions", type: "text/plain", body: "hello"),
    Case(target: "/v1/engines/gpt-5-pro/completions", body: #"{"model":"mini","prompt":"x"}"#),
    Case(target: "/openai/deployments/gpt-5-pro/chat/completions", body: #"{"model":"mini"}"#),
    Case(target: "/openai/deployments/mini/chat/completions", body: #"{"model":"gpt-5-pro"}"#),
    Case(target: "/v1beta/models/gpt-5-pro:generateContent", body: #"{"contents":[]}"#),
    Case(target: "/v1beta/models/mini:generateContent", body: #"{"model":"models/gpt-5-pro"}"#),
    Case(target: "/v1/projects/p/publishers/a/models/gpt-5-pro:rawPredict", body: #"{"model":"mini"}"#),
    Case(target: "/v1/models/gpt-5-pro", body: #"{"model":"mini"}"#),
    Case(target: "/v1/models/gpt-5-pro", body: "", method: "GET"),
  ]

  /// Endpoints that are not known, and bodies of other types.
  private static let odd: [Case] = [
    Case(target: "/v1/unknown", body: #"{"session":{"model":"gpt-5-pro"},"model":"mini"}"#),
    Case(target: "/v1/unknown", type: "text/plain", body: #" {"model":"gpt-5-pro"}"#),
    Case(target: "/v1/unknown", type: "application/x-yaml", body: "model: gpt-5-pro"),
    Case(target: "/v1/unknown?model=mini", type: "text/plain", body: "model: gpt-5-pro"),
    Case(target: "/v1/unknown", type: "application/x-www-form-urlencoded", body: "model=gpt-5-pro"),
    Case(target: "/v1/unknown", body: ""), Case(target: "/v1/unknown", body: "{}", method: "GET"),
    Case(target: "/v1/unknown", body: #"{"model":"mini"} {"model":"gpt-5-pro"}"#),
    Case(target: "/v1/threads/t/runs", body: #"{"assistant_id":"a"}"#),
  ]

  private static let forms: [Case] = [
    form("/v1/audio/transcriptions", "\(part)\"model\"\n\ngpt-5-pro\n|--\n"),
    form(
      "/v1/audio/transcriptions", "\(part)\"model\"\n\ngpt-5-pro\n|--\n", boundary: String(repeating: "b", count: 201)),
    form("/v1/audio/transcriptions", "\(part)\"model\"; filename=\"m\"\n\ngpt-5-pro\n|--\n"),
    form("/v1/audio/transcriptions", "\(part)\"model\"\n\nmini\n\(part)\"model\"\n\ngpt-5-pro\n|--\n"),
    form("/v1/audio/transcriptions", "\(part)\"model\"\n\ngpt-5-pro\n\(part)\"model\"\n\nmini\n|--\n"),
    form(
      "/v1/audio/transcriptions",
      "\(many)\(part)\"model\"\n\ngpt-5-pro\n|--\n"),
    form(
      "/v1/audio/transcriptions",
      "\(part)\"model\"\n\nmini\n\(many)\(part)\"model\"\n\ngpt-5-pro\n|--\n"),
    form("/v1/audio/transcriptions", "\(part)\"file\"; filename=\"a\"\n\nx\n|--\n"),
    form("/v1/audio/transcriptions", "preamble\n\(part)\"model\"\n\nmini\n|--\n"),
    form("/v1/audio/transcriptions", "\(part)\"model\"\n\nmini\n\(part)\"x\"; name=\"model\"\n\ngpt-5-pro\n|--\n"),
    form(
      "/v1/audio/transcriptions",
      "\(part)\"model\"\n\nmini\n|\nContent-Disposition: form-data;\n name=\"model\"\n\ngpt-5-pro\n|--\n"),
    form(
      "/v1/audio/transcriptions",
      "\(part)\"model\"\n\nmini\n\(part)\"model\"\nContent-Transfer-Encoding: base64\n\nZ3B0LTUtcHJv\n|--\n"),
    form(
      "/v1/audio/transcriptions",
      "\(part)\"model\"\n\nmini\n|\nContent-Disposition: form-data; name*=utf-8''model\n\nbig\n|--\n"),
    Case(
      target: "/v1/images/edits", type: "multipart/form-data; boundary=x; boundary=y",
      body: "--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nmini\r\n--x--\r\n"),
    Case(
      target: "/v1/images/edits", type: "multipart/mixed; boundary=x",
      body: "--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ngpt-5-pro\r\n--x--\r\n"),
    Case(target: "/v1/images/edits", type: "multipart/form-data; boundary=x", body: #"{"model":"gpt-5-pro"}"#),
  ]

  @Test(arguments: hidden)
  func aModelThatIsNotAllowedIsNeverReached(_ request: Case) {
    let rig = Rig {
      var tenant = Tenant(id: "default")
      tenant.models = ["mini*"]
      $0.tenants = [tenant]
    }
    let client = rig.send(request.target, body: request.body, method: request.method, type: request.type)
    #expect(rig.upstream.calls.isEmpty)
    #expect(client.answer?.status == 404)
    #expect(client.field("x-tollgate-outcome") == "rejected_model")
    #expect(rig.ended.map(\.outcome) == [.rejectedModel])
  }

  @Test(arguments: hidden.filter { !$0.target.hasPrefix("/v1/models/") && !$0.target.hasPrefix("/v1/files") })
  func aModelWithoutAPriceIsNeverReached(_ request: Case) {
    let prices = PriceList(version: "v", entries: [ModelPrice(models: "mini*", rates: PriceRates(input: 1, output: 1))])
    let rig = Rig(prices: prices) { $0.unknownPrice = .reject }
    let client = rig.send(request.target, body: request.body, method: request.method, type: request.type)
    #expect(rig.upstream.calls.isEmpty)
    #expect(client.field("x-tollgate-outcome") == "rejected_model")
  }

  @Test(arguments: [
    Case(type: "multipart/form-data; boundary=x", body: #"{"model":"gpt-5-pro"}"#),
    Case(type: "multipart/form-data", body: #"{"model":"mini"}"#),
    Case(type: "Multipart/Mixed", body: #"{"model":"mini"}"#),
    Case(target: "/v1/messages", type: "multipart/form-data; boundary=x", body: "--x--"),
    Case(target: "/v1/messages/batches", type: "multipart/form-data; boundary=x", body: #"{"requests":[]}"#),
    Case(target: "/v1beta/models/mini:generateContent", type: "multipart/form-data; boundary=x", body: "{}"),
  ])
  func aFormWhereJSONBelongsIsMalformed(_ request: Case) {
    for change in [{ _ in }, { $0.unknownPrice = .reject }] as [(inout Policy) -> Void] {
      let rig = Rig(change)
      let client = rig.send(request.target, body: request.body, type: request.type)
      #expect(rig.upstream.calls.isEmpty)
      #expect(client.answer?.status == 400)
      #expect(client.field("x-tollgate-outcome") == "rejected_malformed")
    }
  }

  @Test func twoContentTypesAreMalformed() {
    let rig = Rig()
    #expect(rig.send(fields: [("Content-Type", "text/plain")]).answer?.status == 400)
    #expect(rig.upstream.calls.isEmpty)
  }

  /// What a tenant with a list of models may well do.
  static let allowed: [Case] = [
    Case(body: #"{"model":"mini","messages":[{"role":"user","content":"{\"model\":\"gpt-5-pro\"}"}]}"#),
    Case(body: #"{"model":"mini-2","messages":[{"role":"assistant","model":"gpt-5-pro","content":"x"}]}"#),
    Case(
      body:
        #"{"model":"mini","tools":[{"type":"function","function":{"name":"f","parameters":{"properties":{"model":{"type":"string"}}}}}]}"#
    ),
    Case(
      target: "/v1/messages",
      body: #"{"model":"mini","messages":[{"content":[{"type":"tool_use","input":{"model":"T5"}}]}]}"#),
    Case(body: #"{"models":["mini","mini-2"]}"#), Case(type: "text/plain", body: #"{"model":"mini"}"#),
    Case(type: "application/x-www-form-urlencoded", body: #"{"model":"mini"}"#),
    Case(
      target: "/v1/messages/batches", body: #"{"requests":[{"params":{"model":"mini"}},{"params":{"model":"mini"}}]}"#),
    Case(target: "/v1/messages/count_tokens", body: #"{"messages":[]}"#),
    Case(target: "/v1/moderations", body: #"{"input":"x"}"#), Case(target: "/v1/responses/r", body: "", method: "GET"),
    Case(target: "/v1/responses/r", body: "", method: "DELETE"), Case(target: "/v1/responses/r/cancel", body: ""),
    Case(target: "/v1/engines/mini/completions", body: #"{"prompt":"x"}"#),
    Case(target: "/v1/unknown?model=mini", type: "audio/wav", body: "RIFF"),
    Case(target: "/v1/unknown", body: #"{"x":{"model":"mini"},"model":"mini"}"#),
    Case(target: "/v1/models/mini", body: "", method: "GET"),
    form(
      "/v1/audio/transcriptions",
      "\(part)\"file\"; filename=\"C:\\a;b.wav\"\nContent-Type: audio/wav\n\nRIFF\n\(part)\"model\"\n\nmini\n|--\n"),
    form("/v1/audio/transcriptions", "\(part)\"model\"\n\nmini\n|--\n", boundary: String(repeating: "b", count: 201)),
    form("/v1/audio/transcriptions", "\(part)model\n\nmini\n|--\n"),
    upload("batch", "b.jsonl", "{\"body\":{\"model\":\"mini\"}}\n\n{\"body\":{\"model\":\"mini-2\"}}"),
    upload("user_data", "a.pdf", "%PDF"),
  ]

  @Test(arguments: allowed) func whatIsAllowedPasses(_ request: Case) {
    let rig = Rig {
      var tenant = Tenant(id: "default")
      tenant.models = ["mini*"]
      $0.tenants = [tenant]
    }
    let client = rig.send(request.target, body: request.body, method: request.method, type: request.type)
    #expect(rig.upstream.calls.count == 1, "\(client.text)")
  }

  @Test func withoutSuchRulesNothingMustBeNamed() {
    for request in ModelAccessTests.hidden where request.method == "POST" {
      let rig = Rig()
      let client = rig.send(request.target, body: request.body, type: request.type)
      #expect(rig.upstream.calls.count == 1, "\(request.testDescription): \(client.text)")
    }
  }

  @Test(arguments: [
    "/v1/models/..%2fchat%2fcompletions", "/v1/models/%2e%2e/chat/completions", "/v1/models/../chat/completions",
    "/p/sim/v1/models/..%2fchat%2fcompletions", "/x/priority=low/v1/models/..%2fchat", "/v1/models/%252e%252e%252fchat",
    "/p/sim/../../v1/chat/completions",
  ])
  func pathsThatServersFoldAreRefused(_ target: String) {
    let rig = Rig()
    let client = rig.send(target)
    #expect(client.answer?.status == 400)
    #expect(client.field("x-tollgate-outcome") == "rejected_malformed")
    #expect(rig.upstream.calls.isEmpty)
  }

  @Test func aModelsNameIsFreeToReadOnly() {
    let ledger = FakeLedger()
    let prices = PriceList(
      version: "v", entries: [ModelPrice(models: "*", rates: PriceRates(input: 1_000_000, output: 1_000_000))])
    let rig = Rig(ledger: ledger, prices: prices)
    for (method, isFree) in [("GET", true), ("HEAD", true), ("DELETE", true), ("POST", false), ("PUT", false)] {
      rig.send("/v1/models/m%2fn", body: method == "POST" || method == "PUT" ? #"{"messages":[]}"# : "", method: method)
      #expect((ledger.holds.last?.held == .zero) == isFree, "\(method)")
    }
  }
}
