// From an answer, or the lack of one, to a verdict: what it says about provider, key and request. One pure function per source.
import AdmissionCore
import HTTPMessage

public enum VerdictReader {
  /// The verdict of an answer.
  ///
  /// - Parameters:
  ///   - body: as much of it as is known; 64 KiB are plenty. Only errors need one.
  ///   - epochSeconds: the wall clock, for `Retry-After` as a date.
  public static func verdict(
    status: Int, fields: HeaderFields, body: [UInt8], dialect: Dialect, epochSeconds: Int64
  ) -> Verdict {
    switch status {
    case 200..<400: .success
    case 401, 403: .keyRefused
    case 402: .quotaExhausted
    case 429, 498, 529: .throttled(retryAfter: nil)
    case 400..<500: .clientError
    default: .failed
    }
  }

  /// The verdict of an attempt that broke. `answerBegan`: bytes of this attempt have gone to the client.
  public static func verdict(failure: UpstreamFailure, answerBegan: Bool) -> Verdict {
    switch failure.kind {
    case .local: .ownFault
    case .resolveFailed, .connectRefused, .connectTimedOut, .tlsFailed, .proxyFailed, .resetBeforeResponse, .truncated,
      .firstByteTimedOut, .idleTimedOut, .totalTimedOut, .malformedResponse:
      answerBegan ? .truncated : .failed
    }
  }

  /// The verdict of an error that came inside an answer of status 200.
  public static func verdict(inStream error: InStreamError, answerBegan: Bool) -> Verdict {
    answerBegan ? .truncated : .failed
  }
}
