// The upstream in memory tells its listener exactly what a test says, at once.
import HTTPDoubles
import HTTPMessage
import Testing

@Suite struct ScriptedUpstreamTests {
  private final class Listener: UpstreamEvents {
    private(set) var heard: [String] = []
    func upstreamResponded(_ head: ResponseHead) {
      heard.append("\(head.status) \(head.fields.first(named: "a") ?? "-")")
    }
    func upstreamReceived(_ bytes: ArraySlice<UInt8>) { heard.append(String(decoding: bytes, as: UTF8.self)) }
    func upstreamEnded(_ ending: UpstreamEnding) {
      switch ending {
      case .completed: heard.append("completed")
      case .failed(let failure):
        heard.append("\(failure.kind.rawValue) \(failure.requestMayHaveArrived) \(failure.requestWasSent)")
      }
    }
  }

  private static func request(
    _ method: String, _ url: String, _ fields: [(name: String, value: String)], _ body: String
  ) -> UpstreamRequest {
    UpstreamRequest(
      provider: "p", method: method, url: url, fields: HeaderFields(fields), body: Array(body.utf8),
      timeouts: UpstreamTimeouts(connect: nil, firstByte: nil, idle: nil, total: nil))
  }

  @Test func callsAreKeptInTheirOrderAndAnsweredOneByOne() {
    let upstream = ScriptedUpstream()
    let listeners = [Listener(), Listener(), Listener()]
    for (number, listener) in listeners.enumerated() {
      _ = upstream.begin(
        Self.request("POST", "http://h/\(number)", [], "b"), events: listener)
    }
    #expect(upstream.calls.map(\.request.url) == ["http://h/0", "http://h/1", "http://h/2"])
    #expect(upstream.last === upstream.calls[2] && upstream.calls[0].body == "b")
    #expect(listeners.allSatisfy { $0.heard.isEmpty })
    upstream.calls[2].respond(200, [("a", "x")], ["one", "two"])
    upstream.calls[0].respond(204, ends: false)
    upstream.calls[1].fail(.truncated, mayHaveArrived: false, wasSent: true)
    #expect(listeners[2].heard == ["200 x", "one", "two", "completed"])
    #expect(listeners[0].heard == ["204 -"] && listeners[1].heard == ["truncated false true"])
  }

  @Test func itRemembersWhatTheBrokerAskedOfACall() {
    let upstream = ScriptedUpstream()
    let call = upstream.begin(
      Self.request("GET", "http://h", [(name: "k", value: "v")], ""), events: Listener())
    call.pause()
    #expect(upstream.calls[0].isPaused && upstream.calls[0].field("K") == "v")
    call.resume()
    call.cancel()
    #expect(!upstream.calls[0].isPaused && upstream.calls[0].isCancelled)
  }
}
