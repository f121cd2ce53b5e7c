// An upstream in memory, for tests: it keeps what it was asked to send, and answers what a test tells it.
//
// Promise: nothing happens by itself. Each event reaches its listener within the call that a test makes.
import HTTPMessage

/// Keeps all calls, in the order in which they began.
public final class ScriptedUpstream: Upstream {
  /// One call, which waits for what the test says.
  public final class Call: UpstreamCall {
    public let request: UpstreamRequest
    public let events: any UpstreamEvents
    public private(set) var isPaused = false
    public private(set) var isCancelled = false
    /// What the provider may have seen of it; a test sets both before the call ends.
    public var requestMayHaveArrived = true
    public var requestWasSent = true

    init(_ request: UpstreamRequest, _ events: any UpstreamEvents) {
      self.request = request
      self.events = events
    }

    public func pause() { isPaused = true }
    public func resume() { isPaused = false }
    public func cancel() { isCancelled = true }

    public var body: String { String(decoding: request.body, as: UTF8.self) }
    public func field(_ name: String) -> String? { request.fields.first(named: name) }

    /// Answers with a head and then these pieces of a body, each by itself.
    /// - Parameter ends: false where the test goes on with it.
    public func respond(
      _ status: Int, _ fields: [(String, String)] = [], _ chunks: [String] = [], ends: Bool = true
    ) {
      events.upstreamResponded(
        ResponseHead(status: status, fields: HeaderFields(fields.map { (name: $0.0, value: $0.1) })))
      for chunk in chunks { events.upstreamReceived(Array(chunk.utf8)[...]) }
      if ends { events.upstreamEnded(.completed) }
    }

    /// Ends the call without an answer.
    public func fail(
      _ kind: UpstreamFailure.Kind = .connectRefused, mayHaveArrived: Bool = true, wasSent: Bool = false
    ) {
      events.upstreamEnded(
        .failed(
          UpstreamFailure(kind: kind, detail: "", requestMayHaveArrived: mayHaveArrived, requestWasSent: wasSent)))
    }
  }

  public private(set) var calls: [Call] = []
  public var last: Call? { calls.last }

  public init() {}

  public func begin(_ request: UpstreamRequest, events: any UpstreamEvents) -> any UpstreamCall {
    let call = Call(request, events)
    calls.append(call)
    return call
  }
}
