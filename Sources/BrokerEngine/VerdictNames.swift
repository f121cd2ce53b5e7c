// The names of verdicts in records and labels, and which failures leave the provider working on the request.
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
}

extension Verdict {
  /// The name in records and labels.
  public var name: String {
    switch self {
    case .success: "success"
    case .throttled: "throttled"
    case .failed: "failed"
    case .keyRefused: "key_refused"
    case .quotaExhausted: "quota_exhausted"
    case .modelRefused: "model_refused"
    case .clientLeft: "client_left"
    case .clientError: "client_error"
    case .truncated: "truncated"
    case .ownFault: "own_fault"
    }
  }
}
