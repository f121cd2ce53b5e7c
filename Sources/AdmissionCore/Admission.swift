// The admission core: one value that decides which request may go where, and when.

/// Orders to the shells, in the order in which they are to be carried out. Reused between calls so that it does not allocate.
public typealias ActionList = [AdmissionAction]

public struct Admission: Sendable {
  /// - Parameter seed: for jitter and tie-breaks; the same seed and events give the same actions.
  public init(policy: AdmissionPolicy, seed: UInt64, at now: Instant) {}

  /// Takes in one event and appends what follows from it.
  public mutating func handle(_ event: AdmissionEvent, at now: Instant, into actions: inout ActionList) {}

  /// When `deadlineReached` must be sent, unless another event comes first; nil where nothing waits for time.
  public var nextDeadline: Instant? { nil }

  public func snapshot(at now: Instant) -> AdmissionSnapshot {
    AdmissionSnapshot(
      providers: [], tenants: [], queuedByBand: [0, 0, 0], queuedBytes: 0, running: 0, openLeases: 0, queueStorage: 0,
      isDraining: false)
  }

  /// Why a queued request waits right now; nil where it is not queued.
  public func blocker(of request: RequestID, at now: Instant) -> Blocker? { nil }
}
