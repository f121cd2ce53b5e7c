// The part of a policy that the core is given.
import AdmissionCore
import PolicyFile

extension Policy {
  /// What the core needs: the generations of secrets in place of the secrets, and which keys are in force at `wall`, in
  /// nanoseconds since 1970.
  func admission(_ secrets: KeySecrets, at wall: Int64) -> AdmissionPolicy {
    var admission = admission
    for (number, provider) in providers.enumerated() {
      for (index, key) in provider.keys.enumerated() {
        admission.providers[number].keys[index].isInForce = KeyStanding(key, at: wall).isInForce
      }
    }
    for provider in admission.providers.indices {
      for key in admission.providers[provider].keys.indices {
        admission.providers[provider].keys[key].secretGeneration = secrets.generation(
          provider: admission.providers[provider].id.name, key: admission.providers[provider].keys[key].id.name)
        admission.providers[provider].keys[key].predecessor = secrets.predecessor(
          provider: admission.providers[provider].id.name, key: admission.providers[provider].keys[key].id.name
        ).map { KeyID($0) }
      }
    }
    return admission
  }
}

extension BrokerRules {
  /// The same for these rules.
  func admission(at wall: Int64) -> AdmissionPolicy { policy.admission(secrets, at: wall) }
}
