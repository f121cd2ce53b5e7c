// The parts of a fleet: groups of similar agents and the calls that they make. Values only.
import AdmissionCore

/// Agents that behave alike.
public struct AgentGroup: Sendable, Equatable {
  /// When an agent makes its next call.
  public enum Pace: Sendable, Equatable {
    /// When the last call is answered, after a think time in milliseconds.
    case backToBack(think: ClosedRange<Int>)
    /// At this interval, whether or not earlier calls are answered.
    case every(milliseconds: Int)
    /// Each agent makes one call only.
    case once
  }

  /// Whether agents wait for their answers.
  public enum Patience: Sendable, Equatable {
    case endless
    /// Leaves this long after it began the call, answered or not.
    case leavesAfter(milliseconds: Int)
    /// Leaves this long after the first byte of the body.
    case leavesAfterFirstByte(milliseconds: Int)
  }

  public var name: String
  public var agents: Int
  public var pace: Pace
  public var patience: Patience = .endless
  /// `x-tollgate-priority`.
  public var priority: String?
  /// `x-tollgate-kind`.
  public var kind: String?
  /// `x-tollgate-tenant`.
  public var tenant: String?
  /// The `x-tollgate-session` of all agents; nil gives each agent its own.
  public var session: String?
  /// Bytes of text in the prompt.
  public var inputBytes: ClosedRange<Int> = 1500...2500
  /// The true length of the answers.
  public var outputTokens: ClosedRange<Int> = 30...30
  /// The cap that the client sends.
  public var outputCap = 200
  /// Milliseconds until the provider's first token.
  public var firstToken = 100
  public var tokensPerSecond = 100
  public var isStream = true
  /// Milliseconds from the start of the run to the first calls.
  public var delay = 0

  public init(name: String, agents: Int, pace: Pace) {
    self.name = name
    self.agents = agents
    self.pace = pace
  }

  /// The same group after a change, for lists of groups.
  func with(_ change: (inout AgentGroup) -> Void) -> AgentGroup {
    var copy = self
    change(&copy)
    return copy
  }
}

extension SeededRandom {
  mutating func pick(_ range: ClosedRange<Int>) -> Int { range.lowerBound + next(below: range.count) }
}
