// The states of keys and breakers. They stay typed values inside; only the code that writes JSON, metrics, logs or the
// ledger turns them into words.

/// The state of a provider's key.
public enum KeyCondition: String, Sendable, CaseIterable {
  case usable
  /// Not used until an instant that the provider has told or that was computed.
  case cooling
  /// Not used until a check succeeds, the secret changes, or the operator enables it.
  case disabled
}

/// The state of a breaker. Closed means that traffic flows.
public enum BreakerCondition: String, Sendable, CaseIterable {
  case closed
  /// A few calls try whether the trouble is over.
  case halfOpen = "half_open"
  case open
}
