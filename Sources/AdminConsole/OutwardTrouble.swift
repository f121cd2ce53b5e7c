// Who does not take what the broker tells: the collector of `otlp:`, and webhooks. Calls do not notice, so an operator is
// told: by the status, and by a line of the log for each change.
import BrokerEngine
import TextForms

/// One of the `problems` of the status that no provider has.
public struct OutwardTrouble: Sendable, Equatable {
  /// `collector_away` or `webhook_away`.
  public var what: String
  /// Nanoseconds since 1970.
  public var since: Int64
  /// For people, without a secret.
  public var text: String

  public init(what: String, since: Int64, text: String) {
    self.what = what
    self.since = since
    self.text = text
  }

  func write(_ json: inout JSONWriter) {
    json.object { json in
      json.member("what", what)
      json.member("severity", AlertSeverity.warning.rawValue)
      json.member("provider", String?.none)
      json.key("keys")
      json.array([String]()) { $0.value($1) }
      json.member("since", time: since)
      json.member("text", text)
    }
  }
}

/// Which changes of one receiver the log tells: each, but no more than `most` in `span`, since a receiver that accepts and
/// refuses in turns would fill it. Time comes from outside.
public struct OutageLines: Sendable {
  public enum Verdict: Sendable, Equatable {
    case told
    /// Told, and the changes after it are not, for a while.
    case toldLast
    case untold
  }

  public static let most = 10
  /// Nanoseconds.
  public static let span: UInt64 = 600_000_000_000
  /// What stands in the last line.
  public static let lastNote = "changes of the next minutes are shown by the status alone"

  /// When the first of the lines that count was written, in monotonic nanoseconds, and how many they are.
  private var began: UInt64 = 0
  private var count = 0

  public init() {}

  public mutating func change(at now: UInt64) -> Verdict {
    if count == 0 || now &- began >= Self.span { (began, count) = (now, 0) }
    guard count < Self.most else { return .untold }
    count += 1
    return count == Self.most ? .toldLast : .told
  }
}
