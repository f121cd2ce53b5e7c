// Usage through the whole broker: charged once, what was really used, also where the answer never came, and nothing for reading.
import AdmissionCore
import HTTPMessage
import PolicyFile
import Pricing
import Testing

@testable import BrokerEngine

@Suite struct ChargeOnceTests {
  private let rigs = RigKeeper()

  private static let json = [("content-type", "application/json")]
  /// One token of either sort costs a thousandth of a dollar; in a batch the half of it.
  private static let prices: PriceList = {
    var price = ModelPrice(models: "m", rates: PriceRates(input: 1_000_000_000, output: 1_000_000_000))
    price.batch = PriceRates(input: 500_000_000, output: 500_000_000)
    return PriceList(version: "test", entries: [price])
  }()

  private func rig(_ ledger: FakeLedger? = nil, _ change: (inout Policy) -> Void = { _ in }) -> Rig {
    rigs.rig(ledger: ledger, prices: Self.prices, change)
  }

  private func spent(_ rig: Rig) -> Int64 { rig.ended.reduce(0) { $0 + ($1.cost?.nanodollars ?? 0) } }

  @discardableResult private func call(
    _ rig: Rig, _ method: String, _ target: String, _ body: String = "", answer: String, status: Int = 200,
    fields: [(String, String)] = json
  ) -> FakeExchange {
    let exchange = rig.send(target, body: body, method: method)
    rig.upstream.last?.respond(status, fields, [answer])
    return exchange
  }

  private static let done =
    #"{"id":"resp_1","object":"response","status":"completed","model":"m","usage":{"input_tokens":121,"output_tokens":400}}"#

  @Test func readingAStoredResponseIsFree() {
    let rig = rig()
    call(rig, "POST", "/v1/responses", #"{"model":"m","input":"hi"}"#, answer: Self.done)
    #expect(spent(rig) == 521_000_000)
    for _ in 0..<3 { call(rig, "GET", "/v1/responses/resp_1", answer: Self.done) }
    call(rig, "DELETE", "/v1/responses/resp_1", answer: Self.done)
    call(rig, "HEAD", "/v1/responses/resp_1", answer: "")
    call(rig, "POST", "/v1/responses/resp_1/cancel", answer: Self.done)
    call(rig, "GET", "/v1/responses/of-others", answer: Self.done)
    #expect(spent(rig) == 521_000_000)
    #expect(rig.ended.dropFirst().allSatisfy { $0.cost == .zero && $0.usage == Usage() })
  }

  @Test(arguments: ["GET", "POST cancel"]) func aBackgroundResponseIsChargedOnceByItsEnd(_ way: String) {
    let rig = rig()
    let queued = #"{"id":"resp_1","status":"queued","usage":null}"#
    call(rig, "POST", "/v1/responses", #"{"model":"m","input":"hi","background":true}"#, answer: queued)
    #expect(spent(rig) == 0)
    call(
      rig, "GET", "/v1/responses/resp_1",
      answer: #"{"id":"resp_1","status":"in_progress","usage":{"input_tokens":121,"output_tokens":3}}"#)
    #expect(spent(rig) == 0)
    for _ in 0..<3 {
      call(
        rig, way == "GET" ? "GET" : "POST", "/v1/responses/resp_1" + (way == "GET" ? "" : "/cancel"), answer: Self.done)
    }
    #expect(spent(rig) == 521_000_000)
    #expect(rig.ended.filter { $0.cost ?? .zero > .zero }.map(\.model) == ["m"])
  }

  @Test(arguments: [
    "/v1/responses/resp%5F1", "/v1/responses/%72esp_1", "/v1/%72esponses/resp_1", "/v1/responses/resp_1;x",
    "/v1/responses;x/resp_1/", "/v1//responses/resp_1", "/v1/responses%2Fresp_1", "/v1/Responses/resp_1",
    "/v1/responses/resp_1%20",
  ])
  func aWorkHasOneNameHoweverItIsSpelled(_ target: String) {
    let rig = rig()
    call(
      rig, "POST", "/v1/responses", #"{"model":"m","input":"hi","background":true}"#,
      answer: #"{"id":"resp_1","status":"queued","usage":null}"#)
    for target in [target, "/v1/responses/resp_1", target] { call(rig, "GET", target, answer: Self.done) }
    #expect(spent(rig) == 521_000_000)
  }

  @Test func aCancelIsOneHoweverItIsSpelled() {
    let rig = rig()
    call(rig, "POST", "/v1/responses/of-others/%63ancel", answer: Self.done)
    #expect(spent(rig) == 0)
  }

  @Test func resultsAreChargedOnceInWhateverSpellingAndAlwaysReadWhole() throws {
    let line =
      #"{"custom_id":"1","result":{"type":"succeeded","message":{"model":"m","usage":{"input_tokens":100,"output_tokens":50}}}}"#
    for targets in [
      ["/v1/messages/batches/b_1/results", "/v1/messages/batches/b%5F1/results", "/v1/messages/batches/%62_1/results"],
      ["/v1/files/file-1/content", "/v1/files/file%2D1/content", "/v1/%66iles/file-1/c%6Fntent"],
      ["/v1beta/files/f-1:download", "/v1beta/files/f%2D1:download", "/v1beta/files/f-1%3Adownload"],
    ] {
      let rig = rig()
      for target in targets {
        let fields = [("range", "bytes=0-9"), ("If-Range", "\"a\""), ("x-kept", "1")]
        rig.send(target, fields: fields, body: "", method: "GET")
        let call = try #require(rig.upstream.last)
        #expect(call.request.fields.first(named: "range") == nil && call.request.fields.first(named: "if-range") == nil)
        #expect(call.request.fields.first(named: "x-kept") == "1")
        call.respond(200, [("content-type", "application/x-jsonl")], [line + "\n"])
      }
      #expect(spent(rig) == 75_000_000, "\(targets[0])")
    }
    // What is not charged may be read in parts.
    let rig = rig()
    rig.send("/v1/models/m", fields: [("range", "bytes=0-9")], body: "", method: "GET")
    #expect(rig.upstream.last?.request.fields.first(named: "range") == "bytes=0-9")
  }

  @Test func aBackgroundStreamThatBrokeIsChargedByItsEndAndOneThatDidNotAtOnce() {
    let events = [("content-type", "text/event-stream")]
    let begun = "data: {\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\",\"status\":\"in_progress\"}}\n\n"
    let body = #"{"model":"m","input":"hi","background":true,"stream":true}"#
    let whole = rig()
    call(
      whole, "POST", "/v1/responses", body,
      answer: begun + "data: {\"type\":\"response.completed\",\"response\":\(Self.done)}\n\n", fields: events)
    #expect(spent(whole) == 521_000_000)
    call(whole, "GET", "/v1/responses/resp_1", answer: Self.done)
    #expect(spent(whole) == 521_000_000)
    let broken = rig()
    broken.send("/v1/responses", body: body)
    broken.upstream.last?.respond(200, events, [begun], ends: false)
    broken.upstream.last?.fail(.truncated)
    #expect(spent(broken) == 0)
    call(
      broken, "GET", "/v1/responses/resp_1?stream=true",
      answer: begun + "data: {\"type\":\"response.completed\",\"response\":\(Self.done)}\n\n", fields: events)
    call(broken, "GET", "/v1/responses/resp_1", answer: Self.done)
    #expect(spent(broken) == 521_000_000)
  }

  private static let results = [
    #"{"custom_id":"a","result":{"type":"succeeded","message":{"model":"m","usage":{"input_tokens":100,"output_tokens":50}}}}"#,
    #"{"custom_id":"b","result":{"type":"succeeded","message":{"model":"m","usage":{"input_tokens":10,"output_tokens":40}}}}"#,
  ].map { $0 + "\n" }.joined()

  @Test func aBatchIsChargedOnceAtTheBatchPriceByItsResults() {
    let rig = rig()
    call(
      rig, "POST", "/v1/messages/batches",
      #"{"requests":[{"custom_id":"a","params":{"model":"m","max_tokens":50,"messages":[]}}]}"#,
      answer: #"{"id":"b_1","type":"message_batch","processing_status":"in_progress"}"#)
    call(rig, "GET", "/v1/messages/batches/b_1", answer: #"{"id":"b_1","processing_status":"ended"}"#)
    #expect(spent(rig) == 0)
    for _ in 0..<2 {
      call(
        rig, "GET", "/v1/messages/batches/b_1/results", answer: Self.results,
        fields: [("content-type", "application/x-jsonl")])
    }
    #expect(spent(rig) == 100_000_000)
    let charged = rig.ended.filter { $0.cost ?? .zero > .zero }
    #expect(charged.map { $0.usage } == [Usage(inputTokens: 110, outputTokens: 90)])
    #expect(charged.map(\.model) == ["m"])
    // One that was begun elsewhere is charged too: no other answer names its usage.
    call(rig, "GET", "/v1/messages/batches/b_2/results", answer: Self.results)
    #expect(spent(rig) == 200_000_000)
  }

  @Test func aBatchOfFilesIsChargedOnceWhateverIsReadFirst() {
    let lines = [
      #"{"id":"1","response":{"status_code":200,"body":{"model":"m","usage":{"prompt_tokens":100,"completion_tokens":50}}}}"#,
      #"{"id":"2","response":{"status_code":400,"body":{"error":{}}}}"#,
    ].joined(separator: "\n")
    let state =
      #"{"id":"batch_1","object":"batch","status":"completed","model":"m","output_file_id":"file-2","usage":{"input_tokens":100,"output_tokens":50,"total_tokens":150}}"#
    for order in [
      ["state", "file", "state", "file"], ["file", "state", "file"], ["file", "file"], ["state", "state"],
    ] {
      let rig = rig()
      call(rig, "POST", "/v1/files", "--x", answer: #"{"id":"file-1","bytes":5}"#)
      call(
        rig, "POST", "/v1/batches", #"{"input_file_id":"file-1"}"#,
        answer: #"{"id":"batch_1","status":"validating"}"#)
      #expect(spent(rig) == 0)
      call(rig, "GET", "/v1/batches/batch_1", answer: #"{"id":"batch_1","status":"in_progress","usage":null}"#)
      for read in order {
        if read == "file" {
          call(
            rig, "GET", "/v1/files/file-2/content", answer: lines,
            fields: [("content-type", "application/octet-stream")])
        } else {
          call(rig, "GET", "/v1/batches/batch_1", answer: state)
        }
      }
      #expect(spent(rig) == 75_000_000, "\(order)")
    }
  }

  @Test func filesThatAreNoResultsAreFree() {
    let rig = rig()
    call(
      rig, "GET", "/v1/files/file-9/content", answer: "a,b\n1,2\n{\"usage\":7}\n",
      fields: [("content-type", "application/octet-stream")])
    call(rig, "POST", "/v1/files", String(repeating: "x", count: 4000), answer: #"{"id":"file-9"}"#)
    #expect(spent(rig) == 0)
    #expect(rig.ended.allSatisfy { $0.usage == Usage() })
  }

  @Test func aReadingThatBrokeOffIsChargedAsFarAsItCame() {
    let rig = rig()
    rig.send("/v1/messages/batches/b_1/results", body: "", method: "GET")
    rig.upstream.last?.respond(200, Self.json, [String(Self.results.prefix(160))], ends: false)
    rig.upstream.last?.fail(.truncated)
    #expect(spent(rig) == 75_000_000)
    call(rig, "GET", "/v1/messages/batches/b_1/results", answer: Self.results)
    #expect(spent(rig) == 100_000_000)
  }

  @Test func theLedgerKnowsAcrossARestart() {
    let ledger = FakeLedger()
    func settled(_ rig: Rig, _ method: String, _ target: String, _ body: String, _ answer: String) {
      rig.send(target, body: body, method: method)
      ledger.commit(settles: true)
      rig.upstream.last?.respond(200, Self.json, [answer])
      ledger.commit(settles: true)
    }
    let first = rig(ledger)
    settled(
      first, "POST", "/v1/responses", #"{"model":"m","input":"hi","background":true}"#,
      #"{"id":"resp_1","status":"queued"}"#)
    settled(first, "GET", "/v1/messages/batches/b_1/results", "", Self.results)
    #expect(ledger.settlements.map(\.cost) == [.zero, Money(nanodollars: 100_000_000)])
    let second = rig(ledger)
    second.broker.operator.restore(memos: ledger.memos)
    settled(second, "GET", "/v1/messages/batches/b_1/results", "", Self.results)
    settled(second, "GET", "/v1/responses/resp_1", "", Self.done)
    settled(second, "GET", "/v1/responses/resp_1", "", Self.done)
    #expect(ledger.settlements.dropFirst(2).map(\.cost?.nanodollars) == [0, 521_000_000, 0])
    #expect(ledger.settlements[3].usage == Usage(inputTokens: 121, outputTokens: 400))
  }

  @Test func whatIsChargedLaterCountsInBudgetsButNotInLimits() {
    let rig = rig { policy in
      var budget = Budget(limit: Money(nanodollars: 150_000_000), per: .total)
      budget.scope = .broker
      policy.budgets = [budget]
      policy.providers[0].limits.tokensPerMinute = 1000
    }
    call(rig, "GET", "/v1/messages/batches/b_1/results", answer: Self.results)
    #expect(rig.broker.operator.budgetReadings.first?.spent == Money(nanodollars: 100_000_000))
    #expect(
      rig.broker.operator.snapshot().providers.first?.buckets.first { $0.dimension == .tokens }?.available == 1000)
    // The budget does not keep anybody from reading.
    call(rig, "GET", "/v1/messages/batches/b_2/results", answer: Self.results)
    call(rig, "GET", "/v1/messages/batches/b_3/results", answer: Self.results)
    #expect(rig.broker.operator.budgetReadings.first?.spent == Money(nanodollars: 300_000_000))
    #expect(rig.send().answer?.status == 429)
  }

  // MARK: Where the answer never came

  @Test func aTimeoutAfterSendingCostsItsInputAndIsNotRepeated() {
    let rig = rig()
    let client = rig.send(
      body: #"{"model":"m","messages":[{"role":"user","content":"\#(String(repeating: "word", count: 100))"}]}"#)
    rig.upstream.calls[0].fail(.firstByteTimedOut, wasSent: true)
    #expect(rig.upstream.calls.count == 1)
    #expect(client.answer?.status == 504)
    let record = rig.ended.first
    #expect(record?.usage?.isEstimated == true)
    #expect(record?.usage?.inputTokens == record?.estimatedInput && record?.estimatedInput ?? 0 >= 100)
    #expect(record?.cost?.nanodollars == (record?.estimatedInput.value ?? 0) * 1_000_000)
  }

  @Test func eachTimeoutCostsWhereThePolicyRepeats() {
    let rig = rig {
      $0.providers[0].retry = RetryPolicy(attempts: 3, base: .milliseconds(1), budgetPercent: 100, afterSent: true)
    }
    rig.send()
    for index in 0..<3 {
      #expect(rig.upstream.calls.count == index + 1)
      rig.upstream.last?.fail(.firstByteTimedOut, wasSent: true)
      rig.advance(.seconds(2))
    }
    #expect(rig.upstream.calls.count == 3)
    let record = rig.ended.first
    #expect(record?.cost?.nanodollars == 3 * (record?.estimatedInput.value ?? 0) * 1_000_000)
    #expect(record?.estimatedInput ?? 0 > 0)
  }

  @Test(arguments: [UpstreamFailure.Kind.firstByteTimedOut, .resetBeforeResponse, .connectTimedOut])
  func whatWasNotWhollySentGoesAgainAndCostsNothing(_ kind: UpstreamFailure.Kind) {
    let rig = rig()
    rig.send()
    rig.upstream.calls[0].fail(kind, wasSent: false)
    rig.advance(.seconds(2))
    #expect(rig.upstream.calls.count == 2)
    rig.upstream.last?.respond(200, Self.json, [#"{"usage":{"prompt_tokens":1,"completion_tokens":1}}"#])
    #expect(spent(rig) == 2_000_000)
  }

  @Test func aReadingThatTimedOutGoesAgain() {
    let rig = rig()
    rig.send("/v1/responses/resp_1", body: "", method: "GET")
    rig.upstream.calls[0].fail(.firstByteTimedOut, wasSent: true)
    rig.advance(.seconds(2))
    #expect(rig.upstream.calls.count == 2)
    rig.upstream.last?.respond(200, Self.json, [Self.done])
    #expect(spent(rig) == 0)
  }

  // MARK: Prices by the call

  @Test func aPriceByTheRequestIsAPrice() {
    var price = ModelPrice(models: "m", rates: PriceRates())
    price.perRequest = Money(nanodollars: 10_000_000)
    let rig = rigs.rig(prices: PriceList(version: "test", entries: [price])) { policy in
      policy.unknownPrice = .reject
      var budget = Budget(limit: Money(nanodollars: 25_000_000), per: .total)
      budget.scope = .broker
      policy.budgets = [budget]
    }
    for _ in 0..<2 {
      call(
        rig, "POST", "/v1/chat/completions", #"{"model":"m","messages":[]}"#,
        answer: #"{"usage":{"prompt_tokens":9,"completion_tokens":1}}"#)
    }
    #expect(rig.ended.map(\.cost) == [Money(nanodollars: 10_000_000), Money(nanodollars: 10_000_000)])
    #expect(rig.broker.operator.budgetReadings.first?.spent == Money(nanodollars: 20_000_000))
    #expect(rig.send().answer?.status == 429)
  }

  @Test func aPriceByTheSecondIsAPrice() {
    var price = ModelPrice(models: "m", rates: PriceRates())
    price.perAudioSecond = Money(nanodollars: 1_000_000)
    let rig = rigs.rig(prices: PriceList(version: "test", entries: [price])) { $0.unknownPrice = .reject }
    call(
      rig, "POST", "/v1/audio/transcriptions", #"{"model":"m"}"#,
      answer: #"{"text":"x","usage":{"type":"duration","seconds":12.5}}"#)
    #expect(rig.ended.first?.cost == Money(nanodollars: 12_500_000))
    #expect(rig.ended.first?.attempts.first?.held == Money(nanodollars: 1_000_000))
  }

  // MARK: Batches that hold their results themselves

  @Test func aBatchOfGooglesIsChargedOnceAtTheBatchPriceByWhatItHolds() {
    let results =
      #"{"inlinedResponses":{"inlinedResponses":[{"response":{"modelVersion":"m","usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":40,"thoughtsTokenCount":10,"totalTokenCount":150}}},{"response":{"modelVersion":"m","usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":40,"totalTokenCount":50}}}]}}"#
    let rig = rig { $0.providers[0].dialect = .gemini }
    call(
      rig, "POST", "/v1beta/models/m:batchGenerateContent",
      #"{"batch":{"input_config":{"requests":{"requests":[{"request":{"contents":[{"parts":[{"text":"hi"}]}]}}]}}}}"#,
      answer: #"{"name":"batches/b-1","metadata":{"name":"batches/b-1","state":"BATCH_STATE_PENDING"}}"#)
    call(
      rig, "GET", "/v1beta/batches/b-1",
      answer: #"{"name":"batches/b-1","metadata":{"name":"batches/b-1","state":"BATCH_STATE_RUNNING"}}"#)
    call(rig, "POST", "/v1beta/batches/b-0:cancel", answer: "{}")
    #expect(spent(rig) == 0)
    let done =
      #"{"name":"batches/b-1","metadata":{"state":"BATCH_STATE_SUCCEEDED","output":\#(results)},"done":true,"response":\#(results)}"#
    for _ in 0..<3 { call(rig, "GET", "/v1beta/batches/b-1", answer: done) }
    #expect(spent(rig) == 100_000_000)
    let charged = rig.ended.filter { $0.cost ?? .zero > .zero }
    #expect(charged.map(\.usage) == [Usage(inputTokens: 110, outputTokens: 90, reasoningTokens: 10)])
    #expect(charged.map(\.model) == ["m"])
    // One that was begun elsewhere is charged too, and so is one whose results lie in a file.
    call(rig, "GET", "/v1beta/batches/b-2", answer: done.replacing("b-1", with: "b-2"))
    #expect(spent(rig) == 200_000_000)
    let line =
      #"{"key":"a","response":{"modelVersion":"m","usageMetadata":{"promptTokenCount":60,"candidatesTokenCount":40}}}"#
    call(
      rig, "GET", "/v1beta/batches/b-3",
      answer: #"{"name":"batches/b-3","done":true,"response":{"responsesFile":"files/f-3"}}"#)
    for _ in 0..<2 { call(rig, "GET", "/v1beta/files/f-3:download?alt=media", answer: line) }
    #expect(spent(rig) == 250_000_000)
  }

  @Test func twoProvidersMayGiveTheSameID() {
    let rig = rig { policy in
      var other = policy.providers[0]
      other.id = "other"
      policy.providers.append(other)
      policy.routes = [Route(models: ["*"], to: ["sim", "other"])]
    }
    for provider in ["sim", "other", "sim", "other"] {
      call(rig, "GET", "/p/\(provider)/v1/messages/batches/batch_1/results", answer: Self.results)
    }
    #expect(spent(rig) == 200_000_000)
  }

  @Test func aBatchIsKnownBehindAPathOfAnyLength() {
    let rig = rig()
    let long = "/p/sim/" + String(repeating: "x/", count: 200) + "v1/batches"
    call(rig, "POST", long, #"{"input_file_id":"file-1"}"#, answer: #"{"id":"batch_9","status":"validating"}"#)
    #expect(rig.broker.services.providers.works.knows(DeferredWork.Name(provider: "sim", id: "batch_9")))
  }
}
