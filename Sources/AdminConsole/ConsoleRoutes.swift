// The table of the API's routes: each path with its methods, and the parameters that each of them takes.
//
// Promise: whoever asks with a parameter that a route does not know is refused, whatever the route: it would be answered,
// or done, as if the parameter had not been there. The health paths and the page's files have no rule: probes and browsers
// add words of their own, and the page reads what stands in its address.

/// A path of the API.
struct ConsoleRoute {
  /// The path below `/api/v1`; `*` stands for any one part.
  let path: [String]
  /// The methods with the names of their parameters. HEAD is as GET.
  let methods: [(method: String, parameters: [String])]

  private init(_ path: String, _ methods: (String, [String])...) {
    self.path = path.split(separator: "/").map(String.init)
    self.methods = methods.map { (method: $0.0, parameters: $0.1) }
  }

  static let all = [
    ConsoleRoute("status", ("GET", [])),
    ConsoleRoute("me", ("GET", [])),
    ConsoleRoute("requests", ("GET", ["state", "tenant", "session", "priority", "provider", "sort", "limit"])),
    ConsoleRoute("requests/*", ("GET", [])),
    ConsoleRoute("sessions", ("GET", ["tenant", "session", "search", "sort", "limit"])),
    ConsoleRoute("budgets", ("GET", [])),
    ConsoleRoute("budgets/raise", ("POST", ["tenant", "budget", "usd", "tokens", "requests", "until"])),
    ConsoleRoute("usage", ("GET", ["by", "since", "until", "bucket", "format"])),
    ConsoleRoute("history", ("GET", ["metric", "since", "until", "step"])),
    ConsoleRoute("audit", ("GET", ["since", "until", "limit"])),
    ConsoleRoute("ledger", ("GET", [])),
    ConsoleRoute("webhooks", ("GET", [])),
    ConsoleRoute("events", ("GET", [])),
    ConsoleRoute("log-level", ("GET", []), ("POST", ["level"])),
    ConsoleRoute("reload", ("POST", [])),
    ConsoleRoute("drain", ("POST", [])),
    ConsoleRoute("keys/*/*/*", ("POST", [])),
    ConsoleRoute("breakers/*/*", ("POST", [])),
  ]

  /// The route of a path; nil where there is none.
  /// - Parameter parts: of the whole path, decoded.
  static func of(_ parts: [String]) -> ConsoleRoute? {
    guard parts.count >= 3, parts[0] == "api", parts[1] == "v1" else { return nil }
    let rest = parts[2...]
    return all.first { route in
      route.path.count == rest.count && zip(route.path, rest).allSatisfy { $0 == "*" || $0 == $1 }
    }
  }

  /// The parameters of a method; nil where the route does not take the method.
  func parameters(_ method: String) -> [String]? {
    methods.first { $0.method == (method == "HEAD" ? "GET" : method) }?.parameters
  }

  var allowed: String { methods.map(\.method).joined(separator: ", ") }
}
