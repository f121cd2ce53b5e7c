// The name under which the core knows a tenant's key; never the key.

/// The start of a client key's hash, in hexadecimal: enough to tell a tenant's keys apart, nothing to call with.
public struct ClientKeyID: Hashable, Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
  public var name: String
  public init(_ name: String) { self.name = name }
  public init(stringLiteral value: String) { name = value }
  public var description: String { name }
}
