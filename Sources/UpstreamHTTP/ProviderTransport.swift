// The settings of a provider's connections beside its URL: trust, version, proxy, bounds.

/// How to reach one provider. Every default is what a vendor's public API needs.
public struct ProviderTransport: Sendable, Equatable {
  public enum Version: Sendable, Equatable {
    /// Kept-alive connections with one call at a time.
    case http1_1
    /// Several calls per connection where the provider agrees by ALPN. Cleartext URLs stay with HTTP/1.1.
    case http2OverTLS
  }

  /// A PEM file of the certificate authorities to trust instead of the system's; `nil` means the system's.
  public var caFile: String?
  public var httpVersion: Version
  /// The connections that are kept open without a call, per hundred concurrent calls; at least 1.
  public var maxIdleConnections: Int
  /// `nil` follows `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy` as they are when the provider is configured
  /// or first used; an empty text means no proxy; anything else is the proxy's URL.
  public var proxy: String?
  /// The most bytes of all header lines of one answer; with more, the attempt fails as `malformedResponse`.
  public var maxHeaderBytes: Int
  /// The path of a Unix socket, at most 107 bytes, to which all connections go: then the URLs' hosts and ports name no place, and there
  /// is no proxy. `nil` for TCP.
  public var socketPath: String?

  public init(
    caFile: String? = nil, httpVersion: Version = .http1_1, maxIdleConnections: Int = 100, proxy: String? = nil,
    maxHeaderBytes: Int = 128 << 10, socketPath: String? = nil
  ) {
    self.socketPath = socketPath
    self.caFile = caFile
    self.httpVersion = httpVersion
    self.maxIdleConnections = maxIdleConnections
    self.proxy = proxy
    self.maxHeaderBytes = maxHeaderBytes
  }
}
