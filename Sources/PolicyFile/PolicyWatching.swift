// How the broker is watched: `alerts` and `log` of the policy.

/// From how many waiting requests on the queue is too deep.
public struct QueueAlertLimits: Sendable, Equatable {
  /// At least 1.
  public var warning = 50
  /// At least `warning`.
  public var critical = 200
  public init() {}
}

public struct AlertSettings: Sendable, Equatable {
  public var queue = QueueAlertLimits()
  public init() {}
}

/// The least serious messages that the log has.
public enum LogThreshold: String, Sendable, CaseIterable { case debug, info, warning, error }

/// The form of the log's lines.
public enum LogForm: String, Sendable, CaseIterable {
  case text, json
  /// As text, without lines about requests.
  case off
}

public struct LogSettings: Sendable, Equatable {
  /// nil where the policy does not say.
  public var format: LogForm?
  public var level: LogThreshold?
  public init() {}
}

extension PolicyBuilder {
  func readWatching(_ top: Fields, _ policy: inout Policy) {
    readAlerts(top, &policy)
    guard let node = top["log"], let log = reader.fields(node, "log", known: ["format", "level"]) else { return }
    policy.log.format = log.choice("format", LogForm.allCases.map { ($0.rawValue, $0) })
    policy.log.level = log.choice("level", LogThreshold.allCases.map { ($0.rawValue, $0) })
  }

  private func readAlerts(_ top: Fields, _ policy: inout Policy) {
    guard let node = top["alerts"], let alerts = reader.fields(node, "alerts", known: ["queue"]),
      let inner = alerts["queue"],
      let queue = reader.fields(inner, "alerts.queue", known: ["warning", "critical"])
    else { return }
    let range: ClosedRange<Int64> = 1...1_000_000
    let warning = queue.integer("warning", range).map { Int($0) }
    let critical = queue.integer("critical", range).map { Int($0) }
    // One number moves the other where the defaults would contradict it.
    policy.alerts.queue.warning = warning ?? min(policy.alerts.queue.warning, critical ?? .max)
    policy.alerts.queue.critical = critical ?? max(policy.alerts.queue.critical, warning ?? 0)
    if let warning, let critical, critical < warning, let node = queue["critical"] {
      reader.report(
        node.position, "alerts.queue.critical", "found \(node.found), allowed: at least warning, which is \(warning)")
    }
  }
}
