// Which requests a list shows.
import AdmissionCore

/// Which requests a list shows; nil shows all.
public struct RequestFilter {
  public var tenant: String?
  public var session: String?
  public var priority: Priority?
  public var provider: String?

  public init(
    tenant: String? = nil, session: String? = nil, priority: Priority? = nil, provider: String? = nil
  ) {
    self.tenant = tenant
    self.session = session
    self.priority = priority
    self.provider = provider
  }

  func shows(_ record: RequestRecord) -> Bool {
    (tenant == nil || record.tenant == tenant) && (session == nil || record.session == session)
      && (priority == nil || record.priority == priority) && (provider == nil || record.provider == provider)
  }
}
