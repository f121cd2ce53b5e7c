// Health checks and preflights, which need no provider. They are answered here and counted, but are not treated as
// requests: they have no outcome, no entry in the list of requests and no line in the log.
import HTTPMessage

enum Probes {
  /// One whole answer.
  struct Answer {
    var status: Int
    var fields = HeaderFields()
    var body: [UInt8] = []
  }

  /// The answer to `OPTIONS`. Where no page asks, it names the methods.
  static func options(_ head: RequestHead, _ sites: SiteRules) -> Answer {
    guard let origin = head.fields.first("origin") else {
      return Answer(status: 204, fields: HeaderFields([(name: "allow", value: CrossOrigin.methods)]))
    }
    guard sites.mayCall(origin: origin) else { return Answer(status: 403) }
    return Answer(status: 204, fields: CrossOrigin.preflight(head, origin: origin))
  }

  /// The answer to a health check: `/`, `/health` or Claude Code's `/api/hello`; nil for all other requests.
  static func presence(_ head: RequestHead, path: Substring, isDraining: Bool) -> Answer? {
    guard head.method == "GET" || head.method == "HEAD" else { return nil }
    let json = HeaderFields([(name: "content-type", value: "application/json")])
    switch path {
    case "/":
      let host = head.authority.isEmpty ? "HOST" : head.authority
      return Answer(
        status: 200, fields: HeaderFields([(name: "content-type", value: "text/plain; charset=utf-8")]),
        body: Array(
          ("Tollgate is running. Give OpenAI SDKs the base URL http://\(host)/v1, and Anthropic's and Google's "
            + "http://\(host).\n").utf8))
    case "/health", "/health/":
      return isDraining
        ? Answer(status: 503, fields: json, body: Array(#"{"status":"draining"}"#.utf8))
        : Answer(status: 200, fields: json, body: Array(#"{"status":"ok"}"#.utf8))
    case "/api/hello", "/api/hello/":
      return Answer(status: 200, fields: json, body: Array(#"{"message":"hello"}"#.utf8))
    default: return nil
    }
  }

  /// True where the client asks for a WebSocket.
  static func isWebSocketUpgrade(_ fields: HeaderFields) -> Bool {
    for index in 0..<fields.count where fields.nameIs("upgrade", at: index) {
      for name in fields.valueBytes(at: index).split(separator: UInt8(ascii: ",")) {
        let word = name.drop { $0 == 0x20 || $0 == 0x09 }.prefix { $0 != 0x20 && $0 != 0x09 && $0 != UInt8(ascii: "/") }
        if word.count == 9, zip(word, "websocket".utf8).allSatisfy({ asciiLowercased($0) == $1 }) { return true }
      }
    }
    return false
  }
}
