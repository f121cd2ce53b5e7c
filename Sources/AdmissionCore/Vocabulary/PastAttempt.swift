// What a core is told, at its start, about calls that an earlier process made a moment ago.

/// What the ledger knows about an attempt of the last minutes; limiters begin with it.
public struct PastAttempt: Sendable, Equatable {
  public var request: RequestID
  /// How long ago the attempt was sent.
  public var age: Span
  public var tenant: TenantID
  public var provider: ProviderID
  public var key: KeyID?
  public var model: String
  /// What the attempt used, or what was reserved for it where its end is not known.
  public var usage: Usage

  public init(
    request: RequestID, age: Span, tenant: TenantID, provider: ProviderID, key: KeyID? = nil, model: String,
    usage: Usage
  ) {
    self.request = request
    self.age = age
    self.tenant = tenant
    self.provider = provider
    self.key = key
    self.model = model
    self.usage = usage
  }
}
