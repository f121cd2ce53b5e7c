// The last grants, each with the rule by which its call went: from this `explain` tells who went before a call while it
// waited.
//
// Promises: a fixed number of places; a grant costs a few stores and no allocation; no text is kept.

/// How a call came to be granted, from its own side.
enum GrantTurn: UInt8, Sendable {
  /// Nobody waited.
  case alone
  /// Its turn in the order of classes, tenants and sessions.
  case order
  /// The same, before others of its tenant because its prompt was about to expire.
  case hurry
  case floor
  case promoted
  /// An old call that the headroom alone held back.
  case old
  /// What the others leave, for a session that runs as many calls as it may.
  case spare
  case overtaking
  case free
}

struct GrantLog: Sendable {
  struct Entry: Sendable {
    var request = RequestID(high: 0, low: 0)
    var at = Instant(nanoseconds: .min)
    var session: UInt64 = 0
    var provider = ProviderIndex(number: 0)
    var tenant = TenantIndex(number: 0)
    var band: Int8 = 0
    var turn = GrantTurn.alone
    /// A single call that tries whether a pause is over.
    var isProbe = false
  }
  private var ring: [Entry]
  private var next = 0

  static let capacity = 4096

  init() { ring = Array(repeating: Entry(), count: Self.capacity) }

  @inline(__always) mutating func append(_ entry: Entry) {
    ring[next] = entry
    next = next + 1 == Self.capacity ? 0 : next + 1
  }

  /// The instant from which on all grants are known.
  var since: Instant { ring[next].at }

  /// Calls the body with the grants, newest first, until it returns false.
  func newestFirst(_ body: (Entry) -> Bool) {
    for offset in 1...Self.capacity {
      let entry = ring[next >= offset ? next - offset : next - offset + Self.capacity]
      guard entry.at.nanoseconds != .min, body(entry) else { return }
    }
  }
}
