// Remembers the class of each session's last turn, so that calls for which the same person waits can take it
// (docs/reference/headers.md).
//
// Promises: looking up and noting take constant time; a class counts for an hour; at most twice `most` sessions are
// remembered, those that had a turn last, with `mostAgents` agents each. There is no timer: what is too old is not
// found.
import AdmissionCore

struct TurnMemory {
  private struct Key: Hashable, Sendable {
    var tenant: String
    var session: String
  }
  private struct Turn: Sendable {
    var agent: String
    var priority: Priority
    /// Monotonic nanoseconds.
    var at: UInt64
  }

  /// For this long the class of a turn counts, in nanoseconds.
  static let life: UInt64 = 3_600_000_000_000
  /// The sessions of a generation.
  static let most = 4096
  /// The agents of one session that are remembered.
  static let mostAgents = 8

  /// The last turn of each agent, the newest last.
  private var sessions = RecentMap<Key, [Turn]>(most: TurnMemory.most)

  /// Notes a turn.
  /// - Parameters:
  ///   - session: a session without a name has no memory.
  ///   - priority: the class that the turn has.
  mutating func note(tenant: String, session: String, agent: String, _ priority: Priority, at now: UInt64) {
    guard !session.isEmpty else { return }
    let key = Key(tenant: tenant, session: session)
    var turns = sessions[key] ?? []
    turns.removeAll { $0.agent == agent }
    if turns.count >= Self.mostAgents { turns.removeFirst() }
    turns.append(Turn(agent: agent, priority: priority, at: now))
    sessions.set(turns, for: key)
  }

  /// The class of the agent's last turn, else of the session's; nil where there was none within the hour.
  func priority(tenant: String, session: String, agent: String, at now: UInt64) -> Priority? {
    guard !session.isEmpty else { return nil }
    let key = Key(tenant: tenant, session: session)
    guard let turns = sessions[key] else { return nil }
    func isValid(_ turn: Turn) -> Bool { now < turn.at || now - turn.at <= Self.life }
    return (turns.last { $0.agent == agent && isValid($0) } ?? turns.last(where: isValid))?.priority
  }

  /// The number of sessions that are remembered.
  var count: Int { sessions.count }
}
