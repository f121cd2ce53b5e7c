// How keys and breakers stand. Values up to the border: only what writes JSON, metrics, logs or the ledger turns them into words.

/// How a key of a provider stands.
public enum KeyCondition: String, Sendable, CaseIterable {
  case usable
  /// It waits for an end that the provider has told or that was reckoned.
  case cooling
  /// Until it is checked, changed, or the operator says so.
  case disabled
}

/// How a breaker stands. Closed is: traffic flows.
public enum BreakerCondition: String, Sendable, CaseIterable {
  case closed
  /// A few calls try whether it is over.
  case halfOpen = "half_open"
  case open
}
