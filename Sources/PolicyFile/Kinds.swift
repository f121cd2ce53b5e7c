// The kinds of calls that are known without a policy, and the class of each. A kind says what a call is for: its client
// names it, a rule sets it, or it is read from what an agent says of itself.
import AdmissionCore

public enum Kinds {
  /// A call of the conversation that a person looks at.
  public static let turn = "turn"
  public static let subagent = "subagent"
  /// A subagent for whose answer the conversation waits.
  public static let blockingSubagent = "blocking-subagent"
  /// A call of a run that nobody looks at, such as `claude -p` and `codex exec`.
  public static let headless = "headless"
  public static let review = "review"
  /// Tokens are counted, and nothing is produced.
  public static let count = "count"
  public static let title = "title"
  public static let prewarm = "prewarm"
  /// Other work beside the conversation.
  public static let auxiliary = "auxiliary"
  public static let memory = "memory"
  public static let compaction = "compaction"
  public static let background = "background"

  /// The class of each kind where the policy does not say otherwise.
  public static let builtIn: [String: Priority] = [
    "steer": .high, "follow-up": .normal, "embedding": .normal, background: .low,
    turn: .high, subagent: .normal, blockingSubagent: .normal, headless: .normal, review: .normal, count: .normal,
    title: .low, prewarm: .low, auxiliary: .low, memory: .low, compaction: .low,
  ]

  /// The kinds that take the class of their session's last turn where the policy does not say otherwise.
  public static let inheriting = [compaction]

  /// True for the kinds from which others inherit: the calls that a session is there for.
  public static func isTurn(_ kind: String?) -> Bool { kind == turn || kind == headless }
}
