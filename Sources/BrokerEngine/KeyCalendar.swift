// The calendar side of upstream keys: `valid_from` and `expires`, for a planned change of keys with an overlap.
//
// Promises: a key is used from `valid_from` until `expires`, to the second while the clock is right, and within a
// minute after a clock was set; running calls are finished; an end is announced 14 days, 3 days and 1 day before it,
// and at each start of the broker within that time. Where no key has dates, nothing is computed and no timer runs.
import AdmissionCore
import EventLoop
import PolicyFile
import TextForms

/// The state of a key by its dates.
public enum KeyStanding: Sendable, Equatable {
  case inForce
  /// The key expires within this many days: 14, 3 or 1.
  case ending(withinDays: Int64, at: WallInstant)
  case notYet(WallInstant)
  case expired(WallInstant)

  private static let day: Int64 = 86_400_000_000_000

  init(_ key: ProviderKey, at wall: Int64) {
    self = .inForce
    if let from = key.validFrom, wall < from.nanoseconds {
      self = .notYet(from)
    } else if let end = key.expires {
      if wall >= end.nanoseconds {
        self = .expired(end)
      } else if let days = [1, 3, 14].first(where: { wall >= end.nanoseconds - $0 * KeyStanding.day }) {
        self = .ending(withinDays: days, at: end)
      }
    }
  }

  var isInForce: Bool {
    switch self {
    case .inForce, .ending: true
    case .notYet, .expired: false
    }
  }

  /// Why the key is not used; nil where it may be used.
  public var reason: String? {
    switch self {
    case .inForce, .ending: nil
    case .notYet(let from): "not valid before \(Timestamp.text(from.nanoseconds))"
    case .expired(let end): "expired at \(Timestamp.text(end.nanoseconds))"
    }
  }

  /// What the operator is told when a key enters this state.
  fileprivate var news: (state: KeyCondition, reason: String) {
    switch self {
    case .inForce: (.usable, "valid now")
    case .ending(let days, let end):
      (.usable, "expires at \(Timestamp.text(end.nanoseconds)), in less than \(days == 1 ? "a day" : "\(days) days")")
    case .notYet, .expired: (.disabled, reason ?? "")
    }
  }

  /// When the key's state changes next after `wall`; nil where it does not change.
  static func nextChange(of key: ProviderKey, after wall: Int64) -> Int64? {
    let ends = key.expires.map { end in [14, 3, 1, 0].map { end.nanoseconds - $0 * day } } ?? []
    return (ends + [key.validFrom?.nanoseconds].compactMap { $0 }).filter { $0 > wall }.min()
  }
}

final class KeyCalendar {
  /// A change of a key's state.
  struct Change {
    var provider: String
    var key: String
    var state: KeyCondition
    var reason: String
    /// True where the key has just become valid.
    var begins: Bool
  }

  private struct Name: Hashable {
    var provider: String
    var key: String
  }
  /// The states of keys with dates, as last reported.
  private var standings: [Name: KeyStanding] = [:]
  /// Whether each key may be used, as the core was last told.
  private var admitted: [Name: Bool] = [:]
  private var keys: [(name: Name, key: ProviderKey)] = []
  private let wall: () -> Int64
  /// Called with the keys whose state has changed. `isOther`: true where the core must be told.
  private let tell: (_ changes: [Change], _ isOther: Bool) -> Void
  private var timer: LoopTimer?

  init(
    loop: EventLoop?, wall: @escaping () -> Int64, tell: @escaping (_ changes: [Change], _ isOther: Bool) -> Void
  ) {
    self.wall = wall
    self.tell = tell
    if let loop { timer = LoopTimer(loop) { [unowned self] in check() } }
  }

  /// A new policy may have other keys. Their states are reported in the loop's next turn.
  /// - Parameter told: the wall time by which the core was told which keys may be used.
  func policyChanged(_ policy: Policy, told: Int64) {
    keys = policy.providers.flatMap { provider in
      provider.keys.filter { $0.validFrom != nil || $0.expires != nil }
        .map { (Name(provider: provider.id, key: $0.id), $0) }
    }
    let names = Set(keys.map(\.name))
    standings = standings.filter { names.contains($0.key) }
    admitted = Dictionary(keys.map { ($0.name, KeyStanding($0.key, at: told).isInForce) }) { first, _ in first }
    if keys.isEmpty { timer?.cancel() } else { timer?.schedule(after: .zero) }
  }

  /// Reads the clock, and reports what has changed.
  func check() {
    let now = wall()
    var changes: [Change] = []
    var isOther = false
    var next = now + 60_000_000_000
    for (name, key) in keys {
      let standing = KeyStanding(key, at: now)
      let before = standings.updateValue(standing, forKey: name)
      let wasAdmitted = admitted.updateValue(standing.isInForce, forKey: name) ?? standing.isInForce
      let isAdmittedAnew = wasAdmitted != standing.isInForce
      if before != standing, before != nil || standing != .inForce || isAdmittedAnew {
        let news = standing.news
        changes.append(
          Change(
            provider: name.provider, key: name.key, state: news.state, reason: news.reason,
            begins: isAdmittedAnew && standing.isInForce))
      }
      if isAdmittedAnew { isOther = true }
      if let change = KeyStanding.nextChange(of: key, after: now) { next = min(next, change) }
    }
    if !changes.isEmpty || isOther { tell(changes, isOther) }
    if !keys.isEmpty { timer?.schedule(after: .nanoseconds(max(1_000_000, next - now))) }
  }
}
