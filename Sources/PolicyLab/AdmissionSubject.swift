// What the simulation drives: anything that decides like the core. The core itself, the naive reference, and broken
// ones.
import AdmissionCore

/// A decider that the simulation can put under test. Same meaning as the members of `Admission`.
public protocol AdmissionSubject {
  init(policy: AdmissionPolicy, seed: UInt64, at now: Instant)
  mutating func handle(_ event: AdmissionEvent, at now: Instant, into actions: inout ActionList)
  var nextDeadline: Instant? { get }
  func snapshot(at now: Instant) -> AdmissionSnapshot
}

extension Admission: AdmissionSubject {}
