// Connections: kept alive, found dead, shared out over shards, closed when idle or replaced.
import Foundation
import HTTPMessage
import SharedState
import Testing

@testable import UpstreamHTTP

private let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

private func answering(_ answer: String = ok) throws -> ScriptedServer {
  try ScriptedServer { connection in
    while true {
      _ = try connection.readRequest()
      try connection.send(answer)
    }
  }
}

@Suite struct Connections {
  @Test func oneConnectionServesManyCalls() throws {
    let bench = try Bench()
    let server = try answering()
    defer { server.stop() }
    for _ in 0..<20 { #expect(bench.run(server.url + "/", body: [0x61]).text == "ok") }
    #expect(server.connections == 1)
    #expect(bench.upstream.activeCalls == 0)
  }

  @Test func callsAtOnceGetTheirOwnConnectionsAndKeepThem() throws {
    let bench = try Bench()
    let server = try answering()
    defer { server.stop() }
    for _ in 0..<3 {
      let recorders = (0..<10).map { _ in Recorder() }
      for recorder in recorders { bench.begin(server.url + "/", events: recorder) }
      #expect(bench.upstream.activeCalls == 10)
      bench.turn(until: { recorders.allSatisfy { $0.ending == .completed } })
    }
    #expect(server.connections == 10)
  }

  @Test func moreThanOneShardsWorthOfCalls() throws {
    let bench = try Bench()
    let gate = Gate()
    let server = try ScriptedServer { connection in
      while true {
        _ = try connection.readRequest()
        gate.waitUntilOpen()
        try connection.send(ok)
      }
    }
    defer { server.stop() }
    let recorders = (0..<CurlShard.capacity + 20).map { _ in Recorder() }
    for recorder in recorders { bench.begin(server.url + "/", events: recorder) }
    bench.turn(until: { server.connections == recorders.count })
    #expect(bench.upstream.activeCalls == recorders.count)
    gate.open()
    bench.turn(until: { recorders.allSatisfy { $0.ending == .completed } })
    #expect(recorders.allSatisfy { $0.text == "ok" && $0.violations.isEmpty })
    #expect(bench.upstream.activeCalls == 0)
  }

  @Test func aConnectionThatTheServerClosedMeanwhileIsReplaced() throws {
    let bench = try Bench()
    let closed = Guarded(0)
    let server = try ScriptedServer { connection in
      _ = try connection.readRequest()
      try connection.send(ok)
      shutdown(connection.descriptor, Int32(SHUT_RDWR))
      closed.withLock { $0 += 1 }
    }
    defer { server.stop() }
    for round in 1...5 {
      let recorder = bench.run(server.url + "/", body: [0x61])
      #expect(recorder.ending == .completed)
      bench.turn(until: { closed.withLock { $0 } == round })
    }
    #expect(server.connections == 5)
  }

  private final class Requests: Sendable { let read = Guarded(0) }

  /// A server that answers requests, but hangs up after it has read one of those whose numbers are given, as soon as `gate` is open.
  private func hangingUp(
    at numbers: Set<Int>, _ requests: Requests, answer: String = ok, after gate: Gate? = nil
  ) throws -> ScriptedServer {
    try ScriptedServer { connection in
      while true {
        _ = try connection.readRequest()
        let number = requests.read.withLock { count in
          count += 1
          return count
        }
        if numbers.contains(number) {
          gate?.waitUntilOpen()
          return
        }
        try connection.send(answer)
      }
    }
  }

  @Test(arguments: ["POST", "PATCH"]) func aRequestThatMayHaveArrivedIsNotSentTwice(_ method: String) throws {
    let bench = try Bench()
    let requests = Requests()
    let server = try hangingUp(at: [1], requests)
    defer { server.stop() }
    let recorder = bench.run(server.url + "/", method: method)
    #expect(recorder.failure?.kind == .resetBeforeResponse)
    #expect(recorder.failure?.requestMayHaveArrived == true)
    #expect(requests.read.withLock { $0 } == 1)
  }

  /// A reused connection that dies at once, before a byte of the answer, was closed by the provider meanwhile.
  @Test(arguments: ["GET", "HEAD", "PUT", "DELETE", "POST", "PATCH"])
  func aRequestOnAReusedConnectionThatDiesIsSentOnceMore(_ method: String) throws {
    let bench = try Bench()
    bench.upstream.moment = .max
    let requests = Requests()
    let answer = method == "HEAD" ? "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" : ok
    let server = try hangingUp(at: [2], requests, answer: answer)
    defer { server.stop() }
    #expect(bench.run(server.url + "/", method: method).ending == .completed)
    #expect(bench.run(server.url + "/", method: method).ending == .completed)
    #expect(server.connections == 2)
    #expect(requests.read.withLock { $0 } == 3)
  }

  /// One that dies later was at work on the request, unless sending that twice means the same as once.
  @Test(arguments: [false, true], ["POST", "PATCH", "GET", "PUT"])
  func aRequestThatTheProviderHadTimeForIsNotSentAgain(_ libcurl: Bool, _ method: String) throws {
    let bench = try Bench(libcurl: libcurl)
    bench.upstream.moment = 20_000_000
    let requests = Requests()
    let gate = Gate()
    let server = try hangingUp(at: [2], requests, after: gate)
    defer {
      gate.open()
      server.stop()
    }
    #expect(bench.run(server.url + "/", method: method).ending == .completed)
    let recorder = Recorder()
    bench.begin(server.url + "/", method: method, events: recorder)
    bench.turn(until: { requests.read.withLock { $0 } == 2 })
    let due = bench.loop.now + 2 * bench.upstream.moment
    bench.turn(until: { bench.loop.now > due })
    gate.open()
    bench.turn(until: { recorder.ending != nil })
    if method == "GET" || method == "PUT" {
      #expect(recorder.ending == .completed)
    } else {
      #expect(recorder.failure?.kind == .resetBeforeResponse)
      #expect(recorder.failure?.requestWasSent == true)
      #expect(requests.read.withLock { $0 } == 2)
    }
  }

  /// What the provider has not read whole it cannot have worked on, however long it took.
  @Test func aRequestThatWasNotWhollySentIsSentAgain() throws {
    let bench = try Bench()
    bench.upstream.moment = 20_000_000
    let gate = Gate()
    let heads = Guarded(0)
    let server = try ScriptedServer { connection in
      _ = try connection.readRequest()
      try connection.send(ok)
      // A fresh one has answered with that, and closes.
      guard connection.number == 1 else { return }
      // The next one is larger than all buffers on its way.
      _ = try connection.read(atMost: 100)
      heads.withLock { $0 += 1 }
      gate.waitUntilOpen()
      connection.reset()
    }
    defer {
      gate.open()
      server.stop()
    }
    #expect(bench.run(server.url + "/").ending == .completed)
    let recorder = Recorder()
    bench.begin(server.url + "/", body: [UInt8](repeating: 0x61, count: 32 << 20), events: recorder)
    bench.turn(until: { heads.withLock { $0 } == 1 })
    let due = bench.loop.now + 2 * bench.upstream.moment
    bench.turn(until: { bench.loop.now > due })
    gate.open()
    bench.turn(until: { recorder.ending != nil })
    #expect(recorder.ending == .completed)
    #expect(server.connections == 2)
  }

  @Test(arguments: ["POST", "PATCH"]) func whatWasSentOnceMoreIsNotSentAThirdTime(_ method: String) throws {
    let bench = try Bench()
    bench.upstream.moment = .max
    let requests = Requests()
    let server = try hangingUp(at: [2, 3], requests)
    defer { server.stop() }
    #expect(bench.run(server.url + "/", method: method).ending == .completed)
    let recorder = bench.run(server.url + "/", method: method)
    #expect(recorder.failure?.kind == .resetBeforeResponse)
    #expect(recorder.failure?.requestMayHaveArrived == true)
    #expect(requests.read.withLock { $0 } == 3)
  }

  @Test func newSettingsOpenNewConnections() throws {
    let bench = try Bench()
    let server = try answering()
    defer { server.stop() }
    #expect(bench.run(server.url + "/").ending == .completed)
    bench.upstream.configure(provider: "p", ProviderTransport())
    #expect(bench.run(server.url + "/").ending == .completed)
    #expect(server.connections == 1)
    bench.upstream.configure(provider: "p", ProviderTransport(maxIdleConnections: 5))
    #expect(bench.run(server.url + "/").ending == .completed)
    #expect(server.connections == 2)
  }

  @Test func newSettingsLeaveRunningCallsAlone() throws {
    let bench = try Bench()
    let gate = Gate()
    let server = try ScriptedServer { connection in
      _ = try connection.readRequest()
      gate.waitUntilOpen()
      try connection.send(ok)
    }
    defer { server.stop() }
    let recorder = Recorder()
    bench.begin(server.url + "/", events: recorder)
    bench.turn(until: { server.connections == 1 })
    bench.upstream.configure(provider: "p", ProviderTransport(maxIdleConnections: 5))
    gate.open()
    bench.turn(until: { recorder.ending != nil })
    #expect(recorder.ending == .completed)
  }

  @Test func idleConnectionsAreBounded() throws {
    let bench = try Bench()
    bench.upstream.configure(provider: "p", ProviderTransport(maxIdleConnections: 2))
    let left = Guarded(0)
    let server = try ScriptedServer { connection in
      defer { left.withLock { $0 += 1 } }
      while true {
        _ = try connection.readRequest()
        try connection.send(ok)
      }
    }
    defer { server.stop() }
    let recorders = (0..<10).map { _ in Recorder() }
    for recorder in recorders { bench.begin(server.url + "/", events: recorder) }
    bench.turn(until: { recorders.allSatisfy { $0.ending == .completed } })
    bench.turn(until: { left.withLock { $0 } >= 7 })
    #expect(server.connections == 10)
  }

  @Test func closeEndsEverythingInSilence() throws {
    let bench = try Bench()
    let left = Guarded(0)
    let server = try ScriptedServer { connection in
      _ = try connection.readRequest()
      connection.waitForClose()
      left.withLock { $0 += 1 }
    }
    defer { server.stop() }
    let recorders = (0..<3).map { _ in Recorder() }
    for recorder in recorders { bench.begin(server.url + "/", events: recorder) }
    bench.turn(until: { server.connections == 3 })
    let late = Recorder()
    bench.begin(server.url + "/", events: late)
    bench.upstream.close()
    bench.turn(until: { left.withLock { $0 } == 3 })
    #expect(bench.upstream.activeCalls == 0)
    #expect((recorders + [late]).allSatisfy { $0.ending == nil && $0.head == nil })
  }
}
