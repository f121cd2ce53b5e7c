// The courier over an upstream in memory: what it sends, what it makes of answers, and when it wakes up.
import HTTPDoubles
import HTTPMessage
import PolicyFile
import Testing

@testable import Courier

@Suite struct CourierTests {
  private final class Rig {
    let upstream = ScriptedUpstream()
    var now: UInt64 = 1_000
    var scheduled: [UInt64] = []
    lazy var courier = Courier(
      CourierParts(
        upstream: upstream, now: { [unowned self] in now }, wall: { 1_795_000_000_500_000_000 }, draw: { 7 },
        hash: { bytes in [UInt8(truncatingIfNeeded: bytes.count)] },
        schedule: { [unowned self] in scheduled.append($0) },
        userAgent: "tollgate/test"))
  }

  private static func hook(_ url: String, secret: String? = "s3cret", _ format: WebhookFormat = .json) -> CourierHook {
    var webhook = Webhook(url: url)
    webhook.format = format
    return CourierHook(webhook, secret: secret.map { Secret($0) })
  }

  private static let news = WebhookNews(
    event: .breaker, at: 1_795_000_000_000_000_000, subject: "openai", state: "open", text: "breaker of <openai> & co")

  @Test func aMessageIsSignedJSON() {
    let rig = Rig()
    rig.courier.replaceHooks([Self.hook("https://h/x?y"), Self.hook("https://s/z", secret: nil, .slack)])
    rig.courier.tell(Self.news)
    let requests = rig.upstream.calls.map(\.request)
    #expect(requests.map(\.url) == ["https://h/x?y", "https://s/z"] && requests.allSatisfy { $0.method == "POST" })
    let id = "07000000000000000700000000000000"
    #expect(
      String(decoding: requests[0].body, as: UTF8.self)
        == #"{"id":"\#(id)","event":"breaker","at":"2026-11-18T11:06:40.000Z","subject":"openai","state":"open","#
        + #""text":"breaker of <openai> & co"}"#)
    #expect(String(decoding: requests[1].body, as: UTF8.self) == #"{"text":"breaker of &lt;openai&gt; &amp; co"}"#)
    // The hash of these tests is a length: of the outer block and the inner hash.
    #expect(requests[0].fields.first("x-tollgate-signature") == "t=1795000000,v1=41")
    #expect(requests[1].fields.first("x-tollgate-signature") == nil)
    #expect(requests[0].fields.first("content-type") == "application/json")
  }

  @Test func aFailureIsTriedAgainWhenItsTimeHasCome() {
    let rig = Rig()
    rig.courier.replaceHooks([Self.hook("https://h/x")])
    rig.courier.tell(Self.news)
    rig.upstream.calls[0].events.upstreamEnded(
      .failed(UpstreamFailure(kind: .connectRefused, detail: "", requestMayHaveArrived: false)))
    #expect(rig.courier.queue.records[0].error == "connect_refused")
    let due = rig.scheduled.last ?? 0
    #expect((500_000_000...1_000_001_000).contains(due - 1_000))
    rig.courier.wake()
    #expect(rig.upstream.calls.count == 1)
    rig.now = due
    rig.courier.wake()
    rig.upstream.calls[1].respond(429, [("retry-after", "17")])
    #expect(rig.scheduled.last == due + 17_000_000_000)
    rig.now = due + 17_000_000_000
    rig.courier.wake()
    rig.upstream.calls[2].respond(200)
    #expect(rig.courier.queue.isEmpty && rig.courier.queue.totals.delivered == 1)
  }

  @Test func aDateAsksForTheTimeUntilThen() {
    let rig = Rig()
    rig.courier.replaceHooks([Self.hook("https://h/x")])
    rig.courier.tell(Self.news)
    // The clock says 11:06:40.
    rig.upstream.calls[0].respond(503, [("retry-after", "Wed, 18 Nov 2026 11:08:10 GMT")])
    #expect(rig.scheduled.last == 1_000 + 90_000_000_000)
  }

  @Test func eachChangeOfAWebhookIsToldOnce() {
    let rig = Rig()
    var told: [String] = []
    rig.courier.onOutage = { told.append("\($0): \($1 ?? "over")") }
    rig.courier.replaceHooks([Self.hook("https://h/x")])
    func answer(_ status: Int) {
      rig.courier.tell(Self.news)
      rig.now = max(rig.now, rig.scheduled.last ?? 0)
      rig.courier.wake()
      rig.upstream.calls.last?.respond(status)
    }
    answer(200)
    #expect(told.isEmpty)
    answer(500)
    #expect(told == ["https://h/x: the receiver answered 500"])
    for _ in 0..<5 { answer(503) }
    #expect(told.count == 1)
    answer(204)
    #expect(told == ["https://h/x: the receiver answered 500", "https://h/x: over"])
  }

  @Test func aWebhookThatTakesNothingIsNamedUntilItDoes() {
    let rig = Rig()
    rig.courier.replaceHooks([Self.hook("https://h/x"), Self.hook("https://s/z")])
    rig.courier.tell(Self.news)
    #expect(rig.courier.outages.isEmpty)
    rig.upstream.calls[1].respond(410)
    rig.upstream.calls[0].events.upstreamEnded(
      .failed(
        UpstreamFailure(
          kind: .firstByteTimedOut, detail: "the provider sent no response head in time", requestMayHaveArrived: true)))
    #expect(rig.courier.outages.map(\.url) == ["https://h/x", "https://s/z"])
    #expect(rig.courier.outages[0].reason == "first_byte_timed_out: the receiver sent no response head in time")
    #expect(rig.courier.outages[1].reason == "the receiver answered 410")
    #expect(rig.courier.outages[0].since == 1_795_000_000_500_000_000)
    rig.now = rig.scheduled.last ?? 0
    rig.courier.wake()
    rig.upstream.calls[2].respond(200)
    #expect(rig.courier.outages.map(\.url) == ["https://s/z"])
    rig.courier.replaceHooks([Self.hook("https://h/x")])
    #expect(rig.courier.outages.isEmpty)
  }

  @Test func ofALongAnswerOnlyTheStatusCounts() {
    let rig = Rig()
    rig.courier.replaceHooks([Self.hook("https://h/x")])
    rig.courier.tell(Self.news)
    let call = rig.upstream.calls[0]
    call.events.upstreamResponded(ResponseHead(status: 200))
    call.events.upstreamReceived([UInt8](repeating: 0, count: 4_096)[...])
    #expect(!call.isCancelled)
    call.events.upstreamReceived([0])
    #expect(call.isCancelled && rig.courier.queue.totals.delivered == 1)
  }

  @Test func anAnswerThatBreaksOffCountsByItsStatus() {
    let rig = Rig()
    rig.courier.replaceHooks([Self.hook("https://h/x")])
    rig.courier.tell(Self.news)
    rig.upstream.calls[0].events.upstreamResponded(ResponseHead(status: 204))
    rig.upstream.calls[0].events.upstreamEnded(
      .failed(UpstreamFailure(kind: .truncated, detail: "", requestMayHaveArrived: true)))
    #expect(rig.courier.queue.totals.delivered == 1)
  }

  @Test func whatIsGivenUpIsReported() {
    let rig = Rig()
    var reported: [DeliveryRecord] = []
    rig.courier.onFailure = { reported.append($0) }
    rig.courier.replaceHooks([Self.hook("https://h/x")])
    rig.courier.tell(Self.news)
    rig.upstream.calls[0].respond(302, [("location", "https://elsewhere/")])
    #expect(reported.map(\.status) == [302] && rig.upstream.calls.count == 1)
  }

  @Test func theEndWaitsForWhatIsSent() {
    let rig = Rig()
    var isOver = false
    rig.courier.replaceHooks([Self.hook("https://h/x")])
    rig.courier.tell(Self.news)
    rig.courier.end { isOver = true }
    #expect(!isOver)
    rig.upstream.calls[0].respond(500)
    #expect(isOver && rig.courier.queue.totals.failed == 1)
    let idle = Rig()
    idle.courier.end { isOver = false }
    #expect(!isOver)
  }

  @Test func withoutWebhooksNothingIsKept() {
    let rig = Rig()
    rig.courier.tell(Self.news)
    #expect(rig.courier.queue.records.isEmpty && rig.upstream.calls.isEmpty)
  }

  @Test func hostileNamesStayTextAndAreBounded() {
    let name = "\u{202E}<!channel>\u{0}\n" + String(repeating: "x", count: 9_000)
    let news = WebhookNews(event: .key, at: 0, subject: name, state: "disabled", text: "key \(name) is disabled")
    #expect(news.subject.count == 512 && news.text.count <= 2_048)
    #expect(!news.text.unicodeScalars.contains { $0.value < 0x20 || $0.value == 0x202E })
    let slack = String(decoding: news.body(.slack, id: "1"), as: UTF8.self)
    #expect(slack.contains("&lt;!channel&gt;") && !slack.contains("<"))
  }

  @Test func aSecretLongerThanABlockIsHashedFirst() {
    let signature = WebhookSignature { bytes in [UInt8](repeating: bytes[0], count: 32) }
    let short = signature.text([1], secret: String(repeating: "k", count: 64), at: 3)
    let long = signature.text([1], secret: String(repeating: "k", count: 65), at: 3)
    #expect(short == long)
  }
}
