// A tenant's list of models, and `unknown_price: reject`, hold whatever the request looks like.
import AdmissionCore
import HTTPMessage
import PolicyFile
import Pricing
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
  static let hidden = bodies + batches + paths + odd + forms + members + elsewhere + prefixed

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

  /// Members of other names and at other places that some servers take for a model's.
  private static let members: [Case] =
    [
      #""fallback_models":["gpt-5-pro"]"#, #""fallbackModel":"gpt-5-pro""#, #""fallback":"gpt-5-pro""#,
      #""models":"gpt-5-pro""#, #""models":{"a":"gpt-5-pro"}"#, #""fallbacks":{"model":"gpt-5-pro"}"#,
      #""fallbacks":[{"mini":"gpt-5-pro"}]"#, #""fallbacks":[[{"id":"gpt-5-pro"}]]"#,
      #""fallbacks":[{"model":"mini","thinking":{"type":"enabled"}},{"model":"gpt-5-pro"}]"#,
      #""context_window_fallback_dict":{"mini":"gpt-5-pro"}"#, #""extra_body":{"model":"gpt-5-pro"}"#,
      #""extra_body":{"extra_body":{"models":["gpt-5-pro"]}}"#, #""provider":{"model":"gpt-5-pro"}"#,
      #""plugins":[{"id":"web","model":"gpt-5-pro"}]"#, #""plugins":[{"id":"fusion","analysis_models":["gpt-5-pro"]}]"#,
      #""preset":"mine""#, #""engine":"gpt-5-pro""#, #""deployment_id":"gpt-5-pro""#, #""modelId":"gpt-5-pro""#,
      #""modelUri":"gpt-5-pro""#, #""model_name":"gpt-5-pro""#, #""model\u0000":"gpt-5-pro""#,
      #""model\u0000x":"gpt-5-pro""#, #"" model ":"gpt-5-pro""#, #""model[]":"gpt-5-pro""#,
      #""mOdelſ":["gpt-5-pro"]"#, #""tools":[{"type":"x","config":{"model":"gpt-5-pro"}}]"#,
      #""tools":[{"type":"x","parameters":{"model":"gpt-5-pro"}}]"#,
      #""tools":[{"type":"x","parameters":{"models":["gpt-5-pro"]}}]"#, #""x":{"model":{"id":"gpt-5-pro"}}"#,
      #""fallbacks":["\#(String(repeating: "m", count: 513))"]"#, #""\#(String(repeating: "m", count: 513))":"x""#,
    ].map { Case(body: "{\"model\":\"mini\",\($0)}") } + [
      Case(body: #"{"model":"mini,gpt-5-pro"}"#), Case(body: #"{"model":"mini;gpt-5-pro"}"#),
      Case(body: #"{"model":"mini@preset/x"}"#), Case(body: #"{"model":"mini\ngpt-5-pro"}"#),
      Case(
        target: "/v1beta/models/mini:batchEmbedContents",
        body: #"{"requests":[{"model":"models/gpt-5-pro","content":{}}]}"#),
    ]

  /// Calls whose model some other thing decides, whatever their query and body say.
  private static let elsewhere: [Case] = [
    Case(target: "/v1/chat/completions?model=mini", body: #"{"messages":[]}"#),
    Case(target: "/v1/messages?model=mini", body: #"{"messages":[]}"#),
    Case(target: "/v1/responses?model=mini", body: #"{"prompt":{"id":"pmpt_1"},"input":"x"}"#),
    Case(target: "/v1/unknown?model=mini", body: ""), Case(target: "/v1/unknown?model=mini", body: "{}"),
    Case(target: "/v1/unknown?MODEL%00=gpt-5-pro", body: #"{"model":"mini"}"#),
    Case(target: "/v1/unknown?models[]=gpt-5-pro", body: #"{"model":"mini"}"#),
    Case(target: "/v1/batches?model=mini", body: #"{"input_file_id":"file-1","endpoint":"/v1/chat/completions"}"#),
    Case(target: "/v1/batches", body: #"{"model":"mini","input_file_id":"file-1"}"#),
    Case(target: "/v1/b%61tches/", body: #"{"model":"mini","input_file_id":"file-1"}"#),
    Case(target: "/v1/threads/t/runs?model=mini", body: #"{"assistant_id":"a"}"#),
    Case(target: "/v1/threads/t/runs/r/submit_tool_outputs", body: #"{"model":"mini","tool_outputs":[]}"#),
    form("/v1/uploads/u/parts?model=mini", "\(part)\"data\"; filename=\"a\"\n\nx\n|--\n"),
    form("/v1/uploads/u/parts", "\(part)\"model\"\n\nmini\n\(part)\"data\"; filename=\"a\"\n\nx\n|--\n"),
    form("/v1/images/edits?model=mini", "\(part)\"prompt\"\n\nx\n|--\n"),
  ]

  /// A model in the path, beside one that is allowed in the body.
  private static let prefixed: [Case] =
    [
      "/p/sim/proxy/openai/deployments/gpt-5-pro/chat/completions", "/p/sim/deployments/gpt-5-pro/chat/completions",
      "/p/sim/openai/Deployments/gpt-5-pro/chat/completions", "/p/sim/openai/%64eployments/gpt-5-pro/embeddings",
      "/p/sim/engines/gpt-5-pro/completions", "/p/sim/gemini/v1beta/models/gpt-5-pro:generateContent",
      "/p/sim/model/gpt-5-pro/invoke", "/p/sim/models/gpt-5-pro", "/p/sim/models/gpt-5-pro:streamGenerateContent",
      "/p/sim/vertex/v1/projects/p/locations/l/publishers/anthropic/models/gpt-5-pro:rawPredict",
      "/p/sim/v1/projects/p/locations/l/endpoints/77:predict", "/p/sim/endpoints/big/invocations",
      "/p/sim/serving-endpoints/gpt-5-pro/invocations", "/p/sim/accounts/a/ai/run/@cf/meta/big",
      "/v1/models/gpt-5-pro/predictions", "/v1/models/owner/gpt-5-pro/predictions",
      "/v1/x/deployments/gpt-5-pro/models/mini/chat/completions", "/v1/Engines/gpt-5-pro/completions",
      "/v1//models/gpt-5-pro:generateContent",
    ].flatMap { path in
      let spoken = Case(target: "\(path)?model=mini", type: "audio/wav", body: "RIFF")
      return [Case(target: path, body: #"{"model":"mini","messages":[]}"#)]
        // Google's own calls are JSON and nothing else.
        + (path.contains(":generateContent") ? [] : [spoken])
    }

  private static let batches: [Case] = [
    Case(
      target: "/v1/messages/batches",
      body: #"{"requests":[{"params":{"model":"mini"}},{"params":{"messages":[]}}]}"#),
    Case(target: "/v1/messages/batches", body: #"{"requests":[{"params":{"model":"mini"}},{"custom_id":"2"}]}"#),
    Case(
      target: "/v1/messages/batches",
      body: #"{"requests":[{"params":{"model":"mini","fallbacks":[{"model":"gpt-5-pro"}]}}]}"#),
    Case(target: "/v1/messages/batches", body: #"{"requests":[{"params":{"model":"mini","models":["gpt-5-pro"]}}]}"#),
    Case(target: "/v1/messages/batches", body: #"{"requests":[{"params":{"model":"mini","Model":"gpt-5-pro"}}]}"#),
    Case(
      target: "/v1/messages/batches",
      body: #"{"requests":[{"x":{"params":{"model":"mini"}},"params":{"messages":[]}}]}"#),
    Case(
      target: "/v1/messages/batches",
      body: #"{"requests":[{"params":{"model":"mini"}}],"requests":[{"params":{"model":"gpt-5-pro"}}]}"#),
    upload("batch", "b.jsonl", "{\"body\":{\"model\":\"mini\",\"fallbacks\":[\"gpt-5-pro\"]}}"),
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
    form("/v1/audio/transcriptions", "\(part)\"model\"\n\nmini\n\(part)\"MODEL\"\n\ngpt-5-pro\n|--\n"),
    form("/v1/audio/transcriptions", "\(part)\"model\"\n\nmini\n\(part)\"fallbacks[]\"\n\ngpt-5-pro\n|--\n"),
    form(
      "/v1/realtime/calls",
      "\(part)\"model\"\n\nmini\n\(part)\"session\"\n\n {\"model\":\"gpt-5-pro\"}\n|--\n"),
    form("/v1/realtime/calls", "\(part)\"model\"\n\nmini\n\(part)\"session\"\n\n{\"model\":\n|--\n"),
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
    Case(target: "/v1/realtime/calls?model=mini", type: "application/sdp", body: "v=0"),
    Case(target: "/v1/threads/t/runs", body: #"{"model":"mini","assistant_id":"a"}"#),
    Case(target: "/v1/responses", body: #"{"model":"mini","prompt":{"id":"p","variables":{"model":"T5"}}}"#),
    Case(body: #"{"model":"mini","metadata":{"model":"T5"},"client_metadata":{"model":"T5"},"user":"u"}"#),
    Case(body: #"{"model":"mini","provider":{"allow_fallbacks":false},"plugins":[{"id":"web","engine":"exa"}]}"#),
    Case(
      body:
        #"{"model":"mini","fallbacks":[{"model":"mini-2","max_tokens":5,"thinking":{"type":"enabled"},"speed":"fast"}]}"#
    ),
    Case(
      body:
        #"{"model":"mini","response_format":{"type":"json_schema","json_schema":{"schema":{"default":{"model":"T5"}}}}}"#
    ),
    Case(
      target: "/v1/messages",
      body:
        #"{"model":"mini","tools":[{"name":"Agent","input_schema":{"type":"object","properties":{"model":{"type":"string","enum":["opus"]},"engine":{"model":"x"}},"required":["model"]},"input_examples":[{"model":"T5"}]}]}"#
    ),
    Case(
      target: "/v1/responses",
      body:
        #"{"model":"mini","input":[{"type":"function_call","arguments":"{}","model":"x"}],"text":{"format":{"type":"json_schema","schema":{"properties":{"model":{"const":"a"}}}}},"tools":[{"type":"custom","name":"apply_patch","format":{"type":"grammar"}}]}"#
    ),
    Case(target: "/p/sim/proxy/openai/deployments/mini/chat/completions", body: #"{"messages":[]}"#),
    Case(target: "/p/sim/model/mini/invoke", body: #"{"messages":[]}"#),
    Case(target: "/p/sim/gemini/v1beta/models/mini:generateContent", body: #"{"model":"models/mini"}"#),
    Case(target: "/p/sim/models/mini/v1/chat/completions", body: #"{"model":"mini"}"#),
    Case(target: "/p/sim/v1/projects/p/locations/l/endpoints/openapi/chat/completions", body: #"{"model":"mini"}"#),
    form(
      "/v1/realtime/calls",
      "\(part)\"model\"\n\nmini\n\(part)\"session\"\n\n{\"model\":\"mini\"}\n\(part)\"prompt\"\n\n{x\n|--\n"),
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

  @Test func whatStandsInAPathIsTheModel() {
    for (target, model) in [
      ("/p/sim/proxy/openai/deployments/big/chat/completions", "big"),
      ("/p/sim/deployments/big/chat/completions", "big"),
      ("/p/sim/gemini/v1beta/models/big:generateContent", "big"), ("/p/sim/model/big/invoke", "big"),
      ("/p/sim/models/owner/big/v1/chat/completions", "owner/big"), ("/p/sim/v1/chat/completions", "small"),
    ] {
      let rig = Rig()
      rig.send(target, body: #"{"model":"small","messages":[]}"#)
      rig.upstream.last?.respond(200, [], ["{}"])
      #expect(rig.ended.map(\.model) == [model], "\(target)")
    }
  }

  @Test(arguments: [
    "/v1/models", "/v1/models/", "/v1//models", "/v1/%6dodels", "/v1/Models", "/v1/models;x", "/p/sim/v1/models",
    "/p/sim/models", "/p/sim/v1/models/?x=1", "/x/provider=sim/v1/models", "/p/sim/openai/v1/models",
  ])
  func noListNamesAModelThatIsNotAllowed(_ target: String) throws {
    let rig = Rig {
      var tenant = Tenant(id: "default")
      tenant.models = ["mini*"]
      $0.tenants = [tenant]
    }
    let client = rig.send(target, body: "", method: "GET", type: nil)
    try #require(rig.upstream.last).respond(200, [], [#"{"data":[{"id":"mini-2"},{"id":"gpt-5-pro"}]}"#])
    #expect(client.answer?.status == 200)
    #expect(client.text.contains("mini-2"))
    #expect(!client.text.contains("gpt-5-pro"))
  }

  @Test(arguments: [
    "/p/sim/openai/deployments", "/v1/engines", "/p/sim/api/tags", "/p/sim/model/info", "/p/sim/foundation-models",
    "/p/sim/v1/models/gpt-5-pro", "/p/sim/models/gpt-5-pro",
  ])
  func listsOfModelsUnderOtherNamesAreRefused(_ target: String) {
    let rig = Rig {
      var tenant = Tenant(id: "default")
      tenant.models = ["mini*"]
      $0.tenants = [tenant]
    }
    #expect(rig.send(target, body: "", method: "GET", type: nil).answer?.status == 404)
    #expect(rig.upstream.calls.isEmpty)
    let free = Rig()
    free.send(target, body: "", method: "GET", type: nil)
    #expect(free.upstream.calls.count == 1)
  }

  @Test func oneProvidersOwnListGoesOnToThoseWhoMayUseAll() throws {
    let rig = Rig()
    let client = rig.send("/p/sim/v1/models", body: "", method: "GET", type: nil)
    try #require(rig.upstream.last).respond(200, [], [#"{"data":[{"id":"gpt-5-pro","own":1}]}"#])
    #expect(client.text.contains(#""own":1"#))
  }

  @Test func withoutSuchRulesNothingMustBeNamed() {
    let posted = ModelAccessTests.hidden.filter { $0.method == "POST" }
    #expect(posted.count >= 10)
    for request in posted {
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
