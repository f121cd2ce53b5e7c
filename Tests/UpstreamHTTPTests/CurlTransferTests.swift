// The same promises where libcurl speaks HTTP itself: what goes out, what comes back, pause, cancel, failures.
import Foundation
import HTTPMessage
import SharedState
import Testing

@testable import UpstreamHTTP

private let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

@Suite struct LibcurlTransfers {
  /// One attempt against a server that keeps the request and answers with `answer`, then hangs up where `hangsUp`.
  private func run(
    _ answer: String, method: String = "POST", fields: [(name: String, value: String)] = [], body: [UInt8] = [0x61],
    hangsUp: Bool = false, timeouts: UpstreamTimeouts = Bench.timeouts
  ) throws -> (Recorder, ScriptedRequest?) {
    let bench = try Bench(libcurl: true)
    let kept = Guarded<ScriptedRequest?>(nil)
    let server = try ScriptedServer { connection in
      let request = try connection.readRequest()
      kept.withLock { $0 = request }
      try connection.send(answer)
      if !hangsUp { connection.waitForClose() }
    }
    defer { server.stop() }
    let recorder = bench.run(
      server.url + "/a/../b?c", method: method, fields: fields, body: body, timeouts: timeouts)
    #expect(bench.upstream.activeCalls == 0)
    return (recorder, kept.withLock { $0 })
  }

  @Test func theRequestIsTheCallersAndNothingElse() throws {
    let (recorder, request) = try run(
      ok, fields: [("X-One", "1"), ("x-one", "2"), ("X-Empty", ""), ("Connection", "close"), ("Expect", "x")])
    #expect(recorder.text == "ok")
    let lines = try #require(request?.lines)
    #expect(lines.first == "POST /a/../b?c HTTP/1.1")
    // Beside the caller's, an upgrade is all that libcurl might offer, and only with TLS.
    #expect(lines.dropFirst(2) == ["X-One: 1", "x-one: 2", "X-Empty:", "Content-Length: 1"])
  }

  @Test(arguments: ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]) func methods(_ method: String) throws {
    let bodies = [[]] + (method == "HEAD" ? [] : [[UInt8](repeating: 0x62, count: 3)])
    for body in bodies {
      let (recorder, request) = try run(
        method == "HEAD" ? "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" : ok, method: method, body: body)
      #expect(recorder.ending == .completed)
      #expect(request?.requestLine == "\(method) /a/../b?c HTTP/1.1")
      #expect(request?.body == body)
      let saysZero = body.isEmpty && ["POST", "PUT", "PATCH"].contains(method)
      #expect(request?.values("content-length") == (body.isEmpty ? (saysZero ? ["0"] : []) : ["3"]))
    }
  }

  @Test(arguments: [61_440, 61_441, 700_000]) func bodies(_ size: Int) throws {
    let body = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    let (recorder, request) = try run(ok, body: body)
    #expect(recorder.text == "ok")
    #expect(request?.body == body)
  }

  @Test func answersPassUnchanged() throws {
    let (recorder, _) = try run(
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 Slow\r\nX-A: 1\r\nx-a: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
        + "3\r\nabc\r\n0\r\nX-T: t\r\n\r\n")
    #expect(recorder.ending == .completed)
    #expect(recorder.head?.status == 429)
    #expect(recorder.head?.fields.pairs.map(\.name) == ["X-A", "x-a", "Transfer-Encoding"])
    #expect(recorder.text == "abc")
  }

  @Test(arguments: [
    ("", UpstreamFailure.Kind.resetBeforeResponse), ("HTTP/1.1 200 OK\r\nX: y\r\n", .resetBeforeResponse),
    ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", .truncated),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", .truncated),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", .malformedResponse),
    ("garbage\r\n\r\n", .malformedResponse), ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", .malformedResponse),
    ("HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", .malformedResponse),
  ])
  func failures(_ answer: String, _ kind: UpstreamFailure.Kind) throws {
    let (recorder, _) = try run(answer, hangsUp: true)
    #expect(recorder.failure?.kind == kind, "\(String(describing: recorder.ending))")
    #expect(recorder.failure?.requestMayHaveArrived == true)
  }

  @Test func timeouts() throws {
    let short = UpstreamTimeouts(
      connect: nil, firstByte: .milliseconds(60), idle: .milliseconds(60), total: .seconds(20))
    #expect(try run("", timeouts: short).0.failure?.kind == .firstByteTimedOut)
    let silence = UpstreamTimeouts(
      connect: nil, firstByte: .seconds(20), idle: .milliseconds(60), total: .seconds(20))
    let (silent, _) = try run("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", timeouts: silence)
    #expect(silent.failure?.kind == .idleTimedOut)
    #expect(silent.text == "abc")
  }

  @Test func connectionsAreKeptAndAPostThatMayHaveBeenWorkedOnIsNotSentTwice() throws {
    let bench = try Bench(libcurl: true)
    bench.upstream.moment = 0
    let requests = Guarded(0)
    let server = try ScriptedServer { connection in
      for _ in 0..<3 {
        _ = try connection.readRequest()
        requests.withLock { $0 += 1 }
        try connection.send(ok)
      }
      _ = try connection.readRequest()
      requests.withLock { $0 += 1 }
    }
    defer { server.stop() }
    for _ in 0..<3 { #expect(bench.run(server.url + "/").text == "ok") }
    #expect(server.connections == 1)
    let broken = bench.run(server.url + "/")
    #expect(broken.failure?.kind == .resetBeforeResponse)
    #expect(broken.failure?.requestMayHaveArrived == true)
    #expect(requests.withLock { $0 } == 4)
    // Libcurl may have opened a connection to try again before it learned that it may not; nothing was sent on it.
    #expect(bench.run(server.url + "/", method: "GET").text == "ok")
    #expect(requests.withLock { $0 } == 5)
  }

  /// Nor a third time, where a second was due.
  @Test func aPostOnAConnectionThatDiesAtOnceIsSentOnceMore() throws {
    let bench = try Bench(libcurl: true)
    bench.upstream.moment = .max
    let requests = Guarded(0)
    let server = try ScriptedServer { connection in
      while true {
        _ = try connection.readRequest()
        let number = requests.withLock { count in
          count += 1
          return count
        }
        if number == 2 || number >= 4 { return }
        try connection.send(ok)
      }
    }
    defer { server.stop() }
    for _ in 0..<2 { #expect(bench.run(server.url + "/").text == "ok") }
    #expect(requests.withLock { $0 } == 3)
    #expect(bench.run(server.url + "/").failure?.kind == .resetBeforeResponse)
    #expect(requests.withLock { $0 } == 5)
  }

  @Test func pausesLoseNothing() throws {
    let bench = try Bench(libcurl: true)
    let body = (0..<500_000).map { UInt8(truncatingIfNeeded: $0 &* 13 &+ $0 >> 9) }
    let server = try ScriptedServer { connection in
      _ = try connection.readRequest()
      try connection.send(Array("HTTP/1.1 200 OK\r\nContent-Length: \(body.count)\r\n\r\n".utf8) + body)
      connection.waitForClose()
    }
    defer { server.stop() }
    let recorder = Recorder()
    let call = bench.begin(server.url + "/", body: [UInt8](repeating: 0x61, count: 200_000), events: recorder)
    recorder.onBytes = { call.pause() }
    bench.turn(until: {
      call.resume()
      return recorder.ending != nil
    })
    #expect(recorder.body == body)
    #expect(recorder.violations == [])
  }

  @Test(arguments: ["", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"]) func cancels(_ answer: String) throws {
    let bench = try Bench(libcurl: true)
    let closed = Gate()
    let left = Guarded(false)
    let server = try ScriptedServer { connection in
      _ = try connection.readRequest()
      try connection.send(answer)
      closed.open()
      connection.waitForClose()
      left.withLock { $0 = true }
    }
    defer { server.stop() }
    let recorder = Recorder()
    let call = bench.begin(server.url + "/", events: recorder)
    if !answer.isEmpty { recorder.onBytes = { call.cancel() } }
    bench.turn(until: { server.connections == 1 && (answer.isEmpty || recorder.text == "abc") })
    if answer.isEmpty {
      closed.waitUntilOpenWhile { bench.loop.turn(waiting: false) }
      call.cancel()
    }
    recorder.mustBeSilent = true
    bench.turn(until: { left.withLock { $0 } })
    #expect(recorder.ending == nil && recorder.violations == [])
    #expect(bench.upstream.activeCalls == 0)
  }
}

extension Gate {
  /// Does `work` again and again until the gate is open.
  fileprivate func waitUntilOpenWhile(_ work: () -> Void) {
    while !hasOpened { work() }
  }
}
