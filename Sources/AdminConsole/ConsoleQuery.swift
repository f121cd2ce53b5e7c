// The parameters of a question: decoded, and none that is unknown.
import HTTPMessage
import TextForms

/// Why a question is not answered; the message says what is allowed.
struct QueryMistake: Error {
  var message: String
}

/// The parameters of one question or command, by name; each at most once.
struct ConsoleQuery {
  private var given: [String: String] = [:]

  /// - Parameter known: the names that are allowed.
  init(_ head: RequestHead, known: [String]) throws(QueryMistake) {
    for (name, value) in AdminConsole.query(head.target) {
      guard known.contains(name) else {
        let allowed =
          known.isEmpty ? " here: this takes none" : ", allowed \(known.count == 1 ? "is" : "are") \(Self.list(known))"
        throw QueryMistake(
          message: "there is no parameter '\(name)'\(allowed)\(head.isRead ? "" : ", and nothing was done")")
      }
      guard let text = PercentEscapes.strictlyDecoded(value[...]) else {
        throw QueryMistake(message: "\(name): '\(value)' has a wrong escape, %2B stands for +")
      }
      // Which of two values is meant, only the asker knows.
      guard given.updateValue(text, forKey: name) == nil else {
        throw QueryMistake(message: "\(name): it is given more than once, allowed is once")
      }
    }
  }

  /// nil where it was not given.
  subscript(name: String) -> String? { given[name] }

  func choice<Value>(_ name: String, _ words: [(word: String, value: Value)]) throws(QueryMistake) -> Value? {
    guard let text = given[name] else { return nil }
    guard let found = words.first(where: { $0.word == text }) else {
      throw QueryMistake(message: "\(name): found '\(text)', allowed are \(Self.list(words.map(\.word)))")
    }
    return found.value
  }

  func number(_ name: String, _ range: ClosedRange<Int>) throws(QueryMistake) -> Int? {
    guard let text = given[name] else { return nil }
    guard let number = Int(text), range.contains(number) else {
      throw QueryMistake(
        message: "\(name): found '\(text)', allowed is a whole number from \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  private static func list(_ words: [String]) -> String {
    words.count < 2 ? words.joined() : words.dropLast().joined(separator: ", ") + " and " + words[words.count - 1]
  }
}
