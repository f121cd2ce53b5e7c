// Every way an attempt breaks, over real sockets, with its kind and whether the provider can have seen the request.
import Foundation
import HTTPMessage
import Testing

@testable import UpstreamHTTP

@Suite struct Failures {
  /// One attempt against a server that runs `script` after it read the request.
  private func fail(
    method: String = "POST", body: [UInt8] = Array("{}".utf8), timeouts: UpstreamTimeouts = Bench.timeouts,
    _ script: @escaping @Sendable (ScriptedConnection) throws -> Void
  ) throws -> Recorder {
    let bench = try Bench()
    let server = try ScriptedServer { connection in
      _ = try connection.readRequest()
      try script(connection)
    }
    defer { server.stop() }
    return bench.run(server.url + "/", method: method, body: body, timeouts: timeouts)
  }

  private func timeouts(
    connect: Duration? = nil, firstByte: Duration? = nil, idle: Duration? = nil, total: Duration? = nil
  ) -> UpstreamTimeouts {
    UpstreamTimeouts(connect: connect, firstByte: firstByte, idle: idle, total: total)
  }

  @Test func connectRefused() throws {
    let bench = try Bench()
    // A port that is bound but does not listen refuses, and nobody else can get it.
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = loopback(port: 0)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        _ = bind(descriptor, $0, length)
        _ = getsockname(descriptor, $0, &length)
      }
    }
    let recorder = bench.run("http://127.0.0.1:\(UInt16(bigEndian: address.sin_port))/")
    #expect(recorder.failure?.kind == .connectRefused)
    #expect(recorder.failure?.requestMayHaveArrived == false)
    #expect(recorder.head == nil)
  }

  @Test func resolveFailed() throws {
    let recorder = try Bench().run("http://tollgate-test.invalid/")
    #expect(recorder.failure?.kind == .resolveFailed)
    #expect(recorder.failure?.requestMayHaveArrived == false)
  }

  /// Libcurl keeps the buffer of a connecting that failed; the handle must serve again nevertheless.
  @Test func resolveFailedAgain() throws {
    let bench = try Bench()
    for _ in 0..<4 { #expect(bench.run("http://tollgate-test.invalid/").failure?.kind == .resolveFailed) }
  }

  @Test func connectTimedOut() throws {
    // A listener whose backlog is full drops further SYNs without a word.
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = loopback(port: 0)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    var fillers: [Int32] = []
    defer { for filler in fillers { close(filler) } }
    withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        _ = bind(descriptor, $0, length)
        _ = listen(descriptor, 0)
        _ = getsockname(descriptor, $0, &length)
        for _ in 0..<8 {
          let filler = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
          _ = connect(filler, $0, length)
          fillers.append(filler)
        }
      }
    }
    let recorder = try Bench().run(
      "http://127.0.0.1:\(UInt16(bigEndian: address.sin_port))/", timeouts: timeouts(connect: .milliseconds(150)))
    #expect(recorder.failure?.kind == .connectTimedOut)
    #expect(recorder.failure?.requestMayHaveArrived == false)
  }

  @Test func resetBeforeAnswer() throws {
    let closed = try fail { _ in }
    #expect(closed.failure?.kind == .resetBeforeResponse)
    #expect(closed.failure?.requestMayHaveArrived == true)
    let reset = try fail { $0.reset() }
    #expect(reset.failure?.kind == .resetBeforeResponse)
    #expect(reset.failure?.requestMayHaveArrived == true)
  }

  @Test(arguments: ["HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1"])
  func brokenInsideTheHead(_ sent: String) throws {
    let recorder = try fail { try $0.send(sent) }
    #expect(recorder.failure?.kind == .resetBeforeResponse, "\(String(describing: recorder.ending))")
    #expect(recorder.failure?.requestMayHaveArrived == true)
    #expect(recorder.head == nil)
  }

  @Test func truncatedBodies() throws {
    for answer in [
      "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
    ] {
      let recorder = try fail { try $0.send(answer) }
      #expect(recorder.failure?.kind == .truncated, "\(answer): \(String(describing: recorder.ending))")
      #expect(recorder.head?.status == 200)
      #expect("abc".hasPrefix(recorder.text))
    }
  }

  @Test func resetInsideTheBody() throws {
    let seen = Gate()
    let bench = try Bench()
    let server = try ScriptedServer { connection in
      _ = try connection.readRequest()
      try connection.send("HTTP/1.1 200 OK\r\n\r\nabc")
      seen.waitUntilOpen()
      connection.reset()
    }
    defer { server.stop() }
    let recorder = Recorder()
    recorder.onBytes = { seen.open() }
    bench.begin(server.url + "/", events: recorder)
    bench.turn(until: { recorder.ending != nil })
    #expect(recorder.failure?.kind == .truncated)
    #expect(recorder.text == "abc")
  }

  /// Bytes and the reset behind them, mostly in one event of the loop.
  @Test func resetRightBehindBytes() throws {
    for _ in 0..<20 {
      let recorder = try fail(timeouts: timeouts(idle: .milliseconds(500))) {
        try $0.send("HTTP/1.1 200 OK\r\n\r\nabc")
        $0.reset()
      }
      #expect(recorder.failure?.kind == .truncated || recorder.failure?.kind == .resetBeforeResponse)
    }
  }

  @Test func firstByteTimedOut() throws {
    let recorder = try fail(timeouts: timeouts(firstByte: .milliseconds(60))) { $0.waitForClose() }
    #expect(recorder.failure?.kind == .firstByteTimedOut)
    #expect(recorder.failure?.requestMayHaveArrived == true)
  }

  /// A provider that trickles header lines has not answered.
  @Test func firstByteTimedOutInsideTheHead() throws {
    let recorder = try fail(timeouts: timeouts(firstByte: .milliseconds(60))) {
      try $0.send("HTTP/1.1 200 OK\r\nX: y\r\n")
      $0.waitForClose()
    }
    #expect(recorder.failure?.kind == .firstByteTimedOut)
    #expect(recorder.head == nil)
  }

  @Test func idleTimedOut() throws {
    let recorder = try fail(timeouts: timeouts(firstByte: .seconds(20), idle: .milliseconds(60))) {
      try $0.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
      $0.waitForClose()
    }
    #expect(recorder.failure?.kind == .idleTimedOut)
    #expect(recorder.text == "abc")
  }

  /// However slow the machine is, the time is long enough for the head at last.
  @Test func totalTimedOut() throws {
    var statuses: [Int?] = []
    for total in [80, 800, 8_000, 80_000] where statuses.last != 200 {
      let recorder = try fail(timeouts: timeouts(idle: .seconds(200), total: .milliseconds(total))) {
        try $0.send("HTTP/1.1 200 OK\r\n\r\n")
        // Without end; the client's window slows it.
        while true { try $0.send("x") }
      }
      #expect(recorder.failure?.kind == .totalTimedOut)
      statuses.append(recorder.head?.status)
    }
    #expect(statuses.last == 200)
  }

  @Test(arguments: [
    "garbage without an end\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 abc OK\r\n\r\n", "HTTP/1.1 999 X\r\n\r\n",
    "HTTP/1.1 200 OK\r\nno colon here\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
    "HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "HTTP/1.1 200 OK\r\n: nameless\r\n\r\n",
  ])
  func malformedHeads(_ answer: String) throws {
    let recorder = try fail {
      try $0.send(answer)
      $0.waitForClose()
    }
    #expect(recorder.failure?.kind == .malformedResponse, "\(String(describing: recorder.ending))")
    #expect(recorder.head == nil)
  }

  @Test func malformedChunk() throws {
    let recorder = try fail {
      try $0.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n")
      $0.waitForClose()
    }
    #expect(recorder.failure?.kind == .malformedResponse, "\(String(describing: recorder.ending))")
    #expect(recorder.text == "abc")
  }

  @Test func malformedContentLength() throws {
    let recorder = try fail {
      try $0.send("HTTP/1.1 200 OK\r\nContent-Length: secret-value\r\n\r\nabc")
      $0.waitForClose()
    }
    #expect(recorder.failure?.kind == .malformedResponse, "\(String(describing: recorder.ending))")
    #expect(recorder.failure?.detail.contains("secret-value") == false)
  }

  @Test func endlessHeaders() throws {
    let recorder = try fail {
      try $0.send("HTTP/1.1 200 OK\r\n")
      while true { try $0.send("X-Again: and again and again and again and again\r\n") }
    }
    #expect(recorder.failure?.kind == .malformedResponse)
  }

  @Test func endlessHeaderLine() throws {
    let recorder = try fail {
      try $0.send("HTTP/1.1 200 OK\r\nX-Long: ")
      let piece = [UInt8](repeating: 0x61, count: 4096)
      while true { try $0.send(piece) }
    }
    #expect(recorder.failure?.kind == .malformedResponse, "\(String(describing: recorder.ending))")
  }

  @Test func headerBoundAtUnderAndOver() throws {
    let bench = try Bench()
    bench.configure(provider: "small", maxHeaderBytes: 1000)
    for (size, passes) in [(999, true), (1000, true), (1001, false)] {
      let frame = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: ".utf8.count + 4
      let server = try ScriptedServer { connection in
        _ = try connection.readRequest()
        let filler = String(repeating: "x", count: size - frame)
        try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: \(filler)\r\n\r\n")
      }
      defer { server.stop() }
      let recorder = bench.run(server.url + "/", provider: "small")
      #expect((recorder.ending == .completed) == passes, "\(size)")
      if !passes { #expect(recorder.failure?.kind == .malformedResponse) }
    }
  }

  @Test(arguments: ["ftp://127.0.0.1/", "nonsense://x/", "http://[::1/", "file:///etc/hostname"])
  func whatWeCannotSendIsOurs(_ url: String) throws {
    let recorder = try Bench().run(url)
    #expect(recorder.failure?.kind == .local)
    #expect(recorder.failure?.requestMayHaveArrived == false)
  }
}

extension Bench {
  fileprivate func configure(provider: String, maxHeaderBytes: Int) {
    upstream.configure(provider: provider, ProviderTransport(maxHeaderBytes: maxHeaderBytes))
  }
}
