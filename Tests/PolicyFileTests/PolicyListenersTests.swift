// Addresses and what listeners may not do together, as the file and the flags say it.
import PolicyFile
import Testing

@Suite struct PolicyListenersTests {
  @Test(arguments: [
    ("127.0.0.1:4141", ListenAddress.tcp(host: "127.0.0.1", port: 4141)), ("[::1]:0", .tcp(host: "::1", port: 0)),
    ("localhost:80", .tcp(host: "127.0.0.1", port: 80)), ("unix:/a", .unix(path: "/a")),
    ("[2001:db8::1]:65535", .tcp(host: "2001:db8::1", port: 65535)), ("[::]:1", .tcp(host: "::", port: 1)),
    ("[::ffff:10.0.0.1]:1", .tcp(host: "::ffff:10.0.0.1", port: 1)),
    ("[1:2:3:4:5:6:7:8]:1", .tcp(host: "1:2:3:4:5:6:7:8", port: 1)),
  ])
  func addresses(_ text: String, _ expected: ListenAddress) { #expect(ListenAddress(text) == expected) }

  @Test(arguments: [
    "", ":", "4141", ":4141", "127.0.0.1", "127.0.0.1:", "127.0.0.1:-1", "127.0.0.1:65536", "1.2.3:1", "1.2.3.4.5:1",
    "256.0.0.1:1", "a:1", "[::1]", "[]:1", "[:::]:1", "[1:2:3:4:5:6:7]:1", "[1:2:3:4:5:6:7:8:9]:1", "[1::2::3]:1",
    "[12345::]:1", "[::1%lo]:1", "[+1::]:1", "unix:", "unix:a", "unix:/a/", "unix:/a\0b", "*:1", "127.0.0.1:1 ",
    "[1:2:3:4:5:6:7::8]:1",
  ])
  func notAddresses(_ text: String) { #expect(ListenAddress(text) == nil) }

  @Test(arguments: [
    ("127.0.0.1", true), ("127.255.255.255", true), ("::1", true), ("0:0:0:0:0:0:0:1", true), ("localhost", true),
    ("0.0.0.0", false), ("::", false), ("128.0.0.1", false), ("127.evil.example", false), ("10.0.0.1", false),
    ("::ffff:127.0.0.1", false),
  ])
  func loopback(_ host: String, _ expected: Bool) {
    #expect(ListenAddress.tcp(host: host, port: 1).isLoopback == expected)
  }

  @Test func socketsAreLocal() { #expect(ListenAddress.unix(path: "/a").isLoopback) }

  @Test func flagsAreCheckedLikeTheFile() {
    var policy = Policy()
    #expect(policy.listenerMistakes.isEmpty)
    policy.listen = []
    #expect(policy.listenerMistakes.map(\.field) == ["listen"])
    policy.listen = [.tcp(host: "0.0.0.0", port: 4142)]
    #expect(policy.listenerMistakes.map(\.field) == ["listen", "admin.listen"])
    policy.tenants = [Tenant(id: "acme")]
    policy.admin.listen = .tcp(host: "10.0.0.1", port: 1)
    #expect(policy.listenerMistakes.map(\.field) == ["listen", "admin.listen"])
    policy.trustTenantHeader = true
    #expect(policy.listenerMistakes.map(\.field) == ["admin.listen"])
    policy.trustTenantHeader = false
    policy.tenants[0].keys = [ClientKeyHash(bytes: [])]
    #expect(policy.listenerMistakes.map(\.field) == ["admin.listen"])
    policy.admin.token = Secret("t")
    #expect(policy.listenerMistakes.isEmpty)
    policy.admin = AdminSettings()
    policy.admin.listen = nil
    policy.listen = [.unix(path: "/a"), .tcp(host: "::1", port: 0), .tcp(host: "::1", port: 0), .unix(path: "/a")]
    #expect(policy.listenerMistakes.map(\.field) == ["listen[3]"])
  }
}
