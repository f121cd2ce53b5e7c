// Which failures leave the provider working on the request.
import HTTPMessage

extension UpstreamFailure {
  /// True where the provider has the whole request, and worked on it until the timeout or the end of the connection.
  var isLateAnswer: Bool {
    switch kind {
    case .firstByteTimedOut, .idleTimedOut, .totalTimedOut, .resetBeforeResponse: requestWasSent
    default: false
    }
  }
}
