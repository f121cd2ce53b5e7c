// Facts of request bodies: golden bodies of each endpoint, splices, wrong bodies, compressed bodies.
import AdmissionCore
import Testing

@testable import ProviderWire

@Suite struct RequestReaderTests {
  private func read(
    _ body: String, _ path: Substring = "/v1/chat/completions", contentType: String? = "application/json",
    encoding: String? = nil, limit: Int = 1 << 20
  ) throws -> RequestReading {
    var reader = RequestReader()
    let facts = try #require(PathFacts.read(path: path))
    return reader.read(
      Array(body.utf8), path: facts, contentType: contentType, contentEncoding: encoding, decodedLimit: limit)
  }

  private func facts(
    _ body: String, _ path: Substring = "/v1/chat/completions", contentType: String? = "application/json"
  ) throws -> RequestFacts {
    guard case .facts(let facts) = try read(body, path, contentType: contentType) else {
      Issue.record("\(try read(body, path))")
      return RequestFacts()
    }
    return facts
  }

  @Test func readsChat() throws {
    let facts = try facts(
      #"{"model":"gpt-6-sol","stream":true,"n":2,"max_tokens":100,"max_completion_tokens":50,"service_tier":"flex","#
        + #""prompt_cache_key":"k1","user":"u","messages":[{"role":"user","content":"12345678"},"#
        + #"{"role":"user","content":[{"type":"text","text":"1234"}]}]}"#)
    #expect(facts.model == "gpt-6-sol")
    #expect(facts.isStreaming)
    #expect(!facts.asksForUsage)
    #expect(facts.choices == 2)
    #expect(facts.outputCap == 200)
    #expect(facts.serviceTier == "flex")
    #expect(facts.sessionHint == "k1")
    #expect(facts.estimatedInput == 3)
    #expect(facts.producesOutput)
  }

  @Test func readsResponses() throws {
    let facts = try facts(
      #"{"model":"m","instructions":"abcd","input":"efgh","max_output_tokens":7,"previous_response_id":"r","background":true,"#
        + #""prompt":{"id":"p"},"stream":false,"text":{"format":{"type":"text"}}}"#, "/v1/responses")
    #expect(facts.outputCap == 7)
    #expect(facts.hasInputElsewhere)
    #expect(facts.isBackground)
    #expect(!facts.isStreaming)
    #expect(facts.usageSplice == nil)
    #expect(facts.estimatedInput >= 2)
  }

  @Test func readsMessages() throws {
    let facts = try facts(
      #"{"model":"claude-x","max_tokens":32000,"system":[{"type":"text","text":"abcdefgh","cache_control":{"type":"ephemeral"}}],"#
        + #""metadata":{"user_id":"session-9"},"stream":true,"messages":[{"role":"user","content":"abcd"}]}"#,
      "/v1/messages")
    #expect(facts.model == "claude-x")
    #expect(facts.outputCap == 32000)
    #expect(facts.sessionHint == "session-9")
    // `ephemeral` is no text but short enough not to matter: at most three tokens.
    #expect((3...6).contains(facts.estimatedInput))
    #expect(facts.usageSplice == nil)
  }

  @Test func readsCompletionsAndTokenArrays() throws {
    #expect(try facts(#"{"model":"m","prompt":[1,2,3],"best_of":3}"#, "/v1/completions").estimatedInput == 3)
    #expect(
      try facts(#"{"model":"m","prompt":"x","n":2,"best_of":3,"max_tokens":10}"#, "/v1/completions").outputCap == 30)
    #expect(try facts(#"{"model":"m","input":[[1,2],[3,4,5]]}"#, "/v1/embeddings").estimatedInput == 5)
    #expect(try facts(#"{"model":"m","input":["abcd","efgh"]}"#, "/v1/embeddings").estimatedInput == 2)
    #expect(try facts(#"{"model":"m","input":"x","max_tokens":4}"#, "/v1/embeddings").outputCap == nil)
    #expect(try !facts(#"{"model":"m","input":"x"}"#, "/v1/embeddings").producesOutput)
  }

  @Test func readsGemini() throws {
    let facts = try facts(
      #"{"contents":[{"role":"user","parts":[{"text":"abcdefgh"}]}],"generationConfig":{"maxOutputTokens":64,"candidateCount":2,"#
        + #""responseSchema":{"type":"OBJECT"}}}"#, "/v1beta/models/gemini-4-argon:streamGenerateContent")
    #expect(facts.model == "gemini-4-argon")
    #expect(facts.isStreaming)
    #expect(facts.outputCap == 128)
    #expect(facts.estimatedInput >= 2)
  }

  @Test(
    arguments: [
      (#""max_tokens":0"#, nil), (#""max_tokens":-1"#, nil), (#""max_tokens":0.5"#, nil), (#""max_tokens":1"#, 1),
      (#""max_tokens":"2000""#, nil), (#""max_tokens":null"#, nil), (#""max_tokens":[5]"#, nil),
      (#""max_completion_tokens":1,"max_tokens":2000"#, 2000), (#""max_tokens":2000,"max_completion_tokens":1"#, 2000),
      (#""max_completion_tokens":2000,"max_tokens":1"#, 2000), (#""max_completion_tokens":5,"max_tokens":null"#, 5),
      (#""max_completion_tokens":1,"max_tokens":-1"#, nil), (#""max_completion_tokens":0,"max_tokens":9"#, nil),
      (#""max_tokens":1,"max_tokens":null"#, nil), (#""max_tokens":null,"max_tokens":7"#, 7),
      (#""max_output_tokens":1"#, nil), (#""generationConfig":{"maxOutputTokens":1}"#, nil),
      (#""max_tokens":3,"max_output_tokens":9,"generationConfig":{"maxOutputTokens":0}"#, 3),
      (#""max_tokens":1,"n_predict":4000"#, 4000), (#""max_tokens":9,"max_new_tokens":4"#, 9), (#""n_predict":4"#, nil),
      (#""max_tokens":1,"n_predict":-1"#, nil), (#""max_tokens":5,"n":4,"best_of":2"#, 20),
      (#""n":4,"max_tokens":5,"generationConfig":{"candidateCount":1}"#, 20),
    ] as [(String, TokenCount?)])
  func aCapIsBelievedAsFarAsEveryServerKeepsIt(_ members: String, _ cap: TokenCount?) throws {
    #expect(try facts("{\"model\":\"m\",\(members)}").outputCap == cap)
  }

  @Test func eachEndpointHasCapsOfItsOwn() throws {
    let all =
      #"{"model":"m","max_tokens":1,"max_completion_tokens":2,"max_output_tokens":3,"generationConfig":{"maxOutputTokens":4}}"#
    for (path, cap) in [
      ("/v1/chat/completions", 2), ("/v1/completions", 1), ("/v1/messages", 1), ("/v1/responses", 3),
      ("/v1beta/models/g:generateContent", 4), ("/v2/chat", 1), ("/v1/unknown", 4),
    ] as [(Substring, TokenCount)] {
      #expect(try facts(all, path).outputCap == cap, "\(path)")
    }
    let none = #"{"contents":[],"generationConfig":{"maxOutputTokens":-1}}"#
    #expect(try facts(none, "/v1beta/models/g:generateContent").outputCap == nil)
  }

  @Test func readsBatches() throws {
    let facts = try facts(
      #"{"requests":[{"custom_id":"a","params":{"model":"claude-x","max_tokens":5,"messages":[{"role":"user","content":"abcdefgh"}]}}]}"#,
      "/v1/messages/batches")
    #expect(facts.model == "claude-x")
    #expect(facts.estimatedInput >= 2)
  }

  @Test func theLastOfTwoMembersCounts() throws {
    let facts = try facts(#"{"model":"a","model":"b","stream":false,"stream":true,"mod\u0065l":"c","n":5,"n":1}"#)
    #expect(facts.model == "c")
    #expect(facts.isStreaming)
    #expect(facts.choices == 1)
  }

  @Test func membersInsideOthersAreNotTakenForTheRequests() throws {
    let facts = try facts(
      #"{"model":"a","messages":[{"role":"user","content":"x","model":"evil","stream":true,"max_tokens":1}],"#
        + #""metadata":{"model":"evil","nested":{"user_id":"no"}},"tools":[{"function":{"parameters":{"model":{"n":9}}}}]}"#
    )
    #expect(facts.model == "a")
    #expect(!facts.isStreaming)
    #expect(facts.outputCap == nil)
    #expect(facts.choices == 1)
    #expect(facts.sessionHint == nil)
  }

  @Test func oddTypesAreNobodysCrash() throws {
    let facts = try facts(
      #"{"model":{"a":1},"stream":"yes","n":"2","max_tokens":null,"stream_options":[1],"metadata":[],"user":[{}],"tools":"x","#
        + #""service_tier":{"x":[]},"prompt_cache_key":7,"conversation":{"id":"c"},"messages":17}"#)
    #expect(facts.model == nil)
    #expect(!facts.isStreaming)
    #expect(facts.choices == 1)
    #expect(facts.hasInputElsewhere)
    #expect(try self.facts(#"{"n":-5,"max_tokens":-1}"#).choices == 1)
    #expect(try self.facts(#"{"n":1e9,"max_tokens":1e300}"#).outputCap == .most)
    #expect(try self.facts(#"{"max_tokens":8}"#).outputCap == 8)
  }

  @Test(arguments: [
    (#"{"stream":true}"#, #"{"stream_options":{"include_usage":true},"stream":true}"#),
    (#"  { "stream" : true } "#, #"  {"stream_options":{"include_usage":true}, "stream" : true } "#),
    (#"{"stream":true,"stream_options":null}"#, #"{"stream":true,"stream_options":{"include_usage":true}}"#),
    (#"{"stream_options":{},"stream":true}"#, #"{"stream_options":{"include_usage":true},"stream":true}"#),
    (
      #"{"stream_options":{"include_obfuscation":false},"stream":true}"#,
      #"{"stream_options":{"include_usage":true,"include_obfuscation":false},"stream":true}"#
    ),
    (
      #"{"stream":true,"stream_options":{"include_usage":false}}"#,
      #"{"stream":true,"stream_options":{"include_usage":true}}"#
    ),
    (
      #"{"stream":true,"stream_options":{"include_usage":null,"a":{"include_usage":1}}}"#,
      #"{"stream":true,"stream_options":{"include_usage":true,"a":{"include_usage":1}}}"#
    ),
    (
      #"{"stream":true,"stream_options":{"include_usage":true},"stream_options":{}}"#,
      #"{"stream":true,"stream_options":{"include_usage":true},"stream_options":{"include_usage":true}}"#
    ),
  ])
  func splicesUsageIn(_ body: String, _ expected: String) throws {
    let facts = try facts(body)
    let splice = try #require(facts.usageSplice)
    let spliced = String(decoding: splice.applied(to: Array(body.utf8)), as: UTF8.self)
    #expect(spliced == expected)
    let again = try self.facts(spliced)
    #expect(again.asksForUsage)
    #expect(again.usageSplice == nil)
  }

  @Test(arguments: [
    #"{"stream":true,"stream_options":{"include_usage":true}}"#, #"{"stream":false}"#, #"{}"#,
    #"{"stream":true,"stream_options":7}"#, #"{"stream":true,"stream_options":{"include_usage":"yes"}}"#,
  ])
  func leavesOthersAlone(_ body: String) throws {
    #expect(try facts(body).usageSplice == nil)
  }

  @Test(arguments: [
    ("", 0), ("[]", 0), ("7", 0), ("{\"model\":}", 9), ("{\"model\":\"a\"", 12), ("{\"a\":\"\\q\"}", 6),
    ("{\"a\":1}x", 7),
    ("{\"tools\":[{\"a\":tru}]}", 15), ("{\"metadata\":{\"a\":01}}", 17),
  ])
  func refusesWrongBodies(_ body: String, _ position: Int) throws {
    for path in ["/v1/chat/completions", "/v1/messages", "/v1/embeddings", "/v1beta/models/m:generateContent"]
      as [Substring]
    {
      let flaw = try #require(try read(body, path).flaw, "\(body) was taken at \(path)")
      #expect(flaw.position == position, "\(body): \(flaw.reason)")
      #expect(!flaw.reason.isEmpty)
    }
  }

  @Test func unknownPathsAreReadAsFarAsTheyGo() throws {
    #expect(try facts(#"{"model":"m","x":"abcd"}"#, "/v1/new/thing").model == "m")
    #expect(try facts("not json at all!", "/v1/new/thing").estimatedInput == 4)
    #expect(try facts("", "/v1/new/thing", contentType: nil).model == nil)
    #expect(try facts("", "/v1/models", contentType: nil).producesOutput == false)
    // Servers that parse a body whatever its type says find its model too.
    for type in ["application/octet-stream", "text/plain", nil] {
      #expect(try facts(#" {"model":"m"}"#, "/v1/new/thing", contentType: type).model == "m")
    }
    #expect(try facts(#"x{"model":"m"}"#, "/v1/new/thing", contentType: "application/octet-stream").model == nil)
  }

  @Test(arguments: ["/v1/engines/e/completions", "/openai/deployments/e/chat/completions"] as [Substring])
  func belowADeploymentBodiesOfOtherTypesAreNotRead(_ path: Substring) throws {
    for type in ["text/plain", "Text/Plain; charset=utf-8", "application/octet-stream"] {
      let facts = try facts("hello to you", path, contentType: type)
      #expect(facts.model == "e")
      #expect(facts.estimatedInput == 3)
      #expect(facts.mayNameMore == (type != "application/octet-stream"))
    }
    // What says that it is JSON, or nothing, has to be; and what opens like an object.
    for (type, body) in [
      ("application/json", "hello"), (nil, "hello"), ("", "hello"), ("application/vnd.x+JSON", "hello"),
      ("application/x-www-form-urlencoded", "hello"), ("text/plain", #" {"prompt":"#),
    ] as [(String?, String)] {
      #expect(try read(body, path, contentType: type).flaw != nil, "\(body) was taken as \(type ?? "no type")")
    }
  }

  @Test func readsForms() throws {
    let body =
      "--B1\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-9\r\n--B1\r\n"
      + "Content-Disposition: form-data; name=\"stream\"\r\n\r\ntrue\r\n--B1\r\n"
      + "Content-Disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\nContent-Type: audio/mpeg\r\n\r\n"
      + String(repeating: "x", count: 300_000) + "\r\n--B1--\r\n"
    let facts = try facts(body, "/v1/audio/transcriptions", contentType: "multipart/form-data; boundary=B1")
    #expect(facts.model == "whisper-9")
    #expect(facts.isStreaming)
    #expect(facts.estimatedInput == 300)
    let quoted = try self.facts(
      body, "/v1/audio/transcriptions", contentType: "Multipart/Form-Data; charset=x; Boundary=\"B1\"")
    #expect(quoted.model == "whisper-9")
    let broken = try self.facts("--B1\r\nContent-Disp", "/v1/files", contentType: "multipart/form-data; boundary=B1")
    #expect(broken.model == nil)
  }

  @Test func readsCompressedBodiesFromACopy() throws {
    let plain = Array(
      (#"{"model":"m","stream":true,"messages":[{"role":"user","content":""# + String(repeating: "ab", count: 5000)
        + #""}]}"#).utf8)
    let path = try #require(PathFacts.read(path: "/v1/chat/completions"))
    for (encoding, body) in [
      ("gzip", Coded.gzip(plain)), ("X-GZIP", Coded.gzip(plain)), ("deflate", Coded.zlib(plain)),
      ("deflate", Coded.rawDeflate(plain)), ("zstd", Coded.zstd(plain)),
    ] {
      var reader = RequestReader()
      func read(_ body: [UInt8], _ limit: Int) -> RequestReading {
        reader.read(body, path: path, contentType: nil, contentEncoding: encoding, decodedLimit: limit)
      }
      let facts = try #require(read(body, plain.count).whatWasRead, "\(encoding): \(read(body, plain.count))")
      #expect(facts.model == "m")
      #expect(facts.estimatedInput == 2500)
      #expect(facts.usageSplice == nil, "positions in the copy are of no use")
      #expect(read(body, plain.count - 1) == .decodedTooLarge(limit: plain.count - 1))
      #expect(read(Array(body.dropLast(9)), 1 << 20).flaw != nil, "\(encoding)")
      #expect(read([1, 2, 3, 4], 1 << 20).flaw != nil, "\(encoding)")
    }
    var reader = RequestReader()
    #expect(
      reader.read(plain, path: path, contentType: nil, contentEncoding: "br", decodedLimit: 1)
        == .unsupportedEncoding("br"))
    #expect(
      reader.read(plain, path: path, contentType: nil, contentEncoding: "gzip, zstd", decodedLimit: 1)
        == .unsupportedEncoding("gzip, zstd"))
  }

  @Test func survivesMutatedBodies() throws {
    var random = SeededRandom(seed: 3)
    let seed = Array(
      (#"{"model":"m","stream":true,"stream_options":{"include_usage":false},"tools":[{"type":"function","function":{"name":"f","#
        + #""parameters":{"type":"object"}}}],"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"#
        + #""data:image/png;base64,iVBORw0KGgo="}}]}],"metadata":{"user_id":"x"},"generationConfig":{"maxOutputTokens":1}}"#)
        .utf8)
    var reader = RequestReader()
    let paths = try [
      "/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1beta/models/m:generateContent", "/v1/x",
    ].map {
      try #require(PathFacts.read(path: Substring($0)))
    }
    for _ in 0..<20_000 {
      var body = seed
      for _ in 0...random.next(below: 4) {
        switch random.next(below: 3) {
        case 0: body[random.next(below: body.count)] = UInt8(truncatingIfNeeded: random.next())
        case 1: body.remove(at: random.next(below: body.count))
        default: body.insert(Array("{}[]\",:\\0".utf8)[random.next(below: 9)], at: random.next(below: body.count))
        }
      }
      let reading = reader.read(
        body, path: paths[random.next(below: paths.count)], contentType: nil, contentEncoding: nil,
        decodedLimit: 1 << 20)
      if case .facts(let facts) = reading, let splice = facts.usageSplice {
        // What we would send must be what the provider can read, and must ask.
        let again = reader.read(
          splice.applied(to: body), path: paths[0], contentType: nil, contentEncoding: nil, decodedLimit: 1 << 20)
        let spliced = try #require(again.whatWasRead, "\(String(decoding: body, as: UTF8.self))")
        #expect(spliced.asksForUsage)
      }
      if case .malformed(_, let position) = reading { #expect(position <= body.count) }
    }
  }
}

extension RequestReading {
  /// The facts, where the body was taken.
  var whatWasRead: RequestFacts? { if case .facts(let facts) = self { facts } else { nil } }
  /// What is wrong with the body and where, where it was refused as malformed.
  var flaw: (reason: String, position: Int)? {
    if case .malformed(let reason, let position) = self { (reason, position) } else { nil }
  }
}
