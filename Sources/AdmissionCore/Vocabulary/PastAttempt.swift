// What is told to a core that starts again, of calls that were under way a moment ago.

/// What the books know about an attempt of the last minutes, for limiters that start again.
public struct PastAttempt: Sendable, Equatable {
  public var request: RequestID
  /// How long ago it was sent.
  public var age: Span
  public var tenant: TenantID
  public var provider: ProviderID
  public var key: KeyID?
  public var model: String
  /// What it used, or what was reserved for it where its end is not known.
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
