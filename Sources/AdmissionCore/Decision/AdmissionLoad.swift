// How much waits and runs, without the rest of a snapshot: cheap enough for every second.

/// What waits and runs at one instant.
public struct AdmissionLoad: Sendable, Equatable {
  /// By `Priority.rawValue`.
  public var queuedByBand: [Int]
  /// Calls that have a permit, by provider; providers without any are missing.
  public var inFlight: [(provider: ProviderID, calls: Int)]

  public init(queuedByBand: [Int], inFlight: [(provider: ProviderID, calls: Int)]) {
    self.queuedByBand = queuedByBand
    self.inFlight = inFlight
  }

  public static func == (left: Self, right: Self) -> Bool {
    left.queuedByBand == right.queuedByBand
      && left.inFlight.elementsEqual(right.inFlight) { $0.provider == $1.provider && $0.calls == $1.calls }
  }
}

extension Admission {
  public func load() -> AdmissionLoad {
    var inFlight: [(provider: ProviderID, calls: Int)] = []
    for index in providers.inForce where providers[index].capacity.permits.running > 0 {
      inFlight.append((providers[index].policy.id, providers[index].capacity.permits.running))
    }
    return AdmissionLoad(queuedByBand: waiting.countByBand, inFlight: inFlight)
  }

  /// All budgets that the policy lists; of the others, the 100 with the most spent.
  public func budgetReadings(at now: Instant) -> [BudgetReading] { book.readings(others: 100, at: now) }
}
