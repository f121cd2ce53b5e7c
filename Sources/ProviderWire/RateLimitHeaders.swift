// A provider's own word on its limits, from answer headers of every family. What makes no sense is ignored, never guessed at.
import AdmissionCore
import HTTPMessage

public enum RateLimitHeaders {
  /// The limits that an answer's fields show; nil where they show none.
  ///
  /// - Parameter epochSeconds: the wall clock, for families that give an instant.
  public static func read(_ fields: HeaderFields, dialect: Dialect, epochSeconds: Int64) -> ObservedLimits? { nil }

  /// How long the provider asks to wait; nil where it does not say or says nonsense. 0 up to a day.
  public static func retryAfter(_ fields: HeaderFields, epochSeconds: Int64) -> Span? { nil }
}
