// Reads `webhooks:`: whom to tell about what.
//
// Promise: no message shows a webhook's URL, since the paths of such URLs are often the secret.
import TextForms

/// What a webhook can be told about.
public enum WebhookEvent: String, Sendable, CaseIterable {
  /// A budget has reached its `warn_at`, or is used up.
  case budget
  /// A breaker of a provider or of a model has opened or closed.
  case breaker
  /// A provider's key was disabled, or is usable again.
  case key
  /// A client key ends soon.
  case clientKey = "client_key"
  /// An alert of `alerts:` began or ended.
  case queue
  /// A provider answers nothing any more, or again.
  case outage
}

public enum WebhookFormat: String, Sendable, CaseIterable { case json, slack }

public struct Webhook: Sendable, Equatable {
  public var url: String
  /// nil where messages are not signed.
  public var secret: ProviderKey.Source?
  public var events: Set<WebhookEvent> = Set(WebhookEvent.allCases)
  public var format: WebhookFormat = .json
  public init(url: String) { self.url = url }

  /// The URL as it may be shown: scheme, host, port and the beginning of the path.
  public var shownURL: String { Webhook.shown(url) }

  /// The same for any URL: without user, query and all of the path behind its first segment.
  public static func shown(_ url: String) -> String {
    guard let scheme = url.firstRange(of: "://") else { return "…" }
    let rest = url[scheme.upperBound...].prefix { $0 != "?" && $0 != "#" }
    let segments = rest.split(separator: "/", maxSplits: 2, omittingEmptySubsequences: false)
    let authority = segments[0].split(separator: "@", omittingEmptySubsequences: false).last ?? ""
    var shown = url[..<scheme.upperBound] + authority
    if segments.count == 2, !segments[1].isEmpty { shown += "/…" }
    if segments.count > 2 { shown += "/" + segments[1] + "/…" }
    return String(shown)
  }

  /// True where messages cross a network in clear text.
  public var isCleartext: Bool {
    guard url.lowercased().hasPrefix("http://") else { return false }
    let authority = url.dropFirst("http://".count).prefix { $0 != "/" && $0 != "?" }.lowercased()
    let host = authority.hasPrefix("[") ? authority : String(authority.prefix { $0 != ":" })
    let isHere =
      host == "localhost" || host.hasPrefix("[::1]") || IPAddress.octets(ofVersion4: host)?.first == 127
    return !isHere
  }
}

extension PolicyBuilder {
  /// More than anyone needs, and few enough for each to have a queue of its own.
  static let mostWebhooks = 16

  func readWebhooks(_ top: Fields, _ policy: inout Policy) {
    guard let items = top.list("webhooks", of: "webhooks, such as {url: \"https://...\", secret: \"${NAME}\"}") else {
      return
    }
    if items.count > PolicyBuilder.mostWebhooks {
      top.report("webhooks", "\(items.count) webhooks, allowed: \(PolicyBuilder.mostWebhooks) at most")
    }
    var seen: [String: Int] = [:]
    for item in items {
      guard let fields = reader.fields(item.node, item.path, known: ["url", "secret", "events", "format"]) else {
        continue
      }
      var webhook = Webhook(url: "")
      webhook.format = fields.choice("format", WebhookFormat.allCases.map { ($0.rawValue, $0) }) ?? .json
      if let url = webhookURL(fields) {
        webhook.url = url
        if let line = seen.updateValue(item.node.position.line, forKey: url) {
          fields.report("url", "the same as that of the webhook at line \(line), allowed: each URL once")
        }
      }
      // Slack and its like check nothing but the URL.
      if webhook.format == .json || fields["secret"] != nil { webhook.secret = secret(fields) }
      webhook.events = webhookEvents(fields) ?? webhook.events
      policy.webhooks.append(webhook)
    }
  }

  private func webhookURL(_ fields: Fields) -> String? {
    let allowed = "http:// or https:// with a host, a path and maybe a query"
    guard let node = fields.required("url", allowed: allowed) else { return nil }
    guard case .scalar(let text, _) = node.content, !node.isNull else {
      if case .unresolved = node.content { return nil }
      fields.report("url", "found a list or a mapping, allowed: \(allowed)")
      return nil
    }
    let query = text.firstIndex(of: "?") ?? text.endIndex
    if text[query...].utf8.contains(where: { $0 <= 0x20 || $0 >= 0x7F || $0 == UInt8(ascii: "#") }) {
      fields.report("url", "a fragment, blanks, or characters beyond ASCII, allowed: \(allowed)")
      return nil
    }
    switch BaseURL.parse(String(text[..<query]), dialect: nil) {
    case .failure(let flaw):
      fields.report("url", "\(flaw.problem), allowed: \(allowed)")
      return nil
    case .success(let url):
      // A slash at the end belongs to the address here.
      let slash = text[..<query].hasSuffix("/") || !url.text.dropFirst(8).contains("/") ? "/" : ""
      return url.text + slash + text[query...]
    }
  }

  private func webhookEvents(_ fields: Fields) -> Set<WebhookEvent>? {
    let words = WebhookEvent.allCases.map(\.rawValue)
    let allowed = words.joined(separator: ", ")
    guard let items = fields.list("events", of: "events: \(allowed)") else { return nil }
    if items.isEmpty { fields.report("events", "an empty list, allowed: at least one of \(allowed)") }
    var events: Set<WebhookEvent> = []
    for item in items {
      guard let text = reader.scalar(item.node, item.path, allowed: allowed) else { continue }
      guard let event = WebhookEvent(rawValue: text) else {
        let guess = Spelling.nearest(to: text.lowercased(), among: words).map { ", did you mean \"\($0)\"?" } ?? ","
        reader.report(item.node.position, item.path, "found \(item.node.found)\(guess) allowed: \(allowed)")
        continue
      }
      if !events.insert(event).inserted {
        reader.report(item.node.position, item.path, "\(text) is in this list already, allowed: each once")
      }
    }
    return events
  }
}
