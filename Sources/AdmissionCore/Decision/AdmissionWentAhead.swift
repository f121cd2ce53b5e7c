// Who went before a call while it waited, and by which rule: from the record of the last grants.

extension Admission {
  /// Notes a grant. Called once for each, with what was found for it.
  @inline(__always) mutating func log(_ lease: borrowing Lease, _ turn: GrantTurn, at now: Instant) {
    let provider = lease.placement.provider
    let isProbe = !lease.isFree && providers[provider].gate.state != .passing
    grantLog.append(
      GrantLog.Entry(
        request: lease.request.box.ticket.id, at: now, session: lease.request.box.session, provider: provider,
        tenant: lease.request.tenant, band: Int8(truncatingIfNeeded: lease.request.band), turn: turn, isProbe: isProbe))
  }

  /// The calls that were granted while a request waited, at providers to which it could go.
  /// - Parameters:
  ///   - request: waiting, running, or over.
  ///   - waits: when it waited; the last span may reach to now.
  ///   - session: its session, or the group of its session.
  ///   - most: how many of them are named; the others are counted.
  public func wentAhead(
    of request: RequestID, tenant: TenantID, session: SessionID, priority: Priority, waits: [ClosedRange<Instant>],
    at names: Set<ProviderID>, most: Int = 20
  ) -> WentAheadList {
    var list = WentAheadList()
    guard let first = waits.map(\.lowerBound).min() else { return list }
    let candidates = Set(names.compactMap { providers.index(of: $0) })
    let (own, hash) = (tenants.index(of: tenant), KeyPool.hash(session.name))
    var sums: [Int: Int] = [:]
    grantLog.newestFirst { entry in
      guard entry.at >= first else { return false }
      guard entry.request != request, candidates.contains(entry.provider),
        waits.contains(where: { $0.contains(entry.at) })
      else { return true }
      let isOwn = entry.tenant == own && entry.session == hash
      let rule = Self.rule(of: entry, before: Int8(priority.rawValue), isOwnSession: isOwn)
      let band = Priority(rawValue: UInt8(max(0, entry.band))) ?? .low
      if list.newest.count < most {
        list.newest.append(
          WentAhead(
            request: entry.request, priority: band, rule: rule, provider: providers[entry.provider].policy.id,
            at: entry.at))
      } else {
        sums[Int(entry.band) << 8 | (DispatchRule.allCases.firstIndex(of: rule) ?? 0), default: 0] += 1
      }
      return true
    }
    list.sums = sums.sorted { $0.key < $1.key }.map { key, count in
      WentAheadList.Sum(
        priority: Priority(rawValue: UInt8(key >> 8)) ?? .low, rule: DispatchRule.allCases[key & 0xFF], count: count)
    }
    list.isComplete = grantLog.since < first
    return list
  }

  /// The rule by which a granted call went before a waiting one of this class.
  private static func rule(of entry: GrantLog.Entry, before band: Int8, isOwnSession: Bool) -> DispatchRule {
    if entry.isProbe { return .probesFirst }
    switch entry.turn {
    case .free: return .freeCalls
    case .overtaking: return .overtaking
    case .floor: return .floorShare
    case .promoted: return .promotion
    case .old: return .headroom
    case .spare: return .sessionsOwnLimit
    case .hurry where entry.band == band: return .hurry
    case .order, .hurry, .alone:
      if entry.band < band { return .classesAreStrict }
      // The one that waited could not have gone: what it needs was not there.
      if entry.band > band { return .allOrNothing }
      return isOwnSession ? .laneOrder : .fairTurns
    }
  }
}
