// Who calls: the sessions and their agents that were seen last, with what they run, wait for and have used.
//
// Promises: a request is looked up once, and then counted where it stands; at most `most` agents are known, of one
// session at most `mostAgents` (the others count as one without a name); those that were not seen for the longest time
// are forgotten first, never one with a live request; names are cut nowhere, and those that are too long are not kept.
import AdmissionCore

/// One agent's part of a session.
public struct AgentSums: Sendable {
  /// Empty for a session's main agent.
  public var agent: String
  public var running = 0
  public var waiting = 0
  /// Requests since the start, ended ones included.
  public var requests = 0
  public var inputTokens: Int64 = 0
  public var outputTokens: Int64 = 0
  public var cost = Money.zero
  /// Monotonic nanoseconds.
  public var firstAt: UInt64
  public var lastAt: UInt64

  public init(agent: String, firstAt: UInt64, lastAt: UInt64) {
    self.agent = agent
    self.firstAt = firstAt
    self.lastAt = lastAt
  }
}

/// One session, whole.
public struct SessionSums: Sendable {
  public var tenant: String
  public var session: String
  /// The agent that was seen first comes first.
  public var agents: [AgentSums]

  public init(tenant: String, session: String, agents: [AgentSums]) {
    self.tenant = tenant
    self.session = session
    self.agents = agents
  }
}

/// One agent with its session.
public struct SeatSums: Sendable {
  public var tenant: String
  public var session: String
  public var sums: AgentSums
}

extension SessionSums {
  /// The sessions of some agents, in no order.
  public static func sessions(of seats: [SeatSums]) -> [SessionSums] {
    struct Name: Hashable {
      var tenant: String
      var session: String
    }
    var all: [SessionSums] = []
    var places: [Name: Int] = [:]
    for seat in seats {
      let name = Name(tenant: seat.tenant, session: seat.session)
      if let place = places[name] {
        all[place].agents.append(seat.sums)
      } else {
        places[name] = all.count
        all.append(SessionSums(tenant: seat.tenant, session: seat.session, agents: [seat.sums]))
      }
    }
    for index in all.indices where all[index].agents.count > 1 {
      all[index].agents.sort { ($0.firstAt, $0.agent) < ($1.firstAt, $1.agent) }
    }
    return all
  }
}

final class SessionBook {
  /// The place of one agent's requests.
  final class Seat {
    fileprivate let tenant: String
    fileprivate let session: String
    fileprivate(set) var sums: AgentSums

    fileprivate init(tenant: String, session: String, agent: String, at now: UInt64) {
      self.tenant = tenant
      self.session = session
      sums = AgentSums(agent: agent, firstAt: now, lastAt: now)
    }

    var isIdle: Bool { sums.running == 0 && sums.waiting == 0 }

    func waits() {
      sums.requests += 1
      sums.waiting += 1
    }
    func runs() {
      sums.waiting -= 1
      sums.running += 1
    }
    func waitsAgain() {
      sums.running -= 1
      sums.waiting += 1
    }
    /// - Parameter wasRunning: false where the request still waited.
    func ends(wasRunning: Bool, at now: UInt64) {
      if wasRunning { sums.running -= 1 } else { sums.waiting -= 1 }
      sums.lastAt = now
    }
    /// - Parameter cost: zero where it is unknown.
    func used(_ usage: Usage, _ cost: Money) {
      sums.inputTokens = sums.inputTokens.saturatingAdding(usage.inputTokens.value)
      sums.outputTokens = sums.outputTokens.saturatingAdding(usage.outputTokens.value)
      sums.cost.add(cost)
    }
  }

  private struct Key: Hashable {
    var tenant: String
    var session: String
    var agent: String
  }
  private struct Name: Hashable {
    var tenant: String
    var session: String
  }

  static let mostAgents = 64
  static let longestName = 512

  let most: Int
  private var seats: [Key: Seat] = [:]
  private var agentCounts: [Name: Int] = [:]
  /// Requests of names that are too long count here; it is never shown.
  private let nowhere = Seat(tenant: "", session: "", agent: "", at: 0)

  /// - Parameter most: at least 1.
  init(most: Int = 4096) { self.most = most }

  var count: Int { seats.count }

  func seat(tenant: String, session: String, agent: String, at now: UInt64) -> Seat {
    let key = Key(tenant: tenant, session: session, agent: agent)
    if let known = seats[key] {
      known.sums.lastAt = now
      return known
    }
    let lengths = [tenant, session, agent].map(\.utf8.count)
    guard lengths.allSatisfy({ $0 <= Self.longestName }) else { return nowhere }
    let name = Name(tenant: tenant, session: session)
    if agentCounts[name, default: 0] >= Self.mostAgents, !agent.isEmpty {
      return seat(tenant: tenant, session: session, agent: "", at: now)
    }
    if seats.count >= most { forget() }
    let seat = Seat(tenant: tenant, session: session, agent: agent, at: now)
    seats[key] = seat
    agentCounts[name, default: 0] += 1
    return seat
  }

  /// Forgets a quarter: so that making room costs each newcomer little.
  private func forget() {
    let idle = seats.filter { $0.value.isIdle }.sorted { $0.value.sums.lastAt < $1.value.sums.lastAt }
    for (key, _) in idle.prefix(max(1, most / 4)) {
      seats[key] = nil
      let name = Name(tenant: key.tenant, session: key.session)
      agentCounts[name, default: 1] -= 1
      if agentCounts[name] == 0 { agentCounts[name] = nil }
    }
  }

  /// All agents that are known, in no order. Whoever asks makes sessions of them, on another thread.
  /// - Parameter tenant: nil means every tenant.
  func seats(tenant: String?) -> [SeatSums] {
    var all: [SeatSums] = []
    all.reserveCapacity(tenant == nil ? seats.count : 0)
    for seat in seats.values where tenant == nil || seat.tenant == tenant {
      all.append(SeatSums(tenant: seat.tenant, session: seat.session, sums: seat.sums))
    }
    return all
  }
}
