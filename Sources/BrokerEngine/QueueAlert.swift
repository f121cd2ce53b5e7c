// The alert about the queue's depth (`alerts:` in the policy), and the rule by which an alert that compares a number with
// limits rises and falls.
//
// Promises: it is raised at the first look at which the number has reached a limit. It falls, or ends, only after `calm`
// in which each look found the number below nine tenths of that limit, so that a number which varies around a limit tells
// it once. Each limit is left by itself: where the number stays near the lower one, the alert does not end. Limits may
// change at any time. Time comes from outside.
import PolicyFile

/// How serious an alert is.
public enum AlertSeverity: String, Sendable, Comparable, CaseIterable {
  case warning, critical

  public static func < (left: Self, right: Self) -> Bool { left == .warning && right == .critical }
}

/// An alert that fires.
public struct FiringAlert: Sendable, Equatable {
  /// `queue_depth` or `ledger`.
  public var name: String
  public var severity: AlertSeverity
  /// Monotonic nanoseconds.
  public var since: UInt64
  public var text: String
}

/// How serious a number is that is compared with two limits.
struct AlertLevel {
  /// Nanoseconds.
  static let calm: UInt64 = 10_000_000_000

  private(set) var severity: AlertSeverity?
  /// When each limit was last reached, or nearly so; monotonic nanoseconds.
  private var lastNear: [AlertSeverity: UInt64] = [:]

  /// - Parameter limit: the number from which on it is so serious; at least 1.
  /// - Returns: true where the severity has changed.
  mutating func look(_ number: Int, at now: UInt64, limit: (AlertSeverity) -> Int) -> Bool {
    let before = severity
    var after: AlertSeverity?
    for one in AlertSeverity.allCases {
      let isReached = number >= limit(one)
      if isReached || (isHeld(one) && Self.isNear(number, limit(one))) { lastNear[one] = now }
      if isReached || (isHeld(one) && now &- (lastNear[one] ?? 0) < Self.calm) { after = one }
    }
    severity = after
    return after != before
  }

  /// True where the number has reached this limit since the alert began.
  private func isHeld(_ one: AlertSeverity) -> Bool { severity.map { one <= $0 } ?? false }

  private static func isNear(_ number: Int, _ limit: Int) -> Bool {
    number * 10 >= limit * 9
  }
}

struct QueueAlert {
  private var level = AlertLevel()
  private(set) var firing: FiringAlert?

  /// - Returns: true where the alert was raised, lowered or ended.
  mutating func look(_ depth: Int, _ limits: QueueAlertLimits, at now: UInt64) -> Bool {
    let hasChanged = level.look(depth, at: now) { $0 == .critical ? limits.critical : limits.warning }
    guard let severity = level.severity else {
      firing = nil
      return hasChanged
    }
    let limit = severity == .critical ? limits.critical : limits.warning
    let waiting = depth == 1 ? "1 request waits" : "\(depth) requests wait"
    firing = FiringAlert(
      name: "queue_depth", severity: severity, since: hasChanged ? now : firing?.since ?? now,
      text: depth >= limit
        ? "\(waiting), \(limit) or more are too many"
        : "\(waiting) now, \(limit) or more were too many")
    return hasChanged
  }
}
