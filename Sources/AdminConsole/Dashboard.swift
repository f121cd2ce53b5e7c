// The dashboard's files, embedded in the binary, so that the page contacts no other host.

enum Dashboard {
  /// The answer for one of the page's paths; nil for any other path.
  static func reply(_ path: String) -> Reply? {
    switch path {
    case "/": file(PackageResources.dashboard_html, "text/html; charset=utf-8")
    case "/dashboard.css": file(PackageResources.dashboard_css, "text/css; charset=utf-8")
    case "/dashboard.js": file(PackageResources.dashboard_js, "text/javascript; charset=utf-8")
    default: nil
    }
  }

  private static func file(_ bytes: [UInt8], _ contentType: String) -> Reply {
    var reply = Reply(status: 200, contentType: contentType, body: bytes)
    // The page may load only what this console serves, and other pages must not frame it.
    reply.fields.append(
      (
        name: "content-security-policy",
        value:
          "default-src 'self'; img-src data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
      ))
    reply.fields.append((name: "referrer-policy", value: "no-referrer"))
    return reply
  }
}
