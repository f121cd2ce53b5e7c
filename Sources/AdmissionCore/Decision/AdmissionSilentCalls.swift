// Calls that have run for long without a token: perhaps their provider takes calls and does not answer.

/// A call that has run much longer than others take to their first byte.
public struct SilentCall: Sendable, Equatable {
  public var request: RequestID
  public var provider: ProviderID
  public var waited: Span
  /// Within which nine of ten calls like it have their first byte; nil where too few are known.
  public var usual: Span?

  public init(request: RequestID, provider: ProviderID, waited: Span, usual: Span?) {
    self.request = request
    self.provider = provider
    self.waited = waited
    self.usual = usual
  }
}

extension Admission {
  /// No wait below this is long.
  static let leastSilence = Span.seconds(10)
  /// What is long where too few first bytes are known.
  static let unknownSilence = Span.seconds(60)
  /// How many times the usual wait is long.
  static let silenceFactor: Int64 = 4

  /// The calls without a token so far; a stream may have begun without one. Costs a pass over the running calls.
  public func silentCalls(at now: Instant) -> [SilentCall] {
    var found: [SilentCall] = []
    for index in leases.indices {
      let waited = now - leases[index].began
      guard waited > Self.leastSilence, !leases[index].isAnswering else { continue }
      let lease = leases[index]
      let provider = lease.placement.provider
      let usual = providers[provider].firstBytes.nineOfTen(
        isStream: lease.request.box.ticket.isStream, model: lease.request.model, at: now)
      let long =
        usual.map { Span(nanoseconds: $0.nanoseconds.saturatingMultiplied(by: Self.silenceFactor)) }
        ?? Self.unknownSilence
      guard waited > long else { continue }
      found.append(
        SilentCall(
          request: lease.request.box.ticket.id, provider: providers[provider].policy.id, waited: waited, usual: usual))
    }
    return found
  }
}
