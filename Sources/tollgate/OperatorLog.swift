// swift-log's handler for everything but the access log: constant messages with facts as metadata, one line each on
// standard error.
import BrokerEngine
import Foundation
import Logging
import PolicyFile
import ProcessOutput
import SharedState
import TextForms

/// The level from which on the log has messages; changes while the broker runs. Any thread may log.
final class LogLevel: Sendable {
  private let level: Guarded<LogThreshold>

  init(_ level: LogThreshold) { self.level = Guarded(level) }

  var threshold: LogThreshold {
    get { level.withLock { $0 } }
    set { level.withLock { $0 = newValue } }
  }
}

/// Whether the log has a line for each request; on the loop's thread alone, since it is asked for each request.
final class RequestLines {
  private let isOff: Bool
  var threshold: LogThreshold
  var areLogged: Bool { !isOff && (threshold == .debug || threshold == .info) }

  init(isOff: Bool, _ threshold: LogThreshold) {
    self.isOff = isOff
    self.threshold = threshold
  }
}

extension LogThreshold {
  var loggerLevel: Logger.Level {
    switch self {
    case .debug: .debug
    case .info: .info
    case .warning: .warning
    case .error: .error
    }
  }
}

struct OperatorLog: LogHandler {
  let isJSON: Bool
  private let level: LogLevel
  /// The same for all loggers of the process.
  var logLevel: Logger.Level {
    get { level.threshold.loggerLevel }
    // Each level of swift-log has one of ours or lies between two of them.
    set { level.threshold = LogThreshold.allCases.first { $0.loggerLevel >= newValue } ?? .error }
  }
  var metadata: Logger.Metadata = [:]

  init(format: AccessLogFormat, level: LogLevel) {
    isJSON = format == .json
    self.level = level
  }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    let facts = metadata.merging(event.metadata ?? [:]) { _, new in new }.sorted { $0.key < $1.key }
    Terminal.errors.write(
      OperatorLog.line("\(event.level)", "\(event.message)", facts.map { ($0.key, "\($0.value)") }, isJSON: isJSON))
  }

  /// One line with its line feed, stamped with the time of day.
  static func line(_ level: String, _ message: String, _ facts: [(name: String, value: String)], isJSON: Bool)
    -> [UInt8]
  {
    let time = Timestamp.text(Int64(Date().timeIntervalSince1970 * 1e9))
    var line: [UInt8] = []
    if isJSON {
      var json = JSONWriter()
      json.object { json in
        json.member("time", time)
        json.member("level", level)
        json.member("message", message)
        for (name, value) in facts {
          json.key(named: name)
          json.value(value)
        }
      }
      line = json.bytes
      line.append(UInt8(ascii: "\n"))
    } else {
      line.append(contentsOf: "\(time) \(level): \(message)".utf8)
      for (name, value) in facts {
        line.append(contentsOf: " \(name)=".utf8)
        JSONString.append(value, to: &line)
      }
      line.append(UInt8(ascii: "\n"))
    }
    return line
  }
}
