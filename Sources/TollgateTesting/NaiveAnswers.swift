// What the naive scheduler makes of answers, as plainly as possible: clients' patience, prompts that are about to expire
// (rule 2c), and keys that have a call's prompt (rule 3e).
import AdmissionCore
import PolicyLab

extension NaiveAdmission {
  // MARK: - What answers tell

  mutating func progressed(_ id: LeaseID, _ progress: Progress) {
    guard let call = running[id.rawValue], !call.entry.ticket.isFree, !call.isTold,
      let provider = policy.providers.first(where: { $0.id == call.provider }), let input = progress.inputTokens
    else { return }
    running[id.rawValue]?.isTold = true
    let usage = Usage(
      inputTokens: input, cacheReadTokens: min(progress.cacheReadTokens, input),
      cacheWriteTokens: progress.cacheWriteTokens)
    prompts.told(usage, of: call.entry.ticket, at: provider, key: call.key, began: call.began)
  }

  mutating func learn(_ ended: Running, _ settlement: Settlement, at provider: ProviderPolicy) {
    guard !ended.entry.ticket.isFree else { return }
    if settlement.verdict == .success, let usage = settlement.usage, !usage.isEstimated {
      prompts.told(usage, of: ended.entry.ticket, at: provider, key: ended.key, began: ended.began)
    }
    firstBytes.ended(ended.entry.ticket, settlement, at: provider.id, began: ended.began, now)
  }

  // MARK: - Patience

  /// The last instant at which a call can begin so that its client is still there; nil where that is no matter.
  func lastStart(_ ticket: Ticket, since submitted: Instant) -> Instant? {
    if defect == .ignoresPatience { return nil }
    let last = firstBytes.lastStart(ticket, ticket.candidates.map(\.provider), submitted: submitted, now)
    guard defect == .givesUpEarly, let patience = ticket.patience else { return last }
    return last.map { $0 + Span(nanoseconds: -patience.nanoseconds / 3) }
  }

  /// Longer first bytes bound the waits anew.
  mutating func heedPatience() {
    for index in queue.indices {
      if let last = lastStart(queue[index].ticket, since: queue[index].since) {
        queue[index].bound = min(queue[index].bound, last)
      }
    }
  }

  // MARK: - Rule 2c

  private func warm(_ entry: Entry, at provider: ProviderID?) -> PromptBook.Prefix? {
    provider.flatMap { prompts.worthwhile(entry.ticket, at: $0, now) }
  }

  /// When the prompt of an entry that hurries expires; nil where it does not hurry.
  func hurryEnd(_ entry: Entry) -> Instant? {
    guard defect != .neverHurries, let warm = warm(entry, at: entry.ticket.candidates.first?.provider),
      warm.hurriesFrom <= now
    else { return nil }
    return hurriedInARow[sessionLevel(entry), default: 0] < 3 || defect == .hurriesAlways ? warm.end : nil
  }

  /// Notes before a grant whether it is in turn. Returns true where it is not.
  mutating func goesEarly(_ entry: Entry) -> Bool {
    let level = sessionLevel(entry)
    var isOut = false
    if hurryEnd(entry) != nil {
      let own = heads(capped: false).map { queue[$0] }.filter { sessionLevel($0) == level }
      let mine = seat(level, entry.ticket.session.name)
      isOut = own.contains { other in
        let theirs = seat(level, other.ticket.session.name)
        return (theirs.tag, theirs.order) < (mine.tag, mine.order)
      }
    }
    hurriedInARow[level] = isOut ? hurriedInARow[level, default: 0] + 1 : 0
    return isOut
  }

  // MARK: - Rule 3e

  enum Place {
    case at(KeyID?)
    /// These pools lack something, and are claimed.
    case blocked([Int])
    /// For the key that has its prompt, which is claimed.
    case awaits(Int)
  }

  func limits(of key: KeyPolicy, _ provider: ProviderPolicy) -> Limits {
    guard provider.quota == .perKey else { return key.limits }
    var limits = provider.limits
    limits.concurrency = [key.limits.concurrency, provider.limits.concurrency].compactMap(\.self).min()
    return limits
  }

  mutating func place(_ entry: Entry, at provider: ProviderPolicy, claimed: Set<Int>) -> Place {
    let keys: [KeyID?] = provider.keys.isEmpty ? [nil] : provider.keys.map(\.id)
    let warm = provider.quota == .perKey && keys.count > 1 ? warm(entry, at: provider.id) : nil
    let home = warm?.key.flatMap { key in keys.contains(key) ? key : nil }
    var free: [KeyID?] = []
    var short: [Int] = []
    for key in keys {
      let members = pools(for: entry, at: provider, key: key)
      if !claimed.isDisjoint(with: members) { continue }
      switch shortage(entry, at: provider, key: key) {
      case nil: free.append(key)
      case .tenant: break
      case .provider: short.append(members[0])
      case .model(let pool): short.append(pool)
      }
    }
    if let home, free.contains(home) { return .at(home) }
    guard let first = free.first else { return .blocked(short) }
    guard let warm, let home, defect == .waitsForWarmKeys || mayWait(entry, for: warm) else { return .at(first) }
    return .awaits(pools(for: entry, at: provider, key: home).dropLast().last ?? 0)
  }

  private func mayWait(_ entry: Entry, for warm: PromptBook.Prefix) -> Bool {
    let end = min(entry.since + warm.longestWait, warm.end)
    return now < end && end + .seconds(1) <= entry.bound
  }

  /// When the entry no longer waits for a key.
  func endsOfWaits(_ entry: Entry) -> [Instant] {
    entry.ticket.candidates.compactMap { warm(entry, at: $0.provider) }.flatMap {
      [entry.since + $0.longestWait, $0.end]
    }
  }
}
