// Which form of the metrics a reader gets, by its `Accept` field.

/// The text forms in which Prometheus reads metrics.
enum MetricsFormat: Equatable, Sendable {
  /// Prometheus' classic text format, 0.0.4.
  case classic
  /// OpenMetrics, with exemplars. The versions differ in name only.
  case openMetrics(version: String)

  var contentType: String {
    switch self {
    case .classic: "text/plain; version=0.0.4; charset=utf-8"
    case .openMetrics(let version): "application/openmetrics-text; version=\(version); charset=utf-8"
    }
  }

  /// The form that the reader likes best of those that we have, the first of equals; the classic one where it names
  /// none of them. Wildcards stand for the classic one, as with Prometheus' own libraries.
  /// - Parameter accept: the values of all `Accept` fields.
  static func wanted(by accept: [String]) -> MetricsFormat {
    var best = (format: MetricsFormat.classic, quality: 0.0)
    for range in accept.flatMap({ $0.split(separator: ",") }) {
      guard let (format, quality) = read(range), quality > best.quality else { continue }
      best = (format, quality)
    }
    return best.format
  }

  /// nil for what we do not have.
  private static func read(_ range: Substring) -> (MetricsFormat, Double)? {
    var parts = range.split(separator: ";", omittingEmptySubsequences: false).map(trimmed)[...]
    let type = parts.popFirst()?.lowercased()
    var version: String?
    var quality = 1.0
    for part in parts {
      let pair = part.split(separator: "=", maxSplits: 1).map(trimmed)
      guard pair.count == 2 else { continue }
      switch pair[0].lowercased() {
      case "version": version = pair[1].filter { $0 != "\"" }
      case "q": quality = Double(pair[1]).flatMap { (0...1).contains($0) ? $0 : nil } ?? 0
      default: continue
      }
    }
    switch (type, version) {
    case ("application/openmetrics-text", nil): return (.openMetrics(version: "1.0.0"), quality)
    case ("application/openmetrics-text", "1.0.0"?), ("application/openmetrics-text", "0.0.1"?):
      return (.openMetrics(version: version ?? ""), quality)
    case ("text/plain", nil), ("text/plain", "0.0.4"?), ("text/*", _), ("*/*", _): return (.classic, quality)
    default: return nil
    }
  }

  private static func trimmed(_ text: Substring) -> String {
    var text = text
    while text.first == " " || text.first == "\t" { text.removeFirst() }
    while text.last == " " || text.last == "\t" { text.removeLast() }
    return String(text)
  }
}
