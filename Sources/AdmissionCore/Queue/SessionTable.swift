// The sessions that have requests here, while the policy limits how many calls one session runs at once.
//
// Sessions of one group count as one. A session is remembered only while one of its requests waits or runs, so it takes
// no more memory than these; without a limit, none is remembered.

/// A session, or a group of sessions.
struct SessionState: SlotElement {
  struct Key: Hashable, Sendable {
    var tenant: TenantIndex
    var name: SessionID
  }
  let key: Key
  /// Calls that run, without free ones.
  fileprivate(set) var running = 0
  /// Requests that wait or run.
  fileprivate var members = 0
  /// The lanes whose heads belong to it.
  fileprivate(set) var lanes: [LaneIndex] = []

  fileprivate init(key: Key) { self.key = key }

  mutating func vacate() { lanes = [] }
}

typealias SessionIndex = Slots<SessionState>.Index

struct SessionTable: Sendable {
  /// nil: sessions run as many calls as they can.
  private(set) var rule: SessionConcurrency?
  private var sessions = Slots<SessionState>()
  private var byKey: [SessionState.Key: SessionIndex] = [:]

  /// The number of sessions that are remembered.
  var count: Int { sessions.count }
  /// The number of sessions that run as many calls as they may.
  var countAtLimit: Int { rule.map { rule in sessions.indices.count { sessions[$0].running >= rule.limit } } ?? 0 }

  /// Forgets all sessions and takes over a rule: requests must enter again.
  mutating func begin(_ rule: SessionConcurrency?) {
    self.rule = rule
    sessions.removeAll()
    byKey = [:]
  }

  /// A request of the session has come; nil where sessions are not limited.
  mutating func enter(_ key: SessionState.Key) -> SessionIndex? {
    guard rule != nil else { return nil }
    let session = byKey[key] ?? insert(key)
    sessions[session].members += 1
    return session
  }

  private mutating func insert(_ key: SessionState.Key) -> SessionIndex {
    let session = sessions.insert(SessionState(key: key))
    byKey[key] = session
    return session
  }

  /// A request of the session is over.
  mutating func leave(_ session: SessionIndex) {
    guard sessions.contains(session) else { return }
    sessions[session].members -= 1
    guard sessions[session].members <= 0 else { return }
    byKey[sessions[session].key] = nil
    sessions.remove(session)
    sessions.trim()
  }

  /// True where the session runs as many calls as it may.
  @inline(__always) func isAtLimit(_ session: SessionIndex) -> Bool {
    guard let rule else { return false }
    return sessions[session].running >= rule.limit
  }

  /// A call begins or ends. Returns true where the session has reached its limit, or is below it again.
  mutating func count(_ change: Int, in session: SessionIndex) -> Bool {
    let wasAtLimit = isAtLimit(session)
    sessions[session].running += change
    return isAtLimit(session) != wasAtLimit
  }

  func lanes(of session: SessionIndex) -> [LaneIndex] { sessions[session].lanes }

  mutating func add(_ lane: LaneIndex, to session: SessionIndex) { sessions[session].lanes.append(lane) }

  mutating func remove(_ lane: LaneIndex, from session: SessionIndex) {
    guard sessions.contains(session), let place = sessions[session].lanes.firstIndex(of: lane) else { return }
    sessions[session].lanes.remove(at: place)
  }
}
