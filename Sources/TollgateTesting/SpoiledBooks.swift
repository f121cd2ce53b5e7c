// Shells that falsify the core's account of money, each in one way. The checkers of money must catch each of them.
import AdmissionCore
import PolicyLab

/// One way of falsifying events to the core or its snapshots.
public protocol BookDefect {
  static func spoil(_ policy: inout AdmissionPolicy)
  /// May change the event.
  static func spoil(_ event: inout AdmissionEvent)
  /// An additional event after a grant.
  static func afterGrant(_ count: Int64) -> AdmissionEvent?
}

extension BookDefect {
  public static func spoil(_ policy: inout AdmissionPolicy) {}
  public static func spoil(_ event: inout AdmissionEvent) {}
  public static func afterGrant(_ count: Int64) -> AdmissionEvent? { nil }
}

/// The core behind a shell with a defect.
public struct SpoiledBooks<Defect: BookDefect>: AdmissionSubject {
  private var core: Admission
  private var grants: Int64 = 0

  public init(policy: AdmissionPolicy, seed: UInt64, at now: Instant) {
    var policy = policy
    Defect.spoil(&policy)
    core = Admission(policy: policy, seed: seed, at: now)
  }

  public mutating func handle(_ event: AdmissionEvent, at now: Instant, into actions: inout ActionList) {
    var event = event
    if case .policyReplaced(var policy, let candidates, let asksPast) = event {
      Defect.spoil(&policy)
      event = .policyReplaced(policy, candidates: candidates, asksPast: asksPast)
    }
    Defect.spoil(&event)
    let before = actions.count
    core.handle(event, at: now, into: &actions)
    for action in actions[before...] {
      guard case .grant = action else { continue }
      grants += 1
      if let more = Defect.afterGrant(grants) { core.handle(more, at: now, into: &actions) }
    }
  }

  public var nextDeadline: Instant? { core.nextDeadline }
  public func snapshot(at now: Instant) -> AdmissionSnapshot { core.snapshot(at: now) }
}

public enum BookDefects {
  /// Forgets holds: each grant begins the window again.
  public enum ForgetsHolds: BookDefect {
    public static func afterGrant(_ count: Int64) -> AdmissionEvent? {
      .budgetWindowsBegan(
        [BudgetWindow(.hour), .init(.day)].map {
          BudgetWindowState(window: $0, serial: 1_000_000 + count, end: .distantFuture)
        })
    }
  }

  public enum IgnoresBudgets: BookDefect {
    public static func spoil(_ policy: inout AdmissionPolicy) {
      policy.budgets = []
      for index in policy.tenants.indices { policy.tenants[index].budgets = [] }
    }
  }

  public enum DoublesLimits: BookDefect {
    public static func spoil(_ policy: inout AdmissionPolicy) {
      func doubled(_ rules: [BudgetPolicy]) -> [BudgetPolicy] {
        rules.map { rule in
          var rule = rule
          rule.limit.nanodollars *= 2
          return rule
        }
      }
      policy.budgets = doubled(policy.budgets)
      for index in policy.tenants.indices { policy.tenants[index].budgets = doubled(policy.tenants[index].budgets) }
    }
  }

  public enum PostsNothing: BookDefect {
    public static func spoil(_ event: inout AdmissionEvent) {
      guard case .settled(let lease, var settlement) = event else { return }
      settlement.cost = .zero
      event = .settled(lease, settlement)
    }
  }

  public enum HoldsHalf: BookDefect {
    public static func spoil(_ event: inout AdmissionEvent) {
      guard case .submitted(var ticket) = event else { return }
      for index in ticket.candidates.indices {
        ticket.candidates[index].price?.inputMicroPerToken /= 2
        ticket.candidates[index].price?.outputMicroPerToken /= 2
        ticket.candidates[index].price?.perRequest = .zero
      }
      event = .submitted(ticket)
    }
  }

  /// The hold does not grow while a stream runs.
  public enum NeverTopsUp: BookDefect {
    public static func spoil(_ event: inout AdmissionEvent) {
      guard case .progressed(let lease, var progress) = event else { return }
      progress.outputTokens = 0
      progress.inputTokens = nil
      event = .progressed(lease, progress)
    }
  }

  /// Failed attempts are charged all the same.
  public enum ChargesFailures: BookDefect {
    public static func spoil(_ event: inout AdmissionEvent) {
      guard case .settled(let lease, var settlement) = event, settlement.usage == nil else { return }
      settlement.cost = Money(nanodollars: 77)
      event = .settled(lease, settlement)
    }
  }

  /// Windows never end.
  public enum IgnoresWindows: BookDefect {
    public static func spoil(_ event: inout AdmissionEvent) {
      guard case .budgetWindowsBegan = event else { return }
      event = .budgetWindowsBegan([])
    }
  }
}
