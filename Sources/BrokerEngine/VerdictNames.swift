// How the ends of attempts are called in records and labels, and which of them mean that the provider still works.
import AdmissionCore
import HTTPMessage

extension UpstreamFailure {
  /// True where the provider has the whole request, and worked on it until its time was up or the connection ended.
  var isLateAnswer: Bool {
    switch kind {
    case .firstByteTimedOut, .idleTimedOut, .totalTimedOut, .resetBeforeResponse: requestWasSent
    default: false
    }
  }
}

extension Verdict {
  /// For records and labels.
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
