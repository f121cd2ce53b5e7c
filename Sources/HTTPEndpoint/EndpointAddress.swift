// Where an endpoint listens.

/// A TCP address or a Unix socket's path.
public enum EndpointAddress: Hashable, Sendable, CustomStringConvertible {
  /// `host` is a name or a numeric address, IPv6 without brackets; port 0 takes a free one.
  case tcp(host: String, port: Int)
  case unix(path: String)

  public var description: String {
    switch self {
    case .tcp(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    case .unix(let path): "unix:\(path)"
    }
  }
}

/// Why an endpoint could not be opened, and how to mend it: one line for a person.
public struct EndpointError: Error, CustomStringConvertible, Equatable {
  public let description: String

  init(_ description: String) { self.description = description }
}
