// The JSON documents of the API. Times are RFC 3339 in UTC, durations whole milliseconds, money a decimal string with
// nine places.
import AdmissionCore
import BrokerEngine
import HTTPMessage
import PolicyFile
import TextForms

enum StatusJSON {
  /// - Parameters:
  ///   - tenant: shows only this tenant's data; nil shows everything.
  ///   - troubles: who does not take what the broker tells.
  ///   - isEvent: puts it into the frame of a server-sent event.
  static func status(
    _ snapshot: BrokerSnapshot, version: String, tenant: String? = nil, troubles: [OutwardTrouble] = [],
    isEvent: Bool = false
  ) -> [UInt8] {
    let core = snapshot.core
    var json = JSONWriter(reserving: 8192 + 512 * (core.tenants.count + core.budgets.count))
    if isEvent { json.raw("event: snapshot\ndata: ") }
    json.object { json in
      json.member("version", version)
      json.member("draining", snapshot.isDraining)
      json.member("started_at", time: snapshot.clock.wallNanoseconds(at: snapshot.startedAt))
      json.member("at", time: snapshot.clock.wall)
      if tenant == nil { whole(&json, snapshot, troubles) }
      json.key("tenants")
      let spending = snapshot.spendingByTenant()
      json.array(core.tenants.filter { tenant == nil || $0.id.name == tenant }) { json, tenant in
        let spent = spending[tenant.id.name]
        json.object { json in
          json.member("id", tenant.id.name)
          json.member("listed", tenant.isListed)
          json.member("spent_usd", billionths: spent?.cost.nanodollars)
          json.member("unpriced_calls", spent?.unpriced)
          json.member("weight", tenant.weight)
          json.member("in_flight", tenant.inFlight)
          json.member("queued", tenant.queued)
          json.member("oldest_wait_ms", age(tenant.waitingSince, snapshot.clock))
          json.member("concurrency_limit", tenant.concurrencyLimit)
          json.key("buckets")
          buckets(&json, tenant.buckets, snapshot.clock)
        }
      }
      json.key("budgets")
      BudgetRoutes.array(&json, snapshot, tenant: tenant)
    }
    if isEvent { json.raw("\n\n") }
    return json.bytes
  }

  /// What concerns all tenants.
  private static func whole(_ json: inout JSONWriter, _ snapshot: BrokerSnapshot, _ troubles: [OutwardTrouble]) {
    let core = snapshot.core
    json.member("headline", Headline.text(snapshot))
    json.member("snapshot_us", snapshot.took / 1000)
    json.member("ledger", snapshot.ledgerObstacle ?? "ok")
    json.key("queued")
    bands(&json, core.queuedByBand)
    json.key("classes")
    classes(&json, snapshot)
    json.member("queued_bytes", core.queuedBytes)
    json.key("memory")
    memory(&json, snapshot.memory)
    json.member("running", core.running)
    json.member("arriving", snapshot.arriving)
    json.member("sessions_at_limit", core.sessionsAtLimit)
    json.member("spent_usd", billionths: snapshot.metrics.spent.nanodollars)
    json.member("unpriced_calls", snapshot.metrics.unpriced)
    json.key("totals")
    totals(&json, snapshot)
    json.key("alerts")
    json.array(snapshot.alerts) { json, alert in
      json.object { json in
        json.member("name", alert.name)
        json.member("severity", alert.severity.rawValue)
        json.member("since", time: snapshot.clock.wallNanoseconds(at: alert.since))
        json.member("text", alert.text)
      }
    }
    json.key("problems")
    var problems: [(inout JSONWriter) -> Void] = snapshot.refusedProviders.map { one in
      { (json: inout JSONWriter) in problem(&json, one, snapshot.clock) }
    }
    problems += troubles.map { one in { (json: inout JSONWriter) in one.write(&json) } }
    json.array(problems) { $1(&$0) }
    json.key("providers")
    let policies = Dictionary(snapshot.policy.providers.map { ($0.id, $0) }) { first, _ in first }
    json.array(core.providers) { provider(&$0, $1, policies[$1.id.name], snapshot) }
    LearnedJSON.members(&json, snapshot)
  }

  /// For how long something has been so, in milliseconds; nil for nil.
  private static func age(_ since: Instant?, _ clock: SnapshotClock) -> Int64? {
    since.map { max(0, (Int64(truncatingIfNeeded: clock.now) &- $0.nanoseconds) / 1_000_000) }
  }

  private static func classes(_ json: inout JSONWriter, _ snapshot: BrokerSnapshot) {
    json.object { json in
      for one in snapshot.classes {
        json.key(named: one.priority.name)
        json.object { json in
          json.member("queued", one.queued)
          json.member("oldest_ms", one.oldest?.wholeMilliseconds)
          json.member("predicted_wait_ms", one.predicted?.wholeMilliseconds)
          json.key("waits_for")
          guard let blocker = one.blocker else { return json.null() }
          json.object { json in
            json.member("blocker", blocker.name)
            json.member("provider", blocker.provider?.name)
            json.member("text", Headline.cause(blocker))
          }
        }
      }
    }
  }

  private static func totals(_ json: inout JSONWriter, _ snapshot: BrokerSnapshot) {
    var all = MinuteFigures()
    for figures in snapshot.lastMinute.values {
      all.calls += figures.calls
      all.tokens += figures.tokens
      all.refused += figures.refused
    }
    json.object { json in
      json.member("calls_last_minute", all.calls)
      json.member("tokens_last_minute", all.tokens)
      json.member("throttled_last_minute", all.refused)
      json.member("cost_last_hour_usd", billionths: snapshot.costOfLastHour.nanodollars)
    }
  }

  private static func problem(_ json: inout JSONWriter, _ refused: RefusedProvider, _ clock: SnapshotClock) {
    json.object { json in
      json.member("what", refused.keys.isEmpty ? "keys_disabled" : "keys_refused")
      // The provider's calls fail or wait.
      json.member("severity", AlertSeverity.critical.rawValue)
      json.member("provider", refused.provider)
      json.key("keys")
      json.array(refused.keys) { json, key in
        json.object { json in
          json.member("id", key.id)
          json.member("source", key.source)
          json.member("reason", key.isUnpaid ? "unpaid" : "refused")
        }
      }
      json.member("since", time: clock.wallNanoseconds(at: refused.since))
      json.member("text", refused.text)
    }
  }

  private static func memory(_ json: inout JSONWriter, _ memory: MemoryFigures) {
    json.object { json in
      json.member("limit_bytes", memory.limit)
      json.member("held_bytes", memory.total)
      for (use, bytes) in zip(MemoryAccount.Use.allCases, memory.byUse) {
        json.key(named: use.name)
        json.value(bytes)
      }
    }
  }

  private static func provider(
    _ json: inout JSONWriter, _ provider: AdmissionSnapshot.Provider, _ policy: Provider?, _ snapshot: BrokerSnapshot
  ) {
    let clock = snapshot.clock
    let minute = snapshot.lastMinute[provider.id.name] ?? MinuteFigures()
    json.object { json in
      json.member("id", provider.id.name)
      json.member("dialect", policy?.dialect.rawValue)
      json.member("base_url", policy?.baseURL)
      // Those that take the client's own credential need no key.
      let standing = policy?.passThrough == true ? provider.ownStanding : provider.standing
      json.member("state", standing.state.rawValue)
      json.member("until", time: clock.wallNanoseconds(standing.until))
      json.member("reason", standing.reason)
      json.member("in_flight", provider.inFlight)
      json.member("concurrency_limit", provider.concurrencyLimit)
      json.member("policy_concurrency", provider.policyConcurrency)
      json.member("learned_concurrency", provider.learnedConcurrency)
      json.key("reserved_permits")
      bands(&json, provider.reservedPermits)
      json.member("free_in_flight", provider.freeInFlight)
      json.member("free_until", time: clock.wallNanoseconds(provider.freeBlockedUntil))
      json.key("in_flight_by_priority")
      bands(&json, provider.inFlightByBand)
      json.member("calls_last_minute", minute.calls)
      json.member("tokens_last_minute", minute.tokens)
      json.member("throttled_last_minute", minute.refused)
      json.key("slow_start")
      slowStart(&json, snapshot.slowStarts.first { $0.provider == provider.id })
      json.key("buckets")
      buckets(&json, provider.buckets, clock)
      json.key("models")
      models(&json, provider, clock)
      json.key("breaker")
      breaker(&json, provider.breaker, clock)
      json.key("keys")
      let keys = Dictionary(policy?.keys.map { ($0.id, $0) } ?? []) { first, _ in first }
      json.array(provider.keys) { json, one in key(&json, one, provider, keys[one.id.name], snapshot) }
      json.key("queued")
      bands(&json, provider.queuedByBand)
      json.key("oldest_wait_ms")
      json.object { json in
        for priority in Priority.allCases {
          json.key(named: priority.name)
          json.value(age(provider.waitingSince[Int(priority.rawValue)], clock))
        }
      }
    }
  }

  private static func slowStart(_ json: inout JSONWriter, _ slow: SlowStart?) {
    guard let slow else { return json.null() }
    json.object { json in
      json.member("calls", slow.calls)
      json.member("longest_ms", slow.longest.wholeMilliseconds)
      json.member("usual_ms", slow.usual?.wholeMilliseconds)
      json.member("text", Headline.text(of: slow))
    }
  }

  /// The policy's entries in their order, then models without an entry that rest or of which a limit was learned.
  static func models(
    _ json: inout JSONWriter, _ provider: AdmissionSnapshot.Provider, _ clock: SnapshotClock
  ) {
    let listed = provider.models.map { (name: $0.pattern, rest: $0.rest, entry: Optional($0)) }
    let taught = provider.learned.filter { $0.model != nil && $0.key == nil }
    let limits = Dictionary(grouping: taught) { $0.model ?? "" }
    var known = Set(listed.map(\.name) + provider.resting.map(\.model))
    let others =
      provider.resting.map {
        (name: $0.model, rest: Optional($0), entry: AdmissionSnapshot.Model?.none)
      }
      + taught.compactMap { limit in
        limit.model.flatMap { known.insert($0).inserted ? (name: $0, rest: nil, entry: nil) : nil }
      }
    json.array(listed + others) { json, one in
      json.object { json in
        json.member("models", one.name)
        json.member("state", (one.rest == nil ? KeyCondition.usable : .cooling).rawValue)
        json.member("until", time: clock.wallNanoseconds(one.rest?.until))
        json.member("reason", one.rest?.reason.rawValue)
        json.member("listed", one.entry != nil)
        let limit = limits[one.name]?.last { $0.quantity == .concurrency }
        let paces = limits[one.name]?.filter { $0.quantity != .concurrency } ?? []
        json.key("learned_limits")
        json.array(paces) { json, pace in LearnedJSON.limit(&json, pace, of: provider.id, clock) }
        guard let model = one.entry else {
          json.member("concurrency_limit", limit?.value)
          return learned(&json, limit?.value, policy: nil, limit, clock)
        }
        json.member("in_flight", model.inFlight)
        json.member("concurrency_limit", model.concurrencyLimit)
        let most = model.isLearned ? model.concurrencyLimit.map(Int64.init) : nil
        learned(&json, most, policy: model.policyConcurrency, limit, clock)
        json.key("buckets")
        buckets(&json, model.buckets, clock)
        if let own = model.breaker {
          json.key("breaker")
          breaker(&json, own, clock)
        }
      }
    }
  }

  /// - Parameter most: the learned limit where it is the one in force.
  private static func learned(
    _ json: inout JSONWriter, _ most: Int64?, policy: Int?, _ limit: AdmissionSnapshot.Learned?, _ clock: SnapshotClock
  ) {
    json.member("policy_concurrency", policy)
    json.member("learned_concurrency", most)
    json.member("learned_from", most == nil ? nil : limit.map { LearnedJSON.text(LearnedValue.Source($0.source)) })
    json.member("learned_since", time: most == nil ? nil : clock.wallNanoseconds(limit?.since))
  }

  private static func key(
    _ json: inout JSONWriter, _ key: AdmissionSnapshot.Key, _ provider: AdmissionSnapshot.Provider,
    _ rules: ProviderKey?, _ snapshot: BrokerSnapshot
  ) {
    let clock = snapshot.clock
    json.object { json in
      json.member("id", key.id.name)
      json.member("secret", snapshot.secretMark(provider: provider.id.name, key: key.id.name))
      json.member("state", key.state.rawValue)
      let standing = rules.map { snapshot.standing($0) }
      if let standing, let reason = standing.reason {
        let begins: WallInstant? = if case .notYet(let from) = standing { from } else { nil }
        json.member("until", time: begins?.nanoseconds)
        json.member("reason", reason)
      } else {
        // Once that time has come, the next call tries the key.
        let isOver = key.until.map { $0.nanoseconds <= Int64(truncatingIfNeeded: clock.now) } ?? false
        json.member("until", time: isOver ? nil : clock.wallNanoseconds(key.until))
        json.member("reason", key.reason.map { isOver ? $0.text + "; the next call tries it" : $0.text })
      }
      json.member("valid_from", time: rules?.validFrom?.nanoseconds)
      json.member("expires", time: rules?.expires?.nanoseconds)
      json.member("in_flight", key.inFlight)
      json.member("concurrency_limit", key.concurrencyLimit)
      let most = key.isLearned ? key.concurrencyLimit.map(Int64.init) : nil
      let limit = provider.learned.last { $0.quantity == .concurrency && $0.key == key.id }
      learned(&json, most, policy: key.policyConcurrency, limit, clock)
      json.key("buckets")
      buckets(&json, key.buckets, clock)
      json.key("models")
      json.array(key.models) { json, rest in
        json.object { json in
          json.member("model", rest.model)
          json.member("until", time: clock.wallNanoseconds(rest.until))
          json.member("reason", rest.reason.rawValue)
        }
      }
    }
  }

  private static func breaker(_ json: inout JSONWriter, _ breaker: AdmissionSnapshot.Breaker, _ clock: SnapshotClock) {
    json.object { json in
      json.member("state", breaker.state.rawValue)
      json.member("reason", breaker.reason)
      json.member("since", time: clock.wallNanoseconds(breaker.since))
      json.member("until", time: clock.wallNanoseconds(breaker.until))
    }
  }

  private static func bands(_ json: inout JSONWriter, _ counts: [Int]) {
    json.object { json in
      json.member("high", counts[Int(Priority.high.rawValue)])
      json.member("normal", counts[Int(Priority.normal.rawValue)])
      json.member("low", counts[Int(Priority.low.rawValue)])
    }
  }

  private static func buckets(
    _ json: inout JSONWriter, _ buckets: [AdmissionSnapshot.Bucket], _ clock: SnapshotClock
  ) {
    json.array(buckets) { json, bucket in
      json.object { json in
        json.member("dimension", bucket.rate.name)
        json.member("available", bucket.available)
        json.member("capacity", bucket.capacity)
        json.member("in_use", bucket.inUse)
        json.key("kept")
        json.object { json in
          for priority in Priority.allCases {
            json.key(named: priority.name)
            json.value(bucket.kept[Int(priority.rawValue)])
          }
        }
        json.member("per_minute", bucket.perMinute)
        json.member("full_at", time: clock.wallNanoseconds(bucket.fullAt))
      }
    }
  }

  static func time(_ instant: Instant?, _ broker: Operator) -> String? {
    instant.map { Timestamp.text(broker.wallNanoseconds(at: UInt64(max(0, $0.nanoseconds)))) }
  }
}
