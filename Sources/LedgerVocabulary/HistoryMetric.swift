// What charts of the past show: the metrics that the ledger keeps, and the labels of their series.

public enum HistoryMetric: String, Sendable, CaseIterable {
  /// How long calls waited for their grant, by class: the wait that half of them, 95 % and 99 % of them did not exceed.
  case waitP50 = "wait_p50"
  case waitP95 = "wait_p95"
  case waitP99 = "wait_p99"
  /// Ended calls by provider and outcome.
  case calls
  /// Tokens by provider and type.
  case tokens
  /// Attempts that the provider answered with 429.
  case refused
  /// Nano-dollars by tenant.
  case cost

  /// Of a wait: how many percent of the waits did not exceed it; nil for other metrics.
  public var percent: Int64? {
    switch self {
    case .waitP50: 50
    case .waitP95: 95
    case .waitP99: 99
    case .calls, .tokens, .refused, .cost: nil
    }
  }
}

/// What a series is of.
public struct HistoryLabel: Sendable, Equatable {
  public var name: String
  public var value: String
  public init(_ name: String, _ value: String) {
    self.name = name
    self.value = value
  }
}
