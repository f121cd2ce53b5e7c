// What a failed transfer means: whether the provider works on the request, and what its breaker tells.
import AdmissionCore
import HTTPMessage

extension UpstreamFailure {
  /// True where the provider has the whole request, and worked on it until the timeout or the end of the connection.
  var isLateAnswer: Bool {
    switch kind {
    case .firstByteTimedOut, .idleTimedOut, .totalTimedOut, .resetBeforeResponse: requestWasSent
    default: false
    }
  }

  /// nil where it is no fault of the provider's.
  var cause: FailureCause? {
    switch kind {
    case .resolveFailed: .nameNotResolved
    case .connectRefused: .connectionRefused
    case .connectTimedOut: .connectTimeout
    case .tlsFailed: .tls
    case .proxyFailed: .proxy
    case .resetBeforeResponse: .connectionLost
    case .truncated: .brokenOff
    case .firstByteTimedOut: .firstByteTimeout
    case .idleTimedOut: .idleTimeout
    case .totalTimedOut: .totalTimeout
    case .malformedResponse: .notHTTP
    case .local: nil
    }
  }
}
