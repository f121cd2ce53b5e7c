// Reads `otlp:`: which collector of OpenTelemetry is told of calls, and of how many.
//
// Promise: no message shows a value of `headers`, since these are often secrets.

public struct TelemetrySettings: Sendable, Equatable {
  /// Scheme, host, port and path prefix, without a slash at the end; `/v1/traces` and `/v1/metrics` follow.
  public var endpoint: String
  public var headers: [AddedField] = []
  /// The share of new traces that are told, in basis points.
  public var sample = 1_000
  public init(endpoint: String) { self.endpoint = endpoint }

  /// True where what is told crosses a network in clear text.
  public var isCleartext: Bool { Webhook(url: endpoint).isCleartext }
}

extension PolicyBuilder {
  func readTelemetry(_ top: Fields, _ policy: inout Policy) {
    guard let node = top["otlp"], let fields = reader.fields(node, "otlp", known: ["endpoint", "headers", "sample"])
    else { return }
    let headers = addedFields(fields, setHere: ["content-type", "content-encoding", "user-agent"])
    let sample = fields.share("sample")
    guard let endpoint = collectorEndpoint(fields) else { return }
    var settings = TelemetrySettings(endpoint: endpoint)
    settings.headers = headers
    settings.sample = sample ?? settings.sample
    policy.otlp = settings
  }

  private func collectorEndpoint(_ fields: Fields) -> String? {
    let allowed = "http:// or https:// with a host and maybe a path, such as http://127.0.0.1:4318"
    guard let (text, node) = fields.scalar("endpoint", allowed: allowed, isRequired: true) else { return nil }
    switch BaseURL.parse(text, dialect: nil) {
    case .failure(let flaw):
      fields.report("endpoint", "\(flaw.problem), allowed: \(allowed)")
      return nil
    case .success(let url):
      // Who copies the address of one kind of documents would otherwise get it twice.
      for end in ["/v1/traces", "/v1/metrics"] where url.text.hasSuffix(end) {
        reader.report(
          node.position, fields.path(of: "endpoint"),
          "ends with \(end), allowed: the address before it, since /v1/traces and /v1/metrics are added")
        return nil
      }
      return url.text
    }
  }
}
