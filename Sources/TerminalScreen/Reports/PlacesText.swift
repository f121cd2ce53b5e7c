// How many calls run of how many that may: at providers, models and keys, with limits that were learned.
//
// Promise: what has no limit of its own and is bounded by something else is not shown as if nothing bounded it.

extension StatusText {
  /// `48 of 50, 2 kept for high`; `12 of 40 (2 keys of 20)` where each key has its own limit.
  static func places(_ provider: StatusReport.Provider) -> String {
    guard let limit = provider.concurrencyLimit else {
      return placesOfKeys(provider) ?? "\(provider.inFlight), no limit"
    }
    var text = "\(provider.inFlight) of \(limit)" + learned(provider.learnedConcurrency, provider.policyConcurrency)
    if let kept = provider.reservedPermits?.text, !kept.isEmpty {
      text += ", \(kept.replacing(" for ", with: " kept for "))"
    }
    return text
  }

  /// The places of all keys that are not disabled; nil unless each key has a limit.
  private static func placesOfKeys(_ provider: StatusReport.Provider) -> String? {
    let keys = provider.keys ?? []
    let limits = keys.compactMap(\.concurrencyLimit)
    guard !keys.isEmpty, limits.count == keys.count, let least = limits.min(), let most = limits.max() else {
      return nil
    }
    let enabled = keys.filter { $0.state != "disabled" }
    let all = enabled.reduce(0) { saturated($0, $1.concurrencyLimit ?? 0) }
    let count = enabled.count == keys.count ? "\(keys.count)" : "\(enabled.count) of \(keys.count)"
    // A rest is short, and calls that ran when it began go on.
    let (resting, taught) = (enabled.count { $0.state != "usable" }, keys.count { $0.learnedConcurrency != nil })
    return "\(provider.inFlight) of \(all) (\(count) \(keys.count == 1 ? "key" : "keys") of "
      + (least == most ? "\(least)" : "\(least)-\(most)") + (resting > 0 ? ", \(resting) at rest" : "")
      + (taught > 0 ? ", \(taught) learned)" : ")")
  }

  private static func saturated(_ left: Int, _ right: Int) -> Int {
    let (sum, overflows) = left.addingReportingOverflow(right)
    return overflows ? .max : sum
  }

  /// ` (8 learned, 20 by the policy)`; nothing where nothing was learned.
  private static func learned(_ learned: Int?, _ policy: Int?) -> String {
    guard let learned else { return "" }
    return policy.map { " (\(learned) learned, \($0) by the policy)" } ?? " (learned)"
  }

  /// `3 of 8 (learned)`.
  static func running(_ key: StatusReport.Key) -> String {
    guard let limit = key.concurrencyLimit else { return "\(key.inFlight)" }
    return "\(key.inFlight) of \(limit)" + (key.learnedConcurrency == nil ? "" : " (learned)")
  }

  /// A limit of calls at a time.
  struct OwnLimit {
    var name: String
    var isKey = false
    /// Nil where nobody counts them.
    var running: Int?
    var limit: Int
    var learned: Int?
    var policy: Int?
    var from: String?
    var since: String?
    /// `policy`, or `learned (policy 20)`.
    var by: String { learned == nil ? "policy" : policy.map { "learned (policy \($0))" } ?? "learned" }
    var places: String {
      (running.map { "\($0) of \(limit)" } ?? "\(limit) at most") + StatusText.learned(learned, policy)
    }
  }

  /// The limit of calls at a time of the provider, of its models and of its keys.
  static func limits(_ provider: StatusReport.Provider) -> [OwnLimit] {
    let own = provider.concurrencyLimit.map {
      OwnLimit(
        name: provider.id, running: provider.inFlight, limit: $0, learned: provider.learnedConcurrency,
        policy: provider.policyConcurrency)
    }
    return (own.map { [$0] } ?? []) + ownLimits(provider)
  }

  /// Of all models that have one, and of keys.
  static func ownLimits(_ provider: StatusReport.Provider) -> [OwnLimit] {
    (provider.models ?? []).compactMap { one in
      one.concurrencyLimit.map {
        OwnLimit(
          name: "\(provider.id): \(one.name)", running: one.inFlight, limit: $0, learned: one.learnedConcurrency,
          policy: one.policyConcurrency, from: one.learnedFrom, since: one.learnedSince)
      }
    }
      + (provider.keys ?? []).compactMap { one in
        one.concurrencyLimit.map {
          OwnLimit(
            name: "\(provider.id)/\(one.id)", isKey: true, running: one.inFlight, limit: $0,
            learned: one.learnedConcurrency,
            policy: one.policyConcurrency, from: one.learnedFrom, since: one.learnedSince)
        }
      }
  }

  /// The limits of models, and those of keys that were learned: the others stand with the keys.
  static func ownLimits(_ providers: [StatusReport.Provider], _ page: ReportPage) -> [String] {
    let all = providers.flatMap { provider in
      ownLimits(provider).filter { $0.learned != nil || !$0.isKey }
    }
    guard !all.isEmpty else { return [] }
    let isTaught = all.contains { $0.learned != nil }
    var table = TextTable(
      [all.contains(where: \.isKey) ? "MODEL OR KEY" : "MODEL", "PLACES"] + (isTaught ? ["FROM", "SINCE"] : []),
      whole: [1, 3], spare: ["SINCE", "FROM"])
    for one in all {
      let taught = one.learned == nil ? ["policy", "-"] : [one.from ?? "-", page.time(one.since)]
      table.row([one.name, one.places] + (isTaught ? taught : []))
    }
    return ["", table.text(width: page.width)]
  }
}

/// Which buckets fill at a rate that was learned.
struct TaughtRates {
  private struct Rate: Hashable {
    var name: String
    var what: String
    var value: Int64
  }
  private var all: Set<Rate> = []

  init(_ learned: [StatusReport.Learned]) {
    for one in learned where one.what.hasSuffix("_per_minute") && (one.model == nil || one.key == nil) {
      let name = one.key.map { "\(one.provider)/\($0)" } ?? one.model.map { "\(one.provider): \($0)" } ?? one.provider
      all.insert(Rate(name: name, what: one.what, value: one.value))
    }
  }

  /// - Parameter name: as `StatusText.buckets` names what is limited.
  func contains(_ name: String, _ bucket: StatusReport.Bucket) -> Bool {
    bucket.perMinute.map { all.contains(Rate(name: name, what: bucket.dimension + "_per_minute", value: $0)) } ?? false
  }
}
