// The calendar side of upstream keys: `valid_from` and `expires`, for a planned change of keys with an overlap.
//
// Promises: a key is not used before the one and from the other on, to the second while the clock is right and within a minute
// of a clock that was set; what runs is finished; an end is announced 14 days, 3 days and 1 day before it, and at each
// start within that time. Nothing is computed, and no timer runs, where no key has dates.
import AdmissionCore
import EventLoop
import PolicyFile
import TextForms

/// How a key stands to its dates.
public enum KeyStanding: Sendable, Equatable {
  case inForce
  /// It ends within this many days: 14, 3 or 1.
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

  /// Why the key is not used; nil where it may be.
  public var reason: String? {
    switch self {
    case .inForce, .ending: nil
    case .notYet(let from): "not valid before \(Timestamp.text(from.nanoseconds))"
    case .expired(let end): "expired at \(Timestamp.text(end.nanoseconds))"
    }
  }

  /// For the operator, when it comes to this.
  fileprivate var news: (state: KeyCondition, reason: String) {
    switch self {
    case .inForce: (.usable, "valid now")
    case .ending(let days, let end):
      (.usable, "expires at \(Timestamp.text(end.nanoseconds)), in less than \(days == 1 ? "a day" : "\(days) days")")
    case .notYet, .expired: (.disabled, reason ?? "")
    }
  }

  /// When it changes next, after `wall`; nil where never.
  static func nextChange(of key: ProviderKey, after wall: Int64) -> Int64? {
    let ends = key.expires.map { end in [14, 3, 1, 0].map { end.nanoseconds - $0 * day } } ?? []
    return (ends + [key.validFrom?.nanoseconds].compactMap { $0 }).filter { $0 > wall }.min()
  }
}

final class KeyCalendar {
  /// What has become of a key's dates.
  struct Change {
    var provider: String
    var key: String
    var state: KeyCondition
    var reason: String
    /// Its days have begun just now.
    var begins: Bool
  }

  private struct Name: Hashable {
    var provider: String
    var key: String
  }
  /// Of keys with dates, as they were told last.
  private var standings: [Name: KeyStanding] = [:]
  /// Whether each may be used, as the core was told last.
  private var admitted: [Name: Bool] = [:]
  private var keys: [(name: Name, key: ProviderKey)] = []
  private let wall: () -> Int64
  /// Told of each key whose standing has changed, and whether the core must hear of it.
  private let tell: (_ changes: [Change], _ isOther: Bool) -> Void
  private var timer: LoopTimer?

  init(
    loop: EventLoop?, wall: @escaping () -> Int64, tell: @escaping (_ changes: [Change], _ isOther: Bool) -> Void
  ) {
    self.wall = wall
    self.tell = tell
    if let loop { timer = LoopTimer(loop) { [unowned self] in check() } }
  }

  /// Other keys. What there is to say about them is said in the loop's next turn.
  /// - Parameter told: the wall clock by which the core was told which of them may be used.
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

  /// Looks at the clock.
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
