// Whether a provider gets calls, as the status tells it.
import AdmissionCore

extension AdmissionSnapshot.Provider {
  /// `usable`; `cooling` while it has asked for a pause, or all its keys rest; `disabled` where no key can be used until somebody
  /// does something, or a long rest is over.
  public var standing: (state: KeyCondition, until: Instant?, reason: String?) {
    let own = ownStanding
    guard own.state == .usable, !keys.isEmpty, keys.allSatisfy({ $0.state != .usable }) else { return own }
    let cooling = keys.filter { $0.state == .cooling }
    let ends = (cooling.isEmpty ? keys : cooling).compactMap(\.until)
    return (cooling.isEmpty ? .disabled : .cooling, ends.min(), "no_usable_key")
  }

  /// The same whatever its keys are.
  public var ownStanding: (state: KeyCondition, until: Instant?, reason: String?) {
    blockedBecause.map { (.cooling, blockedUntil, $0.rawValue) } ?? (.usable, nil, nil)
  }
}
