// TLS with its checks, proxies from the settings and the environment.
import EventLoop
import Foundation
import HTTPMessage
import SharedState
import Testing

@testable import UpstreamHTTP

/// Starts `openssl` there. Foundation's Process would leave it with signals blocked.
private func openssl(_ arguments: [String]) throws -> pid_t {
  var actions = posix_spawn_file_actions_t()
  posix_spawn_file_actions_init(&actions)
  defer { posix_spawn_file_actions_destroy(&actions) }
  for descriptor in Int32(0)...2 { posix_spawn_file_actions_addopen(&actions, descriptor, "/dev/null", O_RDWR, 0) }
  var process = pid_t()
  var words: [UnsafeMutablePointer<CChar>?] = (["openssl"] + arguments).map { strdup($0) } + [nil]
  defer { for word in words { free(word) } }
  guard posix_spawnp(&process, "openssl", &actions, nil, &words, nil) == 0 else { throw POSIXError(.ENOENT) }
  return process
}

/// A certificate authority, a server certificate for 127.0.0.1 and `localhost`, and one for another name, made by
/// `openssl`.
private struct Certificates {
  let folder: URL
  var authority: String { path("ca.pem") }
  func path(_ name: String) -> String { folder.appendingPathComponent(name).path }

  init() throws {
    folder = FileManager.default.temporaryDirectory.appendingPathComponent("upstream-tls-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    try run(["req", "-x509"] + ec + ["-keyout", path("ca.key"), "-out", authority, "-subj", "/CN=Test authority"])
    for (name, names) in [("good", "IP:127.0.0.1,DNS:localhost"), ("other", "DNS:other.example")] {
      try run(
        ["req", "-x509"] + ec + [
          "-keyout", path("\(name).key"), "-out", path("\(name).pem"), "-subj", "/CN=\(name)", "-CA", authority,
          "-CAkey",
          path("ca.key"),
          "-addext", "subjectAltName=\(names)", "-addext", "basicConstraints=critical,CA:FALSE",
        ])
    }
  }

  private func run(_ arguments: [String]) throws {
    let process = try openssl(arguments)
    var status: Int32 = 0
    waitpid(process, &status, 0)
    guard status == 0 else { throw POSIXError(.EINVAL) }
  }

  func remove() { try? FileManager.default.removeItem(at: folder) }
}

/// `openssl s_server`, which answers each GET with a page of its own.
private final class TLSServer {
  private let process: pid_t
  let port: UInt16

  init(_ certificates: Certificates, _ name: String) throws {
    // A port that was free a moment ago; s_server cannot tell which one it took for 0.
    let probe = try ScriptedServer { _ in }
    port = probe.port
    probe.stop()
    process = try openssl(
      [
        "s_server", "-accept", "127.0.0.1:\(port)", "-cert", certificates.path("\(name).pem"), "-key",
        certificates.path("\(name).key"), "-www",
      ])
  }

  /// Tries to connect until the server listens.
  func waitUntilReady(_ bench: Bench) throws {
    bench.turn(until: {
      let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
      defer { close(descriptor) }
      var address = loopback(port: port)
      return withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
        }
      }
    })
  }

  deinit {
    kill(process, SIGKILL)
    waitpid(process, nil, 0)
  }
}

@Suite struct Trust {
  @Test func onlyTheRightAuthorityAndNameAreTrusted() throws {
    let certificates = try Certificates()
    defer { certificates.remove() }
    let bench = try Bench()
    bench.upstream.configure(provider: "ours", ProviderTransport(caFile: certificates.authority))
    bench.upstream.configure(
      provider: "h2", ProviderTransport(caFile: certificates.authority, httpVersion: .http2OverTLS))
    bench.upstream.configure(provider: "broken", ProviderTransport(caFile: "/nonexistent/ca.pem"))
    let good = try TLSServer(certificates, "good")
    try good.waitUntilReady(bench)
    let url = "https://127.0.0.1:\(good.port)/"
    for provider in ["ours", "h2"] {
      let trusted = bench.run(url, method: "GET", provider: provider)
      #expect(trusted.ending == .completed, "\(String(describing: trusted.ending))")
      #expect(trusted.head?.status == 200)
    }
    for provider in ["system", "broken"] {
      let refused = bench.run(url, method: "GET", provider: provider)
      #expect(refused.failure?.kind == .tlsFailed)
      #expect(refused.failure?.requestMayHaveArrived == false)
      #expect(refused.head == nil)
    }
    let other = try TLSServer(certificates, "other")
    try other.waitUntilReady(bench)
    let misnamed = bench.run("https://127.0.0.1:\(other.port)/", method: "GET", provider: "ours")
    #expect(misnamed.failure?.kind == .tlsFailed)
  }

  @Test func aServerWithoutTLS() throws {
    let bench = try Bench()
    let server = try ScriptedServer { connection in
      _ = try connection.read()
      try connection.send("HTTP/1.1 400 Bad Request\r\n\r\n")
    }
    defer { server.stop() }
    let recorder = bench.run("https://127.0.0.1:\(server.port)/")
    #expect(recorder.failure?.kind == .tlsFailed)
    #expect(recorder.failure?.requestMayHaveArrived == false)
  }
}

@Suite struct Proxies {
  private let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

  @Test func aProxyGetsAbsoluteTargetsAndTunnels() throws {
    let bench = try Bench()
    let seen = Guarded<[String]>([])
    let proxy = try ScriptedServer { [ok] connection in
      while true {
        let request = try connection.readRequest()
        seen.withLock { $0.append(request.requestLine) }
        if request.requestLine.hasPrefix("CONNECT") {
          try connection.send("HTTP/1.1 403 Forbidden\r\nX-Secret: s\r\nContent-Length: 0\r\n\r\n")
        } else {
          try connection.send(ok)
        }
      }
    }
    defer { proxy.stop() }
    bench.upstream.configure(provider: "p", ProviderTransport(proxy: proxy.url))
    let plain = bench.run("http://provider.invalid/a/../b?c")
    #expect(plain.text == "ok")
    let tunnel = bench.run("https://provider.invalid/x")
    #expect(tunnel.failure?.kind == .proxyFailed, "\(String(describing: tunnel.ending))")
    #expect(tunnel.failure?.requestMayHaveArrived == false)
    #expect(tunnel.head == nil)
    #expect(
      seen.withLock { $0 } == [
        "POST http://provider.invalid/a/../b?c HTTP/1.1", "CONNECT provider.invalid:443 HTTP/1.1",
      ])
  }

  @Test func aProxyThatIsNotThere() throws {
    let bench = try Bench()
    bench.upstream.configure(provider: "p", ProviderTransport(proxy: "http://tollgate-test-proxy.invalid:3128"))
    let recorder = bench.run("http://provider.invalid/")
    #expect(recorder.failure?.kind == .proxyFailed)
    #expect(recorder.failure?.requestMayHaveArrived == false)
  }

  /// The environment belongs to the whole process, so this names a proxy for https only, which no other test
  /// resolves to, and excepts the loopback that all others use.
  @Test func theEnvironmentIsFollowedAndExcepted() throws {
    let bench = try Bench()
    let server = try ScriptedServer { [ok] connection in
      while true {
        _ = try connection.readRequest()
        try connection.send(ok)
      }
    }
    defer { server.stop() }
    let connects = Guarded<[String]>([])
    let proxy = try ScriptedServer { connection in
      let request = try connection.readRequest()
      connects.withLock { $0.append(request.requestLine) }
      try connection.send("HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n")
    }
    defer { proxy.stop() }
    setenv("no_proxy", "127.0.0.1,localhost", 1)
    setenv("https_proxy", proxy.url, 1)
    bench.upstream.configure(provider: "environment", ProviderTransport())
    bench.upstream.configure(provider: "none", ProviderTransport(proxy: ""))
    let tunnelled = bench.run("https://provider.invalid/", provider: "environment")
    let excepted = bench.run(server.url + "/", provider: "environment")
    let direct = bench.run("https://provider.invalid/", provider: "none")
    unsetenv("https_proxy")
    unsetenv("no_proxy")
    #expect(tunnelled.failure?.kind == .proxyFailed)
    #expect(excepted.text == "ok")
    #expect(direct.failure?.kind == .resolveFailed)
    #expect(connects.withLock { $0 } == ["CONNECT provider.invalid:443 HTTP/1.1"])
  }
}
