// Listening addresses: what is opened, replaced or left alone, and what the errors say.
import EventLoop
import Foundation
import HTTPMessage
import Testing

@testable import HTTPEndpoint

@Suite struct ListenerTests {
  private func failure(_ bench: ServerBench, _ address: EndpointAddress) -> String {
    do {
      try bench.server.listen(address)
      return "no error"
    } catch { return "\(error)" }
  }

  @Test func describesAddresses() {
    #expect(EndpointAddress.tcp(host: "127.0.0.1", port: 4141).description == "127.0.0.1:4141")
    #expect(EndpointAddress.tcp(host: "::1", port: 80).description == "[::1]:80")
    #expect(EndpointAddress.unix(path: "/p").description == "unix:/p")
  }

  @Test func returnsTheRealPort() throws {
    let bench = try ServerBench(.echo())
    let port = try bench.listen()
    #expect(port > 0)
    let other = try bench.listen()
    #expect(other != port)
  }

  @Test func namesAnAddressThatIsTaken() throws {
    let bench = try ServerBench(.echo())
    let port = try bench.listen()
    #expect(
      failure(bench, .tcp(host: "127.0.0.1", port: port))
        == "cannot listen on 127.0.0.1:\(port): Address already in use; "
        + "another process has port \(port): stop it or choose another port"
    )
  }

  @Test func namesAddressesThatCannotBe() throws {
    let bench = try ServerBench(.echo())
    #expect(failure(bench, .tcp(host: "127.0.0.1", port: 65_536)).contains("the port must be 0 to 65535"))
    #expect(failure(bench, .tcp(host: "192.0.2.1", port: 0)).contains("no interface of this machine has this address"))
    #expect(failure(bench, .tcp(host: "no host", port: 0)).hasPrefix("cannot listen on no host:0: "))
    #expect(failure(bench, .unix(path: "")).contains("the path must have 1 to 107 bytes"))
    #expect(failure(bench, .unix(path: "/" + String(repeating: "x", count: 107))).contains("it has 108"))
    #expect(failure(bench, .unix(path: "/no/such/directory/s")).contains("the directory must exist"))
  }

  @Test func listensOnIPv6() throws {
    let bench = try ServerBench(.echo())
    let address = try bench.server.listen(.tcp(host: "::1", port: 0))
    #expect(address.description.hasPrefix("[::1]:"))
  }

  @Test func servesAUnixSocketOfThisUserOnly() throws {
    let path = temporaryPath("s")
    let bench = try ServerBench(.echo())
    #expect(try bench.server.listen(.unix(path: path)) == .unix(path: path))
    var status = stat()
    #expect(stat(path, &status) == 0)
    #expect(status.st_mode & 0o777 == 0o600)
    let client = try TestClient(bench, path: path)
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    bench.turn { client.text.hasPrefix("HTTP/1.1 200") }
    #expect(bench.handler.exchanges[0].peer == "unix")
    bench.server.stopAccepting()
    #expect(stat(path, &status) != 0)
  }

  @Test func refusesAUnixSocketThatIsLive() throws {
    let path = temporaryPath("s")
    let bench = try ServerBench(.echo())
    try bench.server.listen(.unix(path: path))
    #expect(failure(bench, .unix(path: path)).contains("another process listens there"))
    var status = stat()
    #expect(stat(path, &status) == 0)
  }

  @Test func replacesAUnixSocketThatIsStale() throws {
    let path = temporaryPath("s")
    let dead = socket(AF_UNIX, Socket.streamType, 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
    let code = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(dead, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    #expect(code == 0)
    Socket.closeDescriptor(dead)
    let bench = try ServerBench(.echo())
    try bench.server.listen(.unix(path: path))
    let client = try TestClient(bench, path: path)
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    bench.turn { client.text.hasPrefix("HTTP/1.1 200") }
  }

  @Test func leavesOtherFilesAlone() throws {
    let path = temporaryPath("f")
    try "precious".write(toFile: path, atomically: true, encoding: .utf8)
    defer { unlink(path) }
    let bench = try ServerBench(.echo())
    #expect(failure(bench, .unix(path: path)).contains("a file that is no socket is there"))
    #expect(try String(contentsOfFile: path, encoding: .utf8) == "precious")
  }

  @Test func leavesASuccessorsSocketAlone() throws {
    let path = temporaryPath("s")
    let old = try ServerBench(.echo())
    try old.server.listen(.unix(path: path))
    unlink(path)
    let new = try ServerBench(.echo())
    try new.server.listen(.unix(path: path))
    old.server.close()
    var status = stat()
    #expect(stat(path, &status) == 0)
  }
}
