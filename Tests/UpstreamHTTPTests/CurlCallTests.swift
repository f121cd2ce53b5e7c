// Orders to a running attempt: pause, resume, cancel, and orders given from inside its own events.
import Foundation
import HTTPMessage
import SharedState
import Testing

@testable import UpstreamHTTP

private let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

/// Answers with an endless body and counts what went out.
private final class Flood: Sendable {
  private final class Counter: Sendable {
    let sent = Guarded(0)
    let closed = Guarded(0)
  }
  private let counter: Counter
  let server: ScriptedServer
  var sent: Int { counter.sent.withLock { $0 } }
  var closed: Int { counter.closed.withLock { $0 } }

  init(length: Int? = nil) throws {
    let counter = Counter()
    self.counter = counter
    server = try ScriptedServer { connection in
      defer { counter.closed.withLock { $0 += 1 } }
      _ = try connection.readRequest()
      try connection.send("HTTP/1.1 200 OK\r\n" + (length.map { "Content-Length: \($0)\r\n" } ?? "") + "\r\n")
      let piece = [UInt8](repeating: 0x61, count: 16_384)
      var left = length ?? .max
      while left > 0 {
        try connection.send(Array(piece[..<min(left, piece.count)]))
        counter.sent.withLock { $0 += min(left, piece.count) }
        left -= min(left, piece.count)
      }
    }
  }
  deinit { server.stop() }
}

/// Answers the head and some bytes, then waits for the client to go.
private final class Hanging: Sendable {
  private final class Counter: Sendable { let closed = Guarded(0) }
  private let counter: Counter
  let server: ScriptedServer
  var closed: Int { counter.closed.withLock { $0 } }

  init(_ answer: String) throws {
    let counter = Counter()
    self.counter = counter
    server = try ScriptedServer { connection in
      _ = try connection.readRequest()
      try connection.send(answer)
      connection.waitForClose()
      counter.closed.withLock { $0 += 1 }
    }
  }
  deinit { server.stop() }
}

@Suite struct Orders {
  @Test func pauseStopsTheProviderAndResumeGoesOn() throws {
    let bench = try Bench()
    let size = 64 << 20
    let flood = try Flood(length: size)
    let recorder = Recorder()
    let call = bench.begin(flood.server.url + "/", events: recorder)
    var atPause = 0
    recorder.onBytes = {
      if atPause == 0, recorder.body.count > 100_000 {
        atPause = recorder.body.count
        call.pause()
      }
    }
    bench.turn(until: { atPause > 0 })
    // The provider stands still once the buffers of both sockets are full.
    var before = -1
    var seen = bench.loop.now
    bench.turn(until: {
      if flood.sent != before {
        before = flood.sent
        seen = bench.loop.now
      }
      return bench.loop.now > seen + 100_000_000
    })
    #expect(recorder.body.count - atPause <= 64 << 10)
    #expect(flood.sent < size)
    recorder.onBytes = nil
    recorder.mustBeSilent = true
    call.resume()
    recorder.mustBeSilent = false
    bench.turn(until: { recorder.ending != nil })
    #expect(recorder.ending == .completed)
    #expect(recorder.body.count == size)
    #expect(recorder.violations == [])
  }

  @Test func pauseBeforeTheHead() throws {
    let bench = try Bench()
    let server = try ScriptedServer { connection in
      _ = try connection.readRequest()
      try connection.send(ok)
      connection.waitForClose()
    }
    defer { server.stop() }
    let recorder = Recorder()
    let call = bench.begin(server.url + "/", events: recorder)
    call.pause()
    bench.turn(until: { server.connections == 1 })
    call.resume()
    bench.turn(until: { recorder.ending != nil })
    #expect(recorder.text == "ok")
  }

  @Test func pauseAndResumeAtOnceChangeNothing() throws {
    let bench = try Bench()
    let flood = try Flood(length: 1 << 20)
    let recorder = Recorder()
    let call = bench.begin(flood.server.url + "/", events: recorder)
    recorder.onBytes = {
      call.pause()
      call.resume()
      call.resume()
    }
    bench.turn(until: { recorder.ending != nil })
    #expect(recorder.body.count == 1 << 20)
  }

  /// Each piece pauses; the loop resumes: nothing is lost, doubled or reordered.
  @Test func manyPauses() throws {
    let bench = try Bench()
    let body = (0..<500_000).map { UInt8(truncatingIfNeeded: $0 &* 13 &+ $0 >> 9) }
    let server = try ScriptedServer { connection in
      _ = try connection.readRequest()
      try connection.send(Array("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".utf8))
      for start in stride(from: 0, to: body.count, by: 10_000) {
        let piece = body[start..<min(start + 10_000, body.count)]
        try connection.send(Array(String(piece.count, radix: 16).utf8) + [13, 10] + piece + [13, 10])
      }
      try connection.send("0\r\n\r\n")
      connection.waitForClose()
    }
    defer { server.stop() }
    let recorder = Recorder()
    let call = bench.begin(server.url + "/", events: recorder)
    recorder.onBytes = { call.pause() }
    bench.turn(until: {
      call.resume()
      return recorder.ending != nil
    })
    #expect(recorder.body == body)
    #expect(recorder.violations == [])
  }

  @Test func pausedTimeIsNotSilence() throws {
    let bench = try Bench()
    let gate = Gate()
    let server = try ScriptedServer { connection in
      _ = try connection.readRequest()
      try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
      gate.waitUntilOpen()
      try connection.send("cd")
      connection.waitForClose()
    }
    defer { server.stop() }
    let recorder = Recorder()
    let call = bench.begin(
      server.url + "/",
      timeouts: UpstreamTimeouts(connect: nil, firstByte: nil, idle: .milliseconds(400), total: nil), events: recorder)
    recorder.onBytes = { call.pause() }
    bench.turn(until: { !recorder.body.isEmpty })
    let until = bench.loop.now + 900_000_000
    bench.turn(until: { bench.loop.now > until })
    #expect(recorder.ending == nil)
    recorder.onBytes = nil
    call.resume()
    gate.open()
    bench.turn(until: { recorder.ending != nil })
    #expect(recorder.ending == .completed)
    #expect(recorder.text == "abcd")
  }

  @Test func cancelBeforeTheTurnEndsSendsNothing() throws {
    let bench = try Bench()
    let server = try ScriptedServer { $0.waitForClose() }
    defer { server.stop() }
    let recorder = Recorder()
    bench.begin(server.url + "/", events: recorder).cancel()
    #expect(bench.upstream.activeCalls == 0)
    let other = Recorder()
    let second = bench.begin(server.url + "/", events: other)
    bench.turn(until: { server.connections == 1 })
    second.cancel()
    #expect(recorder.ending == nil && other.ending == nil)
    #expect(server.connections == 1)
  }

  @Test func cancelClosesTheConnectionAndIsSilent() throws {
    let bench = try Bench()
    for answer in ["", "HTTP/1.1 200 OK\r\nX: y", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"] {
      let server = try Hanging(answer)
      let recorder = Recorder()
      let call = bench.begin(server.server.url + "/", events: recorder)
      bench.turn(until: { server.server.connections == 1 && (!answer.hasSuffix("abc") || recorder.text == "abc") })
      recorder.mustBeSilent = true
      call.cancel()
      call.cancel()
      call.pause()
      call.resume()
      #expect(bench.upstream.activeCalls == 0)
      bench.turn(until: { server.closed == 1 })
      #expect(recorder.ending == nil)
      #expect(recorder.violations == [])
    }
  }

  @Test func cancelDuringNameResolutionDoesNotWait() throws {
    let bench = try Bench()
    let recorder = Recorder()
    let call = bench.begin("http://tollgate-test-slow.invalid/", events: recorder)
    bench.loop.turn(waiting: false)
    call.cancel()
    #expect(bench.upstream.activeCalls == 0)
    #expect(recorder.ending == nil)
  }

  @Test(arguments: ["head", "bytes"]) func cancelFromInsideItsOwnEvents(_ place: String) throws {
    let bench = try Bench()
    let flood = try Flood()
    let recorder = Recorder()
    let call = bench.begin(flood.server.url + "/", events: recorder)
    let cancel = {
      call.cancel()
      recorder.mustBeSilent = true
    }
    if place == "head" { recorder.onHead = cancel } else { recorder.onBytes = cancel }
    bench.turn(until: { flood.closed == 1 })
    #expect(recorder.ending == nil)
    #expect(recorder.violations == [])
    #expect(bench.upstream.activeCalls == 0)
  }

  @Test func cancelOfAnotherFromInsideAnEvent() throws {
    let bench = try Bench()
    let hanging = try Hanging("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    let flood = try Flood()
    let victim = Recorder()
    let victimCall = bench.begin(hanging.server.url + "/", events: victim)
    bench.turn(until: { victim.text == "abc" })
    let recorder = Recorder()
    let call = bench.begin(flood.server.url + "/", events: recorder)
    recorder.onBytes = {
      victimCall.cancel()
      victim.mustBeSilent = true
    }
    bench.turn(until: { hanging.closed == 1 })
    call.cancel()
    #expect(victim.ending == nil && victim.violations == [])
    #expect(bench.upstream.activeCalls == 0)
  }

  @Test func beginFromInsideEveryEvent() throws {
    let bench = try Bench()
    let server = try ScriptedServer { connection in
      while true {
        _ = try connection.readRequest()
        try connection.send(ok)
      }
    }
    defer { server.stop() }
    let recorder = Recorder()
    let others = (0..<3).map { _ in Recorder() }
    recorder.onHead = { bench.begin(server.url + "/", events: others[0]) }
    recorder.onBytes = { bench.begin(server.url + "/", events: others[1]) }
    recorder.onEnd = { bench.begin(server.url + "/", events: others[2]) }
    bench.begin(server.url + "/", events: recorder)
    bench.turn(until: { others.allSatisfy { $0.ending == .completed } })
    #expect((others + [recorder]).allSatisfy { $0.text == "ok" && $0.violations == [] })
  }

  @Test func closeFromInsideAnEvent() throws {
    let bench = try Bench()
    let flood = try Flood()
    let recorder = Recorder()
    bench.begin(flood.server.url + "/", events: recorder)
    var isClosing = false
    recorder.onBytes = {
      isClosing = true
      bench.upstream.close()
    }
    bench.turn(until: { isClosing && flood.closed == 1 })
    #expect(recorder.ending == nil)
  }

  /// A thousand attempts, each cancelled at some point of its life: nothing stays, and later calls work.
  @Test func randomCancelsLeaveNothing() throws {
    let bench = try Bench()
    let server = try ScriptedServer { connection in
      while true {
        _ = try connection.readRequest()
        try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        try connection.send([UInt8](repeating: 0x61, count: 100_000))
      }
    }
    defer { server.stop() }
    var seed: UInt64 = 7
    func random(_ bound: UInt64) -> UInt64 {
      seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return (seed >> 33) % bound
    }
    var running: [(any UpstreamCall, Recorder)] = []
    for _ in 0..<1000 {
      let recorder = Recorder()
      let call = bench.begin(
        server.url + "/", body: [UInt8](repeating: 0x62, count: Int(random(3)) * 40_000), events: recorder)
      running.append((call, recorder))
      if random(4) == 0 { recorder.onBytes = { call.cancel() } }
      if random(2) == 0 { bench.loop.turn(waiting: false) }
      if running.count > 20 {
        let (call, recorder) = running.remove(at: Int(random(UInt64(running.count))))
        switch random(3) {
        case 0: call.pause()
        case 1: call.resume()
        default: break
        }
        call.cancel()
        recorder.mustBeSilent = true
      }
    }
    for (call, _) in running { call.cancel() }
    #expect(bench.upstream.activeCalls == 0)
    #expect(bench.run(server.url + "/").body.count == 100_000)
  }
}
