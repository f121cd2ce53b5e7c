// `POST /api/v1/log-level`: from which level on the log has messages, until the next change or start.
import BrokerEngine
import PolicyFile
import TextForms

extension AdminConsole {
  static func logLevel(_ level: LogThreshold) -> Reply {
    var json = JSONWriter()
    json.object { $0.member("level", level.rawValue) }
    return .json(json.bytes)
  }

  /// The level stands in the body, `{"level": "debug"}`, or in the query.
  func setLogLevel(_ query: ConsoleQuery, _ body: [UInt8]) -> Reply {
    let words = LogThreshold.allCases.map { ($0.rawValue, $0) }
    do throws(QueryMistake) {
      var level = try query.choice("level", words)
      if level == nil {
        let allowed = words.map(\.0).joined(separator: ", ")
        guard let text = JSONMembers.text("level", in: body) else {
          return .error(400, "give {\"level\": LEVEL}, where LEVEL is one of \(allowed)")
        }
        level = LogThreshold(rawValue: text)
        guard level != nil else { return .error(400, "level: found '\(text)', allowed are \(allowed)") }
      }
      let before = actions.logLevel()
      let after = level ?? before
      actions.setLogLevel(after)
      if after != before {
        broker.changed(
          .log, name: "level", state: .changed, before: before.rawValue, after: after.rawValue, askedBy: "admin")
      }
      return AdminConsole.logLevel(after)
    } catch { return .error(400, error.message) }
  }
}
