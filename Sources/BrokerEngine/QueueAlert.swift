// The alert about the queue's depth (`alerts:` in the policy).
//
// Promises: it is raised at the first look at which as many requests wait as a threshold says, and lowered only after
// `calm` looks in a row with fewer, so that a depth which varies around a threshold tells it once. Thresholds may change
// at any time.
import PolicyFile

/// How serious an alert is.
public enum AlertSeverity: String, Sendable, Comparable {
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

struct QueueAlert {
  /// Looks are a second apart.
  static let calm = 10

  private(set) var firing: FiringAlert?
  private var calmLooks = 0

  /// - Returns: true where the alert was raised, lowered or ended.
  mutating func look(_ depth: Int, _ limits: QueueAlertLimits, at now: UInt64) -> Bool {
    let severity: AlertSeverity? =
      depth >= limits.critical ? .critical : depth >= limits.warning ? .warning : nil
    let before = firing?.severity
    if let severity, before.map({ $0 <= severity }) ?? true {
      calmLooks = 0
      let limit = severity == .critical ? limits.critical : limits.warning
      let since = before == severity ? firing?.since ?? now : now
      firing = FiringAlert(
        name: "queue_depth", severity: severity, since: since,
        text: "\(depth) requests wait, \(limit) or more are too many")
      return before != severity
    }
    guard let before else { return false }
    calmLooks += 1
    let limit = before == .critical ? limits.critical : limits.warning
    firing?.text = "\(depth) requests wait now, \(limit) or more were too many"
    guard calmLooks >= Self.calm else { return false }
    calmLooks = 0
    guard let severity else {
      firing = nil
      return true
    }
    firing = FiringAlert(
      name: "queue_depth", severity: severity, since: now,
      text: "\(depth) requests wait, \(limits.warning) or more are too many")
    return true
  }
}
