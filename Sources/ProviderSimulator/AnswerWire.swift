// The form of a model's answer on the wire, for any endpoint: whole, or as frames of a stream.
import TextForms

/// The tokens of one answer as the simulator counts them: `input` includes cached tokens.
struct AnswerUsage {
  var input = 0
  var cacheRead = 0
  var cacheWrite = 0
  /// Of these, what is kept for an hour.
  var cacheWriteHour = 0
  var output = 0
}

/// The facts that every frame of an answer repeats.
struct AnswerFacts {
  /// Unique in this process; ids on the wire are made of it.
  var number: UInt64
  var model: String
  /// Seconds since 1970.
  var created: Int
  var includesUsage = false
  var choices = 1
  var outputCap: Int?

  /// Twelve digits or more, for ids such as `chatcmpl-sim000000000042`.
  var idSuffix: String {
    let digits = String(number)
    return "sim" + String(repeating: "0", count: max(0, 12 - digits.count)) + digits
  }
  var quotedModel: String { JSONString.quoted(model) }
}

/// Makes the bytes of one answer. `text` is the content of a JSON string, already escaped.
protocol AnswerWire {
  /// Frames before the first token. `usage` holds the input only.
  mutating func opening(_ usage: AnswerUsage) -> String
  /// One frame, or one per choice.
  mutating func delta(_ text: String) -> String
  /// Frames after the last token; `isCapped` where the client's cap cut the answer off.
  mutating func closing(_ usage: AnswerUsage, text: String, isCapped: Bool) -> String
  /// An error in the middle of a stream.
  mutating func errorFrame() -> String
  /// The answer without streaming.
  func whole(_ usage: AnswerUsage, text: String, isCapped: Bool) -> String
}

/// The words of which answers are made. Token `n` of an answer is always the same.
enum AnswerText {
  private static let plain = [
    " the", " gate", " opens", " when", " a", " place", " is", " free", " and", " each", " call", " waits", " its",
    " turn",
    " in", " order",
  ]
  /// Characters of two to four bytes, including an escape and a quotation mark.
  private static let unicode = [
    " größe", " 日本", " 🚦", " \\\"zitat\\\"", " naïve", " \\n", " שלום", " 👩‍💻", " \\u00e9", " Привет", " ß", " 한국",
    " \\\\", " é", " 🇩🇪", " ∑",
  ]

  static func tokens(_ range: Range<Int>, unicode isUnicode: Bool) -> String {
    let words = isUnicode ? unicode : plain
    var text = ""
    for index in range { text += words[index % words.count] }
    return text
  }
}
