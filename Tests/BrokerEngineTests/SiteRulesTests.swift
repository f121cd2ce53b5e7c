// Which pages may call the data port, and by which names.
import HTTPMessage
import PolicyFile
import Testing

@testable import BrokerEngine

@Suite struct SiteRulesTests {
  private let rules: SiteRules = {
    var policy = Policy()
    policy.listen = [.tcp(host: "192.168.7.7", port: 4141), .unix(path: "/tmp/x.sock")]
    policy.hosts = ["gateway.lan"]
    policy.corsOrigins = ["https://app.example", "vscode-webview://*"]
    return SiteRules(dataPortOf: policy)
  }()

  private func objection(_ host: String, _ fields: [(String, String)] = [], method: String = "POST") -> SiteRules
    .Objection?
  {
    rules.objection(
      to: RequestHead(
        method: method, target: "/v1/models", authority: host,
        fields: HeaderFields(fields.map { (name: $0.0, value: $0.1) })))
  }

  @Test(
    arguments: [
      "", "localhost", "LOCALHOST:4141", "localhost.:4141", "127.0.0.1", "127.1.2.3:4141", "[::1]:4141", "[::1]",
      "[::ffff:127.0.0.1]:1", "my.localhost:1", "host.docker.internal:4141", "192.168.7.7:4141", "192.168.7.7:9",
      "gateway.lan", "Gateway.LAN:80",
    ])
  func answersToNamesOfItsOwn(_ host: String) {
    #expect(objection(host) == nil)
  }

  @Test(
    arguments: [
      "evil.example", "evil.example:4141", "localhost.evil.example", "evil-localhost", "127.0.0.1.evil.example",
      "128.0.0.1", "0.0.0.0:4141", "192.168.7.8", "[::2]:4141", "xgateway.lan", "a", "[::ffff:8.8.8.8]",
    ])
  func refusesForeignNames(_ host: String) {
    #expect(objection(host) == .name(SiteRules.host(of: host[...])))
  }

  @Test(
    arguments: [
      ("localhost", "http://localhost:3000"), ("localhost", "http://127.0.0.1"), ("localhost", "https://x.localhost"),
      ("127.0.0.1:4141", "http://[::1]:5173"), ("localhost", "https://app.example"),
      ("localhost", "HTTPS://App.Example"),
      ("localhost", "vscode-webview://abc123"), ("gateway.lan:4141", "http://gateway.lan:3000"),
      ("localhost", "tauri://localhost"),
    ])
  func takesPagesOfThisMachineAndListedOnes(_ host: String, _ origin: String) {
    // A browser says `cross-site` of a listed origin too.
    #expect(objection(host, [("origin", origin), ("sec-fetch-site", "cross-site")]) == nil)
  }

  @Test(
    arguments: [
      "https://evil.example", "http://app.example", "https://app.example:444", "https://app.example.evil.example",
      "null",
      "http://localhost.evil.example", "http://evil.example/localhost", "http://localhost@evil.example", "",
      "localhost",
      "http://", "file://",
    ])
  func refusesOtherPages(_ origin: String) {
    #expect(objection("localhost", [("origin", origin)]) == .origin(origin))
    #expect(!rules.mayCall(origin: origin))
  }

  @Test func believesTheBrowserWhereNoOriginIsSent() {
    #expect(objection("localhost", [("Sec-Fetch-Site", "cross-site")]) == .crossSite)
    #expect(objection("localhost", [("sec-fetch-site", "Cross-Site")], method: "GET") == .crossSite)
    for site in ["same-origin", "same-site", "none"] {
      #expect(objection("localhost", [("sec-fetch-site", site)]) == nil)
    }
  }

  @Test func aStarIsEveryPage() {
    var policy = Policy()
    policy.corsOrigins = ["*"]
    #expect(SiteRules(dataPortOf: policy).mayCall(origin: "https://anything.example"))
  }

  @Test func theAdminPortTakesItsOwnPagesAndLinksToThem() {
    func objection(_ method: String, _ host: String, _ fields: [(String, String)] = []) -> SiteRules.Objection? {
      SiteRules.adminPort.objection(
        to: RequestHead(
          method: method, target: "/", authority: host, fields: HeaderFields(fields.map { (name: $0.0, value: $0.1) })))
    }
    #expect(objection("POST", "127.0.0.1:4142", [("origin", "http://127.0.0.1:4142")]) == nil)
    #expect(objection("POST", "127.0.0.1:4142", [("origin", "http://127.0.0.1:4143")]) != nil)
    #expect(objection("POST", "10.0.0.1:4142") == nil)
    #expect(objection("POST", "evil.example") == .name("evil.example"))
    let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")]
    #expect(objection("GET", "localhost:4142", link) == nil)
    #expect(objection("POST", "localhost:4142", link) == .crossSite)
    #expect(objection("POST", "localhost:4142", [("sec-fetch-site", "cross-site")]) == .crossSite)
    #expect(
      objection("GET", "localhost:4142", [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "cors")]) == .crossSite)
    let frame = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")]
    #expect(objection("GET", "localhost:4142", frame) == .crossSite)
  }

  /// Whether a page of another site, and one under another name of this machine, get a call through.
  private func through(_ change: (inout Policy) -> Void, _ fields: [(String, String)] = []) -> [Bool] {
    [(fields + [("origin", "https://evil.example")], "localhost"), (fields, "evil.example:4141")].map { fields, host in
      let rig = Rig(change)
      let client = rig.send(fields: fields, authority: host)
      if client.answer != nil { #expect(client.field("x-tollgate-outcome") == "rejected_origin") }
      return !rig.upstream.calls.isEmpty
    }
  }

  @Test func pagesAreKeptOutWhereverNobodyMustSayWhoHeIs() {
    #expect(through { _ in } == [false, false])
    #expect(through { $0.tenants = [Tenant(id: "default")] } == [false, false])
    #expect(through { $0.trustTenantHeader = true } == [false, false])
    let platform = through(
      {
        $0.tenants = [Tenant(id: "acme")]
        $0.trustTenantHeader = true
      }, [("x-tollgate-tenant", "acme")])
    #expect(platform == [true, true])
    let keyed = through(
      {
        var acme = Tenant(id: "acme")
        acme.keys = [ClientKeyHash(bytes: Array("tg-acme".utf8))]
        $0.tenants = [acme, Tenant(id: "other")]
      }, [("authorization", "Bearer tg-acme")])
    #expect(keyed == [true, true])
    let listed = Rig {
      $0.tenants = [Tenant(id: "default")]
      $0.hosts = ["tollgate.example"]
    }
    listed.send(authority: "tollgate.example")
    #expect(listed.upstream.calls.count == 1)
  }
}
