// Questions that the broker asks a checked policy for each request.
import AdmissionCore

extension Policy {
  /// The rules for a tenant of that name: the listed tenant, else one made from the template `*`, else, where the
  /// policy lists no tenants, the tenant `default`. nil where no tenant of that name may call.
  public func tenant(named name: String) -> Tenant? {
    if tenants.isEmpty { return name == "default" ? Tenant(id: name) : nil }
    var template: Tenant?
    for tenant in tenants {
      if tenant.id == "*" {
        template = tenant
      } else if tenant.id == name {
        return tenant
      }
    }
    guard var made = template, name != "*", !name.isEmpty else { return nil }
    made.id = name
    made.keys = []
    return made
  }

  /// The tenant of each client key. Empty where no client key is required.
  public var tenantsByKey: [ClientKeyHash: String] {
    var owners: [ClientKeyHash: String] = [:]
    for tenant in tenants { for key in tenant.keys { owners[key] = tenant.id } }
    return owners
  }

  /// The first route with a glob that matches the model.
  public func route(forModel model: String) -> Route? {
    for route in routes {
      for glob in route.models where glob.matches(model) { return route }
    }
    return nil
  }

  /// The providers that may serve the model, in order of preference; empty where no route matches.
  public func providers(forModel model: String) -> [Provider] {
    route(forModel: model).map { $0.to.compactMap(provider(named:)) } ?? []
  }

  public func provider(named id: String) -> Provider? { providers.first { $0.id == id } }

  /// The provider of calls that name no model: the first one of the last route that has any.
  public var providerWithoutModel: Provider? {
    routes.last { !$0.to.isEmpty }?.to.first.flatMap(provider(named:))
  }

  /// The limits that the policy sets for one model of a provider, beside the provider's own.
  public func modelLimits(of provider: Provider, model: String) -> ModelLimits? {
    provider.modelLimits.first { $0.models.matches(model) }
  }
}

extension Tenant {
  /// True where the tenant may use the model; a list that is empty allows all.
  public func allows(model: String) -> Bool {
    models.isEmpty || models.contains { $0.matches(model) }
  }
}

extension ProviderKey {
  /// True where the key may be used for the model; a list that is empty allows all.
  public func allows(model: String) -> Bool {
    models.isEmpty || models.contains { $0.matches(model) }
  }
}
