// The calls of 190 real coding sessions (Tests/Traces/claude-code-sessions.csv): sizes and times, no text.
import Foundation

/// One call of a session.
struct TracedCall {
  var session: String
  var agent: String
  /// Milliseconds since the start of the session.
  var at: Int64
  /// How long the tool or the person before it took, and how long the provider took.
  var think: Int64
  var api: Int64
  var model: String
  var input: Int64
  /// What of the input a prompt cache could have served, whatever the time between.
  var cached: Int64
  var output: Int64
  var isByUser: Bool
}

enum SessionTraces {
  /// In the order of the file: session by session, each in the order of time.
  static let calls: [TracedCall] = {
    let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appending(path: "Traces/claude-code-sessions.csv")
    guard let text = try? String(contentsOf: file, encoding: .utf8) else { return [] }
    return text.split(separator: "\n").dropFirst().compactMap { line in
      let cells = line.split(separator: ",", omittingEmptySubsequences: false)
      guard cells.count == 11 else { return nil }
      func number(_ cell: Int) -> Int64 { Int64(cells[cell]) ?? 0 }
      return TracedCall(
        session: String(cells[0]), agent: String(cells[1]), at: number(2), think: number(3), api: number(4),
        model: String(cells[5]), input: number(6), cached: number(7), output: number(8), isByUser: cells[9] == "user")
    }
  }()

  /// The same, by session.
  static let sessions: [[TracedCall]] = {
    var sessions: [[TracedCall]] = []
    for call in calls {
      if sessions.last?.first?.session != call.session { sessions.append([]) }
      sessions[sessions.count - 1].append(call)
    }
    return sessions
  }()

  /// 52 sessions of 40 calls or more.
  static let long = Array(sessions.filter { $0.count >= 40 }.prefix(52))
}
