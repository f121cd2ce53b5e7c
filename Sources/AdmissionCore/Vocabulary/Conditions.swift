// The states of keys and breakers, and the reasons for pauses. They stay typed values inside; only the code that writes JSON, metrics, logs or the
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

/// Why a provider, or a model there, gets no calls for a while.
public enum PauseReason: String, Sendable, CaseIterable {
  case slowDown = "told to slow down"
  case away = "unavailable, as the provider said"
  case refusedToKey = "the provider refused it to this key"
}

/// Why a key is in its state.
public enum KeyReason: Sendable, Hashable {
  case usable
  case paused(PauseReason)
  /// One request was refused as unpaid, which says less than two.
  case perhapsUnpaid
  /// One request, or our own free call, was refused.
  case perhapsRefused, refusedInCheck
  case unpaid, refused
  case byOperator
  /// Today is not between the key's dates.
  case notInForce
  /// What the shells say about the key's dates.
  case dates(String)

  /// For people.
  public var text: String {
    switch self {
    case .usable: "usable"
    case .paused(let reason): reason.rawValue
    case .perhapsUnpaid: "one request was refused as unpaid; other keys go first"
    case .perhapsRefused: "refused once, and being checked; other keys go first"
    case .refusedInCheck: "refused when it was checked; other keys go first"
    case .unpaid: "unpaid"
    case .refused: "refused by the provider"
    case .byOperator: "operator"
    case .notInForce: "not valid now"
    case .dates(let sentence): sentence
    }
  }
}

/// What an operator's hand keeps from calls.
public enum ClosedByHand: Sendable, Equatable {
  /// The provider's breaker is open.
  case breaker
  /// All keys of the provider are disabled; these.
  case keys([KeyID])
}
