// A server whose memory is short, on real sockets and over both protocols.
import HTTPMessage
import Testing

@testable import HTTPEndpoint

@Suite struct MemoryShortageTests {
  private func bench(_ limit: Int, timeout: Duration = .milliseconds(200), urgent: String? = nil) throws -> ServerBench
  {
    var limits = EndpointLimits()
    limits.roomTimeout = timeout
    let handler = RecordingHandler.echo()
    handler.urgentPath = urgent
    return try ServerBench(handler, limits: limits, memory: MemoryAccount(limit: limit))
  }

  private func head(_ path: String, _ length: Int) -> String {
    "POST \(path) HTTP/1.1\r\nHost: h\r\nContent-Length: \(length)\r\n\r\n"
  }

  @Test func theYoungestIsRefusedAndTheOldestIsServed() throws {
    let bench = try bench(4 << 20)
    let port = try bench.listen()
    let body = [UInt8](repeating: 1, count: 3 << 20)
    let old = try TestClient(bench, port: port)
    old.send(head("/old", body.count))
    old.send(Array(body[..<(2 << 20)]))
    bench.turn { bench.server.memory.bytes(.bodies) > 2 << 20 }
    let young = try TestClient(bench, port: port)
    young.send(head("/young", body.count))
    young.send(body)
    bench.turn { young.text.contains("HTTP/1.1 503") }
    #expect(young.text.contains("retry-after"))
    #expect(bench.server.memory.total < 3 << 20)
    old.send(Array(body[(2 << 20)...]))
    bench.turn { old.received.count > body.count }
    #expect(old.text.hasPrefix("HTTP/1.1 200"))
    bench.turn { bench.server.memory.total == 0 }
  }

  @Test func neverMoreIsReadThanThereIsRoomFor() throws {
    let bench = try bench(1 << 20, timeout: .seconds(60))
    let port = try bench.listen()
    let clients = try (0..<20).map { _ in try TestClient(bench, port: port) }
    for client in clients {
      client.send(head("/", 1 << 20))
      client.send([UInt8](repeating: 1, count: 1 << 20))
    }
    for _ in 0..<200 { bench.loop.turn(waiting: false) }
    // One read beyond the limit for all, and what comes with a head for each.
    #expect(bench.server.memory.total <= (1 << 20) + (64 << 10) + 20 * 4096)
    // Used as far as it goes: a large body goes on only where there is room for one read.
    #expect(bench.server.memory.room < 64 << 10)
  }

  @Test func smallUrgentBodiesPassAFullServer() throws {
    let bench = try bench(1 << 20, timeout: .seconds(60), urgent: "/urgent")
    let port = try bench.listen()
    let large = try TestClient(bench, port: port)
    large.send(head("/large", 4 << 20))
    large.send([UInt8](repeating: 1, count: 4 << 20))
    bench.turn { bench.server.memory.isFull }
    let body = [UInt8](repeating: 2, count: 40_000)
    let plain = try TestClient(bench, port: port)
    plain.send(head("/plain", body.count))
    plain.send(body)
    let urgent = try TestClient(bench, port: port)
    urgent.send(head("/urgent", body.count))
    urgent.send(body)
    bench.turn { urgent.received.count > body.count }
    #expect(urgent.text.hasPrefix("HTTP/1.1 200"))
    #expect(plain.text.isEmpty)
    // What waited goes on when memory comes back.
    large.leave(resets: true)
    bench.turn { plain.received.count > body.count }
    bench.turn { bench.server.memory.total == 0 }
  }

  @Test func aStreamThatWaitsDoesNotStopTheOthersOfItsConnection() throws {
    let memory = MemoryAccount(limit: 1 << 20)
    let handler = RecordingHandler.echo()
    let intakeBench = SessionBench(handler, http2: true, memory: memory)
    let client = HTTP2TestClient(intakeBench)
    let body = [UInt8](repeating: 1, count: 4 << 20)
    let large = client.request("POST", "/large", fields: [("content-length", "\(body.count)")], body: body)
    client.exchangeBytes()
    #expect(client.answers[large] == nil)
    #expect(memory.isFull && memory.total <= 1 << 20)
    let small = client.request("POST", "/small", body: Array("hello".utf8))
    client.exchangeBytes()
    #expect(client.answers[small]?.body == Array("hello".utf8))
    // Its time is over: it is refused, and nothing is held.
    intakeBench.advance(seconds: 5)
    intakeBench.intake?.review()
    client.exchangeBytes()
    #expect(client.answers[large]?.status == "503")
    #expect(memory.total == 0)
  }
}
