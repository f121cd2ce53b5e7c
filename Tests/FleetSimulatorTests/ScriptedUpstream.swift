// An upstream in memory whose answers a test gives one by one, and the turning of a loop until a condition holds.
import EventLoop
import HTTPMessage

/// Turns the loop until `isDone`. The alarm ends a turn whose timers were already due at its start: it would wait for ever.
func turn(_ loop: EventLoop, until isDone: () -> Bool) {
  let alarm = LoopTimer(loop) {}
  while !isDone() {
    alarm.schedule(after: .milliseconds(20))
    loop.turn(waiting: true)
  }
}

final class ScriptedUpstream: Upstream {
  final class Call: UpstreamCall {
    let request: UpstreamRequest
    let events: any UpstreamEvents
    private(set) var isCancelled = false
    let requestMayHaveArrived = true
    let requestWasSent = true

    init(_ request: UpstreamRequest, _ events: any UpstreamEvents) {
      self.request = request
      self.events = events
    }

    func pause() {}
    func resume() {}
    func cancel() { isCancelled = true }

    func answer(_ status: Int, _ fields: [(name: String, value: String)] = [], body: String = "{}") {
      events.upstreamResponded(ResponseHead(status: status, fields: HeaderFields(fields)))
      events.upstreamReceived(Array(body.utf8)[...])
      events.upstreamEnded(.completed)
    }

    func fail() {
      events.upstreamEnded(
        .failed(UpstreamFailure(kind: .connectRefused, detail: "test", requestMayHaveArrived: false)))
    }

    var body: String { String(decoding: request.body, as: UTF8.self) }
    func field(_ name: String) -> String? { request.fields.first(named: name) }
  }

  private(set) var calls: [Call] = []

  func begin(_ request: UpstreamRequest, events: any UpstreamEvents) -> any UpstreamCall {
    let call = Call(request, events)
    calls.append(call)
    return call
  }
}
