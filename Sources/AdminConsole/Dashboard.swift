// The dashboard's files, embedded in the binary, so that the page contacts no other host.

enum Dashboard {
  /// The answer for one of the page's paths; nil for any other path.
  static func reply(_ path: String) -> Reply? {
    switch path {
    case "/": page(PackageResources.dashboard_html)
    case "/dashboard.css": style(PackageResources.dashboard_css)
    case "/views.css": style(PackageResources.views_css)
    case "/api.js": script(PackageResources.api_js)
    case "/charts.js": script(PackageResources.charts_js)
    case "/dashboard.js": script(PackageResources.dashboard_js)
    case "/deeds.js": script(PackageResources.deeds_js)
    case "/do.js": script(PackageResources.do_js)
    case "/elements.js": script(PackageResources.elements_js)
    case "/gauges.js": script(PackageResources.gauges_js)
    case "/now.js": script(PackageResources.now_js)
    case "/place.js": script(PackageResources.place_js)
    case "/story.js": script(PackageResources.story_js)
    case "/tables.js": script(PackageResources.tables_js)
    case "/then.js": script(PackageResources.then_js)
    case "/trouble.js": script(PackageResources.trouble_js)
    case "/who.js": script(PackageResources.who_js)
    case "/why.js": script(PackageResources.why_js)
    case "/words.js": script(PackageResources.words_js)
    default: nil
    }
  }

  /// The page may load only what this console serves, and other pages must not frame it.
  private static let contentSecurityPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    + "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"

  private static func page(_ bytes: [UInt8]) -> Reply { file(bytes, "text/html; charset=utf-8") }
  private static func style(_ bytes: [UInt8]) -> Reply { file(bytes, "text/css; charset=utf-8") }
  private static func script(_ bytes: [UInt8]) -> Reply { file(bytes, "text/javascript; charset=utf-8") }

  private static func file(_ bytes: [UInt8], _ contentType: String) -> Reply {
    var reply = Reply(status: 200, contentType: contentType, body: bytes)
    reply.fields.append((name: "content-security-policy", value: contentSecurityPolicy))
    reply.fields.append((name: "referrer-policy", value: "no-referrer"))
    return reply
  }
}
