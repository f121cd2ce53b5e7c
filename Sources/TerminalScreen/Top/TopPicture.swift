// What the broker has last said, and what should be asked next: `tollgate top` asks one question a second at most.

public struct TopPicture: Sendable {
  public var status: StatusReport?
  public var sessions: SessionReport?
  /// The story of the request that is looked at, as `tollgate explain` tells it.
  public var story: (id: String, text: String)?
  /// The last answer for each state that was asked for.
  private var lists: [String: [RequestReport.Entry]] = [:]

  public init() {}

  public mutating func setRequests(_ entries: [RequestReport.Entry], state: String) { lists[state] = entries }

  /// Those of these states. A request that two answers have is shown once, as running.
  func requests(_ states: TopStates) -> [RequestReport.Entry] {
    var seen: Set<String> = []
    return states.names.flatMap { lists[$0] ?? [] }.filter { seen.insert($0.id).inserted }
  }
}

/// A question to the broker.
public enum TopQuestion: Equatable, Sendable {
  /// Of one state, with the exact names of the filter.
  case requests(state: String, [TopFilter.Field: String])
  case sessions(tenant: String?)
  case story(String)
}

/// Which requests the first list shows.
enum TopStates: CaseIterable, Sendable {
  case alive
  case running
  case queued
  case recent

  /// As the API calls them.
  var names: [String] {
    switch self {
    case .alive: ["running", "queued"]
    case .running: ["running"]
    case .queued: ["queued"]
    case .recent: ["recent"]
    }
  }

  var title: String {
    switch self {
    case .alive: "running and waiting"
    case .running: "running"
    case .queued: "waiting"
    case .recent: "ended"
    }
  }
}
