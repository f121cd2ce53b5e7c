// What the simulation drives: anything that decides like the core, such as the core itself, the naive reference and
// broken schedulers.
import AdmissionCore

/// A decider that the simulation can test. Its members mean the same as those of `Admission`.
public protocol AdmissionSubject {
  init(policy: AdmissionPolicy, seed: UInt64, at now: Instant)
  mutating func handle(_ event: AdmissionEvent, at now: Instant, into actions: inout ActionList)
  var nextDeadline: Instant? { get }
  func snapshot(at now: Instant) -> AdmissionSnapshot
}

extension Admission: AdmissionSubject {}
