// TLS against a real client: ALPN, versions, goodbyes, stalled handshakes, and what the errors of wrong files say.
import COpenSSL
import EventLoop
import Foundation
import HTTPMessage
import Testing

@testable import HTTPEndpoint

@Suite struct TLSContextTests {
  /// A certificate of our own for `localhost`, and its key.
  private struct Files {
    let certificate = temporaryPath("cert.pem")
    let key = temporaryPath("key.pem")

    init() throws {
      let process = Process()
      process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
      process.arguments = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", "/CN=localhost", "-keyout", key, "-out", certificate,
      ]
      process.standardError = FileHandle.nullDevice
      try process.run()
      process.waitUntilExit()
      try #require(process.terminationStatus == 0)
    }

    func remove() {
      unlink(certificate)
      unlink(key)
    }
  }

  private func failure(_ certificate: String, _ key: String) -> String {
    do {
      _ = try TLSContext(certificateFile: certificate, keyFile: key)
      return "no error"
    } catch { return "\(error)" }
  }

  @Test func namesTheFileThatIsWrong() throws {
    let files = try Files()
    let other = try Files()
    let empty = temporaryPath("empty.pem")
    try "".write(toFile: empty, atomically: true, encoding: .utf8)
    defer {
      files.remove()
      other.remove()
      unlink(empty)
    }
    #expect(failure(files.certificate, files.key) == "no error")
    #expect(failure("/no/cert.pem", files.key) == "certificate file /no/cert.pem: No such file or directory")
    #expect(failure(files.certificate, "/no/key.pem") == "key file /no/key.pem: No such file or directory")
    #expect(failure(empty, files.key).hasPrefix("certificate file \(empty): no start line"))
    #expect(failure(files.certificate, empty).hasPrefix("key file \(empty): "))
    #expect(
      failure(files.certificate, other.key) == "key file \(other.key): it is not the key of certificate file "
        + files.certificate)
  }

  /// Opening a pipe waits for its other end, and a device has none.
  @Test func readsFilesOnly() throws {
    let files = try Files()
    let pipe = temporaryPath("pipe.pem")
    let large = temporaryPath("large.pem")
    defer {
      files.remove()
      unlink(pipe)
      unlink(large)
    }
    #expect(mkfifo(pipe, 0o600) == 0)
    for path in [pipe, "/dev/zero", "/tmp"] {
      #expect(failure(path, files.key) == "certificate file \(path): not a file")
      #expect(failure(files.certificate, path) == "key file \(path): not a file")
    }
    #expect(FileManager.default.createFile(atPath: large, contents: nil))
    #expect(truncate(large, 1 << 20) == 0)
    #expect(failure(large, files.key).contains("no start line"))
    #expect(truncate(large, (1 << 20) + 1) == 0)
    #expect(failure(large, files.key) == "certificate file \(large): 1048577 bytes; at most 1048576 are read")
  }

  @Test(arguments: ["http/1.1", "h2", ""])
  func speaksTheProtocolThatALPNChose(wanted: String) throws {
    let files = try Files()
    defer { files.remove() }
    let handler = RecordingHandler.echo()
    let bench = try ServerBench(handler, tls: TLSContext(certificateFile: files.certificate, keyFile: files.key))
    let client = try TLSTestClient(bench, port: bench.listen(), alpn: wanted)
    let body = [UInt8](repeating: 0x7A, count: 300_000)
    if wanted == "h2" {
      client.send(
        HTTP2TestClient.preface
          + HTTP2TestClient.frame(type: 1, flags: 5, stream: 1, HTTP2TestClient.getBlock))
      bench.turn { handler.endings == ["ended completed"] }
      #expect(handler.exchanges[0].head.version == .http2)
    } else {
      client.send(Array("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: \(body.count)\r\n\r\n".utf8) + body)
      bench.turn { client.received.count > body.count }
      #expect(Array(client.received.suffix(body.count)) == body)
      bench.turn { handler.endings == ["ended completed"] }
    }
    #expect(client.chosenProtocol == wanted)
    client.leave()
    bench.turn { bench.server.connectionCount == 0 }
  }

  @Test func noticesThatAClientLeft() throws {
    let files = try Files()
    defer { files.remove() }
    let handler = RecordingHandler()
    let bench = try ServerBench(handler, tls: TLSContext(certificateFile: files.certificate, keyFile: files.key))
    let client = try TLSTestClient(bench, port: bench.listen(), alpn: "http/1.1")
    client.send(Array("GET / HTTP/1.1\r\nHost: h\r\n\r\n".utf8))
    bench.turn { handler.log.count == 2 }
    client.leave()
    bench.turn { !handler.endings.isEmpty }
    #expect(handler.endings == ["ended clientLeft"])
  }

  @Test func saysGoodbyeWhenItCloses() throws {
    let files = try Files()
    defer { files.remove() }
    let bench = try ServerBench(.echo(), tls: TLSContext(certificateFile: files.certificate, keyFile: files.key))
    let client = try TLSTestClient(bench, port: bench.listen(), alpn: "http/1.1")
    client.send(Array("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".utf8))
    bench.turn { client.sawGoodbye }
    #expect(String(decoding: client.received, as: UTF8.self).hasPrefix("HTTP/1.1 200"))
  }

  @Test func refusesAClientThatSpeaksNoTLS() throws {
    let files = try Files()
    defer { files.remove() }
    let bench = try ServerBench(.echo(), tls: TLSContext(certificateFile: files.certificate, keyFile: files.key))
    let client = try TestClient(bench, port: bench.listen())
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    bench.turn { client.isAtEnd }
    #expect(bench.handler.log == [])
    #expect(bench.server.connectionCount == 0)
  }

  @Test func dropsAHandshakeThatStalls() throws {
    let files = try Files()
    defer { files.remove() }
    let bench = try ServerBench(.echo(), tls: TLSContext(certificateFile: files.certificate, keyFile: files.key))
    let client = try TestClient(bench, port: bench.listen())
    client.send([0x16, 0x03, 0x01])
    bench.turn { bench.server.connectionCount == 1 }
    bench.loop.turn(waiting: false)
    bench.pass(seconds: 12)
    bench.turn { client.isAtEnd }
    #expect(bench.server.connectionCount == 0)
  }

  @Test func refusesOldVersions() throws {
    let files = try Files()
    defer { files.remove() }
    let bench = try ServerBench(.echo(), tls: TLSContext(certificateFile: files.certificate, keyFile: files.key))
    let client = try TLSTestClient(bench, port: bench.listen(), alpn: "", newest: TLS1_1_VERSION)
    bench.turn { client.hasFailed }
    #expect(bench.handler.log == [])
  }
}

/// A TLS client on the bench's loop that trusts anyone.
final class TLSTestClient {
  private let descriptor: Int32
  private let context: OpaquePointer
  private let ssl: OpaquePointer
  private var watch: DescriptorWatch?
  private var unsent: [UInt8] = []
  private(set) var received: [UInt8] = []
  private(set) var sawGoodbye = false
  private(set) var hasFailed = false

  init(_ bench: ServerBench, port: Int, alpn: String, newest: Int32 = TLS1_3_VERSION) throws {
    descriptor = socket(AF_INET, Socket.streamType, 0)
    context = try #require(SSL_CTX_new(TLS_client_method()))
    _ = SSL_CTX_ctrl(context, SSL_CTRL_SET_MAX_PROTO_VERSION, Int(newest), nil)
    ssl = try #require(SSL_new(context))
    if !alpn.isEmpty {
      let names = [UInt8(alpn.utf8.count)] + Array(alpn.utf8)
      SSL_set_alpn_protos(ssl, names, UInt32(names.count))
    }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(port).bigEndian
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    let code = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    try #require(code == 0)
    Socket.makeNonBlocking(descriptor)
    SSL_set_fd(ssl, descriptor)
    SSL_set_connect_state(ssl)
    watch = try DescriptorWatch(bench.loop, descriptor: descriptor) { [unowned self] _ in self.pump() }
    pump()
  }

  deinit {
    leave()
    SSL_free(ssl)
    SSL_CTX_free(context)
  }

  func send(_ bytes: [UInt8]) {
    unsent += bytes
    pump()
  }

  func leave() {
    // Harmless when it has left.
    guard let watch else { return }
    watch.close()
    self.watch = nil
    Socket.closeDescriptor(descriptor)
  }

  var chosenProtocol: String {
    var name: UnsafePointer<UInt8>?
    var length: UInt32 = 0
    SSL_get0_alpn_selected(ssl, &name, &length)
    return name.map { String(decoding: UnsafeBufferPointer(start: $0, count: Int(length)), as: UTF8.self) } ?? ""
  }

  private func pump() {
    // It has left, and the end finds it so.
    guard let watch else { return }
    var wantsToWrite = false
    func failed(_ result: Int32) -> Bool {
      switch SSL_get_error(ssl, result) {
      case SSL_ERROR_WANT_READ: return false
      case SSL_ERROR_WANT_WRITE:
        wantsToWrite = true
        return false
      case SSL_ERROR_ZERO_RETURN:
        sawGoodbye = true
        return true
      default: return true
      }
    }
    ERR_clear_error()
    while !unsent.isEmpty || SSL_is_init_finished(ssl) == 0 {
      let count = unsent.isEmpty ? SSL_do_handshake(ssl) : SSL_write(ssl, unsent, Int32(min(unsent.count, 16_384)))
      if count <= 0 {
        if failed(count) { hasFailed = true }
        break
      }
      if !unsent.isEmpty { unsent.removeFirst(Int(count)) }
    }
    var space = [UInt8](repeating: 0, count: 16_384)
    while !hasFailed {
      let count = SSL_read(ssl, &space, Int32(space.count))
      if count <= 0 {
        if failed(count) { hasFailed = true }
        break
      }
      received += space[..<Int(count)]
    }
    watch.wait(for: hasFailed ? [] : wantsToWrite ? [.readable, .writable] : .readable)
  }
}
