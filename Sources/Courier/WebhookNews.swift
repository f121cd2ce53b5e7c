// What a webhook is told, as a value and as bytes: the message, and its signature.
//
// Promise: a message is JSON whatever its names contain, and a Slack message shows them as text.
import PolicyFile
import TextForms

/// Something that webhooks are told.
public struct WebhookNews: Sendable, Equatable {
  public var event: WebhookEvent
  /// Nanoseconds since 1970.
  public var at: Int64
  /// What it is about: `openai/main`, `anthropic`, `acme/day`. News about one subject arrive in their order.
  public var subject: String
  public var state: String
  /// One sentence for people.
  public var text: String

  public init(event: WebhookEvent, at: Int64, subject: String, state: String, text: String) {
    self.event = event
    self.at = at
    self.subject = String(subject.prefix(WebhookNews.longestName))
    self.state = state
    self.text = String(PrintableText.escaped(text).prefix(WebhookNews.longestText))
  }

  /// In characters: names may come from clients.
  private static let longestName = 512
  private static let longestText = 2_048

  /// About how much memory it takes while it waits.
  var size: Int { subject.utf8.count + state.utf8.count + text.utf8.count + 256 }

  /// The body of a message.
  func body(_ format: WebhookFormat, id: String) -> [UInt8] {
    var json = JSONWriter()
    json.object { json in
      switch format {
      case .json:
        json.member("id", id)
        json.member("event", event.rawValue)
        json.member("at", RFC3339.text(at))
        json.member("subject", subject)
        json.member("state", state)
        json.member("text", text)
      case .slack: json.member("text", WebhookNews.escapedForSlack(text))
      }
    }
    return json.bytes
  }

  /// Slack reads `<...>` as links and mentions, and `&` as the start of an entity.
  static func escapedForSlack(_ text: String) -> String {
    var escaped = ""
    for character in text.unicodeScalars {
      switch character {
      case "&": escaped += "&amp;"
      case "<": escaped += "&lt;"
      case ">": escaped += "&gt;"
      // A name of a client's mentions nobody, links nowhere and is set in bold nowhere: what would begin that is broken by a space
      // without width.
      case "@", "[", "]", "*", "~", "`":
        escaped.unicodeScalars.append(character)
        escaped += "\u{200B}"
      case "/" where escaped.hasSuffix(":"): escaped += "\u{200B}/"
      default: escaped.unicodeScalars.append(character)
      }
    }
    return escaped
  }
}

/// Signs a message: `t=UNIX,v1=HEX`, of which the second is the HMAC-SHA256 of the first, a dot and the body.
struct WebhookSignature {
  /// SHA-256.
  var hash: ([UInt8]) -> [UInt8]

  func text(_ body: [UInt8], secret: String, at seconds: Int64) -> String {
    let signed = hmac(Array(secret.utf8), Array("\(seconds).".utf8) + body)
    return "t=\(seconds),v1=\(Hexadecimal.text(signed))"
  }

  /// RFC 2104, with the block of SHA-256.
  private func hmac(_ secret: [UInt8], _ message: [UInt8]) -> [UInt8] {
    let key = secret.count > 64 ? hash(secret) : secret
    let block = key + [UInt8](repeating: 0, count: max(0, 64 - key.count))
    return hash(block.map { $0 ^ 0x5C } + hash(block.map { $0 ^ 0x36 } + message))
  }
}
