// Finds the session of a Codex title. Each title has a thread and a session of its own, and nothing in it names the
// conversation; but it follows a person's turn on the same machine within a moment, and both carry the id of the
// installation.
//
// Promises: a title belongs to the newest turn of its installation in the last ten seconds, or to nobody. Where two
// terminals of one person send a prompt within that time, the title may count for the other one: the same person's, low,
// once. What is remembered is bounded.

struct TitleThreads {
  private struct Machine: Hashable {
    var tenant: String
    var installation: String
  }
  private struct Turn {
    var session: String
    /// Monotonic nanoseconds.
    var at: UInt64
  }

  /// For this long a title may follow its turn, in nanoseconds.
  static let window: UInt64 = 10_000_000_000
  /// The installations of a generation.
  static let most = 1024
  private var turns = RecentMap<Machine, Turn>(most: TitleThreads.most)

  /// The number of installations that are remembered.
  var count: Int { turns.count }

  /// Notes a turn of a person.
  mutating func note(tenant: String, installation: String, session: String, at now: UInt64) {
    guard !installation.isEmpty, !session.isEmpty else { return }
    turns.set(Turn(session: session, at: now), for: Machine(tenant: tenant, installation: installation))
  }

  /// The session to which a title belongs; nil where no turn of its installation came before it.
  func session(tenant: String, installation: String, at now: UInt64) -> String? {
    guard !installation.isEmpty, let turn = turns[Machine(tenant: tenant, installation: installation)] else {
      return nil
    }
    return now < turn.at || now - turn.at <= Self.window ? turn.session : nil
  }
}
