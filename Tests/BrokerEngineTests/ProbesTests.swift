// What is answered without a provider: WebSockets, preflights, looks at the front door, pages that may not call.
import HTTPMessage
import PolicyFile
import Testing

@testable import BrokerEngine

@Suite struct ProbesTests {
  private func tenants(_ policy: inout Policy) {
    var tenant = Tenant(id: "acme")
    tenant.keys = [ClientKeyHash(bytes: Array("tg-good".utf8))]
    policy.tenants = [tenant]
  }

  @Test(
    arguments: [
      ("GET", "/v1/responses", "websocket"), ("GET", "/v1/realtime?model=x", "WebSocket"),
      ("POST", "/v1/responses", "websocket"),
      ("GET", "/v1/responses", "h2c, websocket"), ("GET", "/v1/responses", "websocket/13"),
      ("GET", "/nowhere", " websocket "),
      ("GET", "/p/sim/v1/responses", "WEBSOCKET"), ("GET", "/", "websocket"), ("OPTIONS", "/v1/responses", "websocket"),
    ])
  func webSocketsAreRefusedAtOnce(_ method: String, _ target: String, _ upgrade: String) {
    for change in [{ _ in }, tenants] as [(inout Policy) -> Void] {
      let rig = Rig(change)
      let client = rig.send(
        target, fields: [("connection", "Upgrade"), ("upgrade", upgrade)], body: "", method: method)
      #expect(client.answer?.status == 426)
      #expect(client.field("upgrade") == "HTTP/1.1")
      #expect(client.field("x-tollgate-outcome") == "rejected_upgrade")
      #expect(client.text.contains("WebSockets are not spoken here"))
      #expect(rig.upstream.calls.isEmpty)
      #expect(rig.ended.map(\.outcome) == [.rejectedUpgrade])
    }
  }

  @Test func otherUpgradesAreNoneOfOurBusiness() {
    let rig = Rig()
    rig.send(fields: [("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c"), ("http2-settings", "")])
    rig.send(fields: [("upgrade", "websockets")])
    #expect(rig.upstream.calls.count == 2)
    let anthropic = rig.send("/v1/messages", fields: [("upgrade", "websocket")])
    #expect(anthropic.text.contains(#""type":"error""#))
  }

  private let preflight = [
    ("access-control-request-method", "POST"), ("access-control-request-headers", "authorization,x-a"),
  ]

  @Test func preflightsOfAllowedOriginsAreAnsweredHere() {
    for change in [{ _ in }, tenants] as [(inout Policy) -> Void] {
      let rig = Rig {
        change(&$0)
        $0.corsOrigins = ["https://app.example"]
      }
      for origin in ["https://app.example", "http://localhost:3000"] {
        let client = rig.send(
          fields: preflight + [("origin", origin), ("sec-fetch-site", "cross-site")], body: "", method: "OPTIONS")
        #expect(client.answer?.status == 204)
        #expect(client.field("access-control-allow-origin") == origin)
        #expect(client.field("access-control-allow-headers") == "authorization,x-a")
        #expect(client.field("access-control-allow-methods")?.contains("POST") == true)
        #expect(client.field("vary") == "Origin")
        #expect(client.field("x-tollgate-outcome") == nil)
      }
      let other = rig.send(fields: preflight + [("origin", "https://evil.example")], body: "", method: "OPTIONS")
      #expect(other.answer?.status == 403)
      #expect(other.answer?.fields.pairs.contains { $0.name.hasPrefix("access-control-") } == false)
      #expect(other.isFinished)
      #expect(rig.upstream.calls.isEmpty && rig.ended.isEmpty)
      #expect(rig.broker.operator.metrics.probes == 3)
      #expect(rig.broker.operator.requests.recent(limit: 10).isEmpty)
    }
  }

  @Test func optionsOfNoPageNameTheMethods() {
    let rig = Rig()
    let client = rig.send(body: "", method: "OPTIONS")
    #expect(client.answer?.status == 204)
    #expect(client.field("allow")?.contains("POST") == true)
    #expect(client.field("access-control-allow-origin") == nil)
    #expect(rig.send("*", body: "", method: "OPTIONS").answer?.status == 204)
    #expect(rig.upstream.calls.isEmpty)
    #expect(rig.send(body: "", method: "OPTIONS", authority: "evil.example").answer?.status == 403)
  }

  @Test func looksAtTheFrontDoorAreNoRequests() {
    let rig = Rig(tenants)
    for (index, target) in ["/", "/health", "/api/hello", "/health?x=1", "/x/priority=low", "/x/kind=steer/api/hello"]
      .enumerated()
    {
      for method in ["GET", "HEAD"] {
        let client = rig.send(target, body: "", method: method)
        #expect(client.answer?.status == 200, "\(method) \(target)")
        #expect(client.field("x-tollgate-request-id")?.isEmpty == false)
        #expect(client.isFinished)
      }
      #expect(rig.broker.operator.metrics.probes == 2 * index + 2)
    }
    #expect(rig.send("/", body: "", method: "GET").text.contains("/v1"))
    #expect(rig.ended.isEmpty && rig.upstream.calls.isEmpty)
    #expect(rig.broker.operator.requests.recent(limit: 10).isEmpty)
    #expect(rig.broker.operator.requests.alive(.queued, limit: 10).isEmpty)
    // Others are requests as before.
    #expect(rig.send("/", method: "POST").answer?.status == 404)
    #expect(rig.send("/healthy", body: "", method: "GET").answer?.status == 404)
    #expect(rig.ended.map(\.outcome) == [.rejectedModel, .rejectedModel])
  }

  @Test func healthSaysThatItDrains() {
    let rig = Rig()
    rig.broker.operator.drain()
    #expect(rig.send("/health", body: "", method: "GET").answer?.status == 503)
  }

  @Test func otherSitesPagesAreRefusedWhereNobodyShowsAKey() {
    let cases: [(authority: String, fields: [(String, String)])] = [
      ("localhost", [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")]),
      ("localhost", [("sec-fetch-site", "cross-site")]), ("localhost", [("origin", "null")]), ("evil.example:4141", []),
    ]
    for (authority, fields) in cases {
      let rig = Rig()
      let client = rig.send(fields: fields, type: "text/plain", authority: authority)
      #expect(client.answer?.status == 403)
      #expect(client.field("x-tollgate-outcome") == "rejected_origin")
      #expect(client.field("access-control-allow-origin") == nil)
      #expect(client.text.contains(#""code":"forbidden""#))
      #expect(rig.upstream.calls.isEmpty)
      #expect(rig.ended.map(\.outcome) == [.rejectedOrigin])
      #expect(
        rig.send("/v1/models", fields: fields, body: "", method: "GET", authority: authority).answer?.status == 403)
      #expect(rig.send("/", fields: fields, body: "", method: "GET", authority: authority).answer?.status == 403)
      #expect(
        rig.send("/v1/messages", fields: fields, authority: authority).text.contains(#""type":"permission_error""#))
      // A file's permissions say who may open it.
      rig.send(fields: fields, authority: authority, peer: "unix")
      #expect(rig.upstream.calls.count == 1)
      let guarded = Rig(tenants)
      guarded.send(fields: fields + [("authorization", "Bearer tg-good")], authority: authority)
      #expect(guarded.upstream.calls.count == 1)
    }
  }

  @Test func agentsAreNoPages() {
    let rig = Rig()
    rig.send(fields: [("user-agent", "curl/8"), ("sec-fetch-mode", "cors")])
    rig.send(fields: [("origin", "http://localhost:8080")], authority: "127.0.0.1:4141")
    #expect(rig.upstream.calls.count == 2)
  }

  @Test func answersForAllowedPagesSayThatTheyMayBeRead() {
    let rig = Rig { $0.corsOrigins = ["https://app.example"] }
    let page = [("origin", "https://app.example")]
    let streamed = rig.send(fields: page)
    rig.upstream.last?.respond(
      200, [("content-type", "text/event-stream"), ("access-control-allow-origin", "*"), ("vary", "accept")],
      ["data: 1\n\n"])
    let failed = rig.send(fields: page)
    rig.upstream.last?.respond(400, [("Access-Control-Allow-Origin", "https://other.example")], ["{}"])
    let refused = rig.send("/v1/chat/completions", fields: page, body: "{")
    for client in [
      streamed, failed, refused, rig.send("/nowhere", fields: page),
      rig.send("/", fields: page, body: "", method: "GET"),
    ] {
      let origins = client.answer?.fields.pairs.filter { $0.name.lowercased() == "access-control-allow-origin" }.map(
        \.value)
      #expect(origins == ["https://app.example"])
      #expect(client.field("access-control-expose-headers") == "*")
    }
    // Without a page in play the provider's words pass as they are.
    let plain = rig.send()
    rig.upstream.last?.respond(200, [("access-control-allow-origin", "*")], ["{}"])
    #expect(plain.field("access-control-allow-origin") == "*")
    #expect(plain.field("access-control-expose-headers") == nil)
  }

  @Test func aPageThatIsNotListedReadsNothingOfATenants() {
    let rig = Rig(tenants)
    let client = rig.send(fields: [("origin", "https://evil.example"), ("authorization", "Bearer tg-good")])
    rig.upstream.last?.respond(200, [("access-control-allow-origin", "*")], ["{}"])
    #expect(client.answer?.status == 200)
    #expect(client.field("access-control-allow-origin") == nil)
  }
}
