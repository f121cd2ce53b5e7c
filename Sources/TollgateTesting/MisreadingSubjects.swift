// Subjects that are correct except that they misread one field of the policy. The checkers of keys and providers must
// catch them.
import AdmissionCore
import PolicyLab

public protocol Misreading: Sendable {
  static func misread(_ policy: AdmissionPolicy, before: AdmissionPolicy?) -> AdmissionPolicy
}

/// Keeps using providers and keys that the policy no longer names.
public enum KeepsWhatWasRemoved: Misreading {
  public static func misread(_ policy: AdmissionPolicy, before: AdmissionPolicy?) -> AdmissionPolicy {
    guard let before else { return policy }
    var policy = policy
    for old in before.providers {
      if let index = policy.providers.firstIndex(where: { $0.id == old.id }) {
        let known = Set(policy.providers[index].keys.map(\.id))
        policy.providers[index].keys += old.keys.filter { !known.contains($0.id) }
      } else {
        policy.providers.append(old)
      }
    }
    return policy
  }
}

/// Allows each key one call more than its quota.
public enum OvershootsKeys: Misreading {
  public static func misread(_ policy: AdmissionPolicy, before: AdmissionPolicy?) -> AdmissionPolicy {
    var policy = policy
    for index in policy.providers.indices where policy.providers[index].quota == .perKey {
      policy.providers[index].limits.concurrency = policy.providers[index].limits.concurrency.map { $0 + 1 }
    }
    return policy
  }
}

/// Opens every breaker at the first failure.
public enum TripsAtOnce: Misreading {
  public static func misread(_ policy: AdmissionPolicy, before: AdmissionPolicy?) -> AdmissionPolicy {
    var policy = policy
    for index in policy.providers.indices { policy.providers[index].breaker.failures = 1 }
    return policy
  }
}

/// Runs only one call at a time, for ever, where the policy asks for a ramp.
public enum NeverRises: Misreading {
  public static func misread(_ policy: AdmissionPolicy, before: AdmissionPolicy?) -> AdmissionPolicy {
    var policy = policy
    for index in policy.providers.indices where policy.providers[index].ramp > .zero {
      policy.providers[index].limits.concurrency = 1
    }
    return policy
  }
}

/// Knows only the first key of each provider, so that a refusal of this key counts as a refusal of all.
public enum KnowsOneKey: Misreading {
  public static func misread(_ policy: AdmissionPolicy, before: AdmissionPolicy?) -> AdmissionPolicy {
    var policy = policy
    for index in policy.providers.indices {
      policy.providers[index].keys = Array(policy.providers[index].keys.prefix(1))
    }
    return policy
  }
}

/// The real core with a misread policy.
public struct MisreadingAdmission<Choice: Misreading>: AdmissionSubject {
  private var core: Admission
  private var last: AdmissionPolicy

  public init(policy: AdmissionPolicy, seed: UInt64, at now: Instant) {
    last = Choice.misread(policy, before: nil)
    core = Admission(policy: last, seed: seed, at: now)
  }
  public mutating func handle(_ event: AdmissionEvent, at now: Instant, into actions: inout ActionList) {
    guard case .policyReplaced(let policy, _, _) = event else { return core.handle(event, at: now, into: &actions) }
    last = Choice.misread(policy, before: last)
    core.handle(.policyReplaced(last), at: now, into: &actions)
  }
  public var nextDeadline: Instant? { core.nextDeadline }
  public func snapshot(at now: Instant) -> AdmissionSnapshot { core.snapshot(at: now) }
}
