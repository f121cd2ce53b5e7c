// Refusals that come under a status of success: nothing was made, nothing is charged, and whose fault it is their words say.
import AdmissionCore
import HTTPMessage
import PolicyFile
import Pricing
import Testing

@testable import BrokerEngine

@Suite struct RefusalsInAnswersTests {
  private let rigs = RigKeeper()
  private static let events = "text/event-stream"
  private static let json = "application/json"

  /// A call costs something even where it used no tokens.
  private static let prices: PriceList = {
    var price = ModelPrice(models: "m", rates: PriceRates(input: 1_000_000_000, output: 1_000_000_000))
    price.perRequest = Money(nanodollars: 5)
    return PriceList(version: "test", entries: [price])
  }()

  @discardableResult private func call(
    _ rig: Rig, _ answer: String, _ type: String = json, status: Int = 200, target: String = "/v1/chat/completions",
    fields: [(String, String)] = []
  ) -> FakeExchange {
    let client = rig.send(target)
    rig.upstream.last?.respond(status, [("content-type", type)] + fields, answer.isEmpty ? [] : [answer])
    return client
  }

  @Test(arguments: [
    (
      "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"x\"}}\n\n", events
    ),
    ("event: error\ndata: {\"message\":\"boom\"}\n\n", events),
    ("data: {\"object\":\"error\",\"message\":\"x\",\"code\":500}\n\ndata: [DONE]\n\n", events),
    (#"{"error":{"message":"upstream exploded","code":502}}"#, json),
    (#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#, json),
    (#"{"object":"error","message":"x","code":500}"#, json), ("<html>Sign in</html>", json),
  ])
  func anErrorInPlaceOfAnAnswerCostsNothing(_ answer: String, _ type: String) throws {
    let rig = rigs.rig(prices: Self.prices)
    let client = call(rig, answer, type)
    #expect(client.isFinished && client.answer?.status == 200)
    let record = try #require(rig.ended.first)
    #expect(record.cost == .zero && record.usage?.isNothing != false)
    #expect(record.outcome == .truncated || record.outcome == .upstreamError)
    #expect(record.attempts.first?.verdict != .success)
  }

  @Test(arguments: [("", json), (" \n", json), ("", events), (": wait\n\n", events), ("data: [DONE]\n\n", events)])
  func anEmptyAnswerCostsNothing(_ answer: String, _ type: String) throws {
    let rig = rigs.rig(prices: Self.prices)
    call(rig, answer, type)
    let record = try #require(rig.ended.first)
    #expect(record.cost == .zero && record.usage?.isNothing != false && record.outcome == .completed)
  }

  @Test(arguments: [
    "data: {\"error\":{\"code\":502}}\n\n", "event: error\ndata: {\"message\":\"boom\"}\n\n",
  ])
  func anErrorBehindTextCostsWhatCame(_ error: String) throws {
    let rig = rigs.rig(prices: Self.prices)
    let text = String(repeating: "word", count: 100)
    call(rig, "data: {\"choices\":[{\"delta\":{\"content\":\"\(text)\"}}]}\n\n" + error, Self.events)
    let usage = try #require(rig.ended.first?.usage)
    #expect(usage.isEstimated && usage.outputTokens == 100 && usage.inputTokens > 0)
  }

  @Test func anErrorBesideAUsageCostsThat() {
    let rig = rigs.rig(prices: Self.prices)
    call(rig, #"{"error":{"code":502},"usage":{"prompt_tokens":5,"completion_tokens":0}}"#)
    #expect(rig.ended.first?.usage?.inputTokens == 5)
  }

  @Test func whoLeavesAnErrorOrALargeRefusalPaysNothing() throws {
    let rig = rigs.rig(prices: Self.prices)
    var client = rig.send()
    rig.upstream.last?.respond(
      200, [("content-type", Self.events)], ["event: error\ndata: {\"message\":\"boom\"}\n\n"], ends: false)
    rig.leave(client)
    client = rig.send()
    rig.upstream.last?.respond(400, [], [String(repeating: "x", count: 70_000)], ends: false)
    #expect(client.answer?.status == 400)
    rig.leave(client)
    client = rig.send()
    rig.upstream.last?.respond(302, [("location", "/elsewhere")], ["moved"])
    #expect(client.answer?.status == 302)
    #expect(rig.ended.count == 3 && rig.ended.allSatisfy { $0.cost == .zero && $0.usage?.isNothing != false })
  }

  @Test(arguments: [#""error":"""#, #""error":{}"#, #""error":null"#])
  func goodAnswersWithAnEmptyErrorAreGood(_ member: String) {
    let rig = rigs.rig()
    for _ in 0..<7 {
      call(rig, "{\(member),\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1}}")
    }
    #expect(rig.ended.map(\.outcome) == Array(repeating: .completed, count: 7))
    #expect(rig.broker.operator.snapshot().providers[0].breaker.state == .closed)
  }

  @Test func aPageIsAFailingServerAndAnotherTryMayGoWell() throws {
    let rig = rigs.rig()
    let client = call(rig, "<!doctype html><title>Sign in</title>", "text/html; charset=utf-8")
    #expect(client.answer == nil && client.received.isEmpty)
    rig.advance(.seconds(30))
    #expect(rig.upstream.calls.count == 2)
    rig.upstream.last?.respond(
      200, [("content-type", Self.json)], [#"{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":1}}"#])
    #expect(client.answer?.status == 200 && client.text.hasPrefix("{"))
    let record = try #require(rig.ended.first)
    #expect(record.outcome == .completed && record.attempts.map(\.verdict) == [.failed, .success])
    #expect(record.usage == Usage(inputTokens: 5, outputTokens: 1))
  }

  @Test func aPageGoesToTheClientAsItIsWhereNothingBetterCame() throws {
    let rig = rigs.rig { $0.providers[0].retry.attempts = 1 }
    let page = "<html>Sign in</html>"
    let client = call(rig, page, "text/html")
    #expect(client.answer?.status == 200 && client.text == page && client.field("content-type") == "text/html")
    let long = call(rig, String(repeating: page, count: 5000), "text/html")
    #expect(long.received.count == 5000 * page.utf8.count)
    #expect(rig.ended.allSatisfy { $0.outcome != .completed && $0.cost ?? .zero == .zero })
  }

  @Test(arguments: ["/p/sim/v1/convert", "/v1/files"]) func placesOfUnknownKindMayAnswerWithPages(_ target: String) {
    let rig = rigs.rig()
    #expect(call(rig, "<html>", "text/html", target: target).text == "<html>")
    #expect(call(rig, "", Self.json, target: target).isFinished)
    #expect(rig.ended.map(\.outcome) == [.completed, .completed])
  }

  @Test func zerosBesideTextSpendTheEstimate() throws {
    let rig = rigs.rig(prices: Self.prices)
    let text = String(repeating: "word", count: 100)
    call(
      rig,
      #"{"choices":[{"message":{"content":"\#(text)"}}],"usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}}"#
    )
    let record = try #require(rig.ended.first)
    let usage = try #require(record.usage)
    #expect(usage.isEstimated && usage.outputTokens == 100 && usage.inputTokens == record.estimatedInput)
    #expect(usage.inputTokens > 0)
  }

  @Test func aPathThatGeneratesIsNotFreeForItsName() {
    let rig = rigs.rig(prices: Self.prices)
    call(rig, #"{"completion":"\#(String(repeating: "word", count: 100))"}"#, target: "/v1/complete")
    #expect(rig.ended.first?.usage?.outputTokens == 100)
  }

  // MARK: Secrets of added fields

  @Test func valuesOfVariablesInAddedFieldsAreMasked() throws {
    let rig = rigs.rig {
      $0.providers[0].headers = [
        AddedField(name: "x-gateway", value: Secret("hidden-in-a-variable"), isSecret: true),
        AddedField(name: "x-title", value: Secret("written-in-the-policy")),
      ]
    }
    let words = "not hidden-in-a-variable nor sk-upstream nor written-in-the-policy"
    let client = call(rig, #"{"error":{"message":"\#(words)"}}"#, status: 400, fields: [("x-echo", words)])
    let clean = "not *** nor *** nor written-in-the-policy"
    #expect(client.text.contains(clean) && client.field("x-echo") == clean)
    let stream = call(rig, "data: {\"error\":{\"message\":\"\(words)\"}}\n\n", Self.events)
    #expect(!stream.text.contains("hidden") && !stream.text.contains("upstream") && stream.text.contains("***"))
  }

  @Test(arguments: [
    "data: {\"object\":\"error\",\"message\":\"key sk-upstream\",\"code\":401}\n\n",
    "event: error\ndata: {\"message\":\ndata: \"key sk-upstream\"}\n\n", "event: error\ndata: key sk-upstream\n\n",
  ])
  func flatErrorsInStreamsAreMaskedHoweverTheyAreCut(_ frame: String) {
    for cut in [1, 9, 20, 35, frame.utf8.count - 3] {
      let rig = rigs.rig()
      let client = rig.send()
      let bytes = Array(frame.utf8)
      rig.upstream.last?.respond(
        200, [("content-type", Self.events)],
        [String(decoding: bytes[..<cut], as: UTF8.self), String(decoding: bytes[cut...], as: UTF8.self)])
      #expect(!client.text.contains("sk-upstream"), "\(cut)")
      #expect(client.text.contains("***"))
    }
  }

  @Test func anErrorThatComesInPiecesIsMasked() {
    let rig = rigs.rig()
    let client = rig.send()
    rig.upstream.last?.respond(
      200, [("content-type", Self.json)],
      [#"{"error": {"message":"key sk-up"#, #"stream"}, "pad":""# + String(repeating: " ", count: 70_000), #""}"#])
    #expect(!client.text.contains("sk-upstream") && client.text.contains("key ***********\""))
  }
}
