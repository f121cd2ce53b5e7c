// Providers that take calls and do not answer, told long before the calls are given up.
import AdmissionCore

/// Calls of one provider that wait much longer than usual for their first byte.
public struct SlowStart: Sendable, Equatable {
  public var provider: ProviderID
  public var calls: Int
  /// Of the one that has waited longest.
  public var longest: Span
  /// Within which nine of ten calls like that one have their first byte; nil where too few are known.
  public var usual: Span?

  /// - Parameter isSilent: false where the call's answer has begun.
  static func all(_ calls: [SilentCall], isSilent: (RequestID) -> Bool) -> [SlowStart] {
    var found: [SlowStart] = []
    for call in calls where isSilent(call.request) {
      let index = found.firstIndex { $0.provider == call.provider } ?? found.count
      if index == found.count {
        found.append(SlowStart(provider: call.provider, calls: 0, longest: .zero, usual: nil))
      }
      found[index].calls += 1
      if call.waited > found[index].longest { (found[index].longest, found[index].usual) = (call.waited, call.usual) }
    }
    return found
  }
}
