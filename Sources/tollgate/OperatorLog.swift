// swift-log's handler for everything but the access log: constant messages with facts as metadata, one line each on
// standard error.
import BrokerEngine
import Foundation
import Logging
import ProcessOutput
import TextForms

struct OperatorLog: LogHandler {
  let isJSON: Bool
  var logLevel: Logger.Level = .info
  var metadata: Logger.Metadata = [:]

  init(format: AccessLogFormat) { isJSON = format == .json }

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
