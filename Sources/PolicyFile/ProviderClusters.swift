// Finds clusters of providers: those that routes connect, directly or through others.
import AdmissionCore

extension [ProviderPolicy] {
  /// The same providers, each with its cluster named by the first of its members.
  func clustered(by routes: [Route]) -> [ProviderPolicy] {
    var leader: [ProviderID: ProviderID] = [:]
    for provider in self { leader[provider.id] = provider.id }
    func find(_ id: ProviderID) -> ProviderID? {
      guard var found = leader[id] else { return nil }
      while let next = leader[found], next != found { found = next }
      return found
    }
    for route in routes {
      let members = route.to.compactMap { find(ProviderID($0)) }
      // The first provider in the policy's order names the cluster, whatever the order of routes.
      guard let first = lazy.compactMap({ find($0.id) }).first(where: { members.contains($0) }) else { continue }
      for member in members { leader[member] = first }
    }
    return map { provider in
      var provider = provider
      provider.cluster = find(provider.id)
      return provider
    }
  }
}
