// An upstream that never answers: what these tests ask needs no provider.
import HTTPMessage

final class NoUpstream: Upstream {
  final class Call: UpstreamCall {
    let requestMayHaveArrived = false
    let requestWasSent = false
    func pause() {}
    func resume() {}
    func cancel() {}
  }
  func begin(_ request: UpstreamRequest, events: any UpstreamEvents) -> any UpstreamCall { Call() }
}
