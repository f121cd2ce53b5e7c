// Reads answers back with a parser that is not the simulator's, and finds values by path.
import Foundation

struct Document {
  private let root: Any

  /// Nil where the text is not JSON.
  init?(_ text: String) {
    guard let value = try? JSONSerialization.jsonObject(with: Data(text.utf8), options: .fragmentsAllowed) else {
      return nil
    }
    root = value
  }

  /// `choices.0.message.content`.
  private func value(_ path: String) -> Any? {
    path.split(separator: ".").reduce(Optional(root)) { value, step in
      if let list = value as? [Any] { return Int(step).flatMap { list.indices.contains($0) ? list[$0] : nil } }
      return (value as? [String: Any])?[String(step)]
    }
  }

  func text(_ path: String) -> String? { value(path) as? String }
  func number(_ path: String) -> Double? { (value(path) as? NSNumber)?.doubleValue }
  func count(_ path: String) -> Int? { (value(path) as? [Any])?.count }
  func isNull(_ path: String) -> Bool { value(path) is NSNull }
}
