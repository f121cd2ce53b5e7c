// What a new policy changes, in words for the audit. No secret, and of a URL only where it leads.
import AdmissionCore
import PolicyFile
import TextForms

public struct PolicyDifference: Equatable {
  /// How many differences are told one by one, and how many characters of each.
  private static let most = 16
  private static let longest = 200

  /// What was so before and is so now, such as `providers.openai.limits.concurrency: 50`; nil where nothing of it
  /// differs.
  public var before: String?
  public var after: String?

  public init(from old: Policy, to new: Policy) {
    let (old, new) = (PolicyFacts(old).byPath, PolicyFacts(new).byPath)
    let names = Set(old.keys).union(new.keys).filter { path in
      // Of a provider or tenant that comes or goes, what is at its default is not told.
      guard let before = old[path], let after = new[path] else {
        return (old[path] ?? new[path])?.isDefault == false
      }
      return before != after
    }.sorted()
    guard !names.isEmpty else { return }
    func text(_ facts: [String: PolicyFact], beside others: [String: PolicyFact] = [:]) -> String {
      let told = names.prefix(PolicyDifference.most).map { path in
        guard let fact = facts[path] else { return "\(path): none" }
        // Only what is not shown differs.
        let isAnother = others[path]?.text == fact.text
        return "\(path): \(PolicyDifference.cut(fact.text))\(isAnother ? ", another one" : "")"
      }.joined(separator: ", ")
      return names.count > PolicyDifference.most ? told + ", and \(names.count - PolicyDifference.most) more" : told
    }
    before = text(old)
    after = text(new, beside: old)
  }

  private static func cut(_ text: String) -> String {
    text.count > longest ? text.prefix(longest) + "…" : text
  }

  /// A URL without its user, in which a password can stand, and without its query.
  static func address(_ url: String) -> String {
    guard let scheme = url.firstRange(of: "://") else { return "…" }
    let rest = url[scheme.upperBound...].prefix { $0 != "?" && $0 != "#" }
    let authority = rest.prefix { $0 != "/" }
    let host = authority.lastIndex(of: "@").map { authority[authority.index(after: $0)...] } ?? authority
    return String(url[..<scheme.upperBound] + host + rest[authority.endIndex...])
  }
}
