// Everything about the broker at one instant that is shown to people and machines: for status, dashboard, metrics and
// alerts alike. Values only, so that another thread can write them down while the loop goes on.
import AdmissionCore
import HTTPMessage
import PolicyFile
import TextForms

/// Turns instants of the loop's clocks into times of day.
public struct SnapshotClock: Sendable {
  /// Monotonic nanoseconds.
  public let now: UInt64
  /// Nanoseconds since 1970 at `now`.
  public let wall: Int64

  public init(now: UInt64, wall: Int64) {
    self.now = now
    self.wall = wall
  }

  /// Nanoseconds since 1970 for a monotonic instant.
  public func wallNanoseconds(at instant: UInt64) -> Int64 {
    wall &+ Int64(truncatingIfNeeded: instant) &- Int64(truncatingIfNeeded: now)
  }
  /// The same for an instant of the core's clock, never before 1970; nil for nil.
  public func wallNanoseconds(_ instant: Instant?) -> Int64? {
    instant.map { max(0, wallNanoseconds(at: UInt64(max(0, $0.nanoseconds)))) }
  }
  /// The same, to the nearest second: windows end on whole seconds.
  public func wallNanoseconds(ofWindowEnd instant: Instant) -> Int64 {
    let wall = max(0, wallNanoseconds(at: UInt64(max(0, instant.nanoseconds))))
    return wall.addingReportingOverflow(500_000_000).partialValue / 1_000_000_000 * 1_000_000_000
  }
  /// RFC 3339 with milliseconds; nil for nil.
  public func text(_ instant: Instant?) -> String? { wallNanoseconds(instant).map { Timestamp.text($0) } }
  public func text(at instant: UInt64) -> String { Timestamp.text(wallNanoseconds(at: instant)) }
}

/// What memory holds, in bytes.
public struct MemoryFigures: Sendable {
  public var limit: Int
  public var total: Int
  /// By `MemoryAccount.Use.rawValue`.
  public var byUse: [Int]

  init(_ account: MemoryAccount) {
    limit = account.limit
    total = account.total
    byUse = MemoryAccount.Use.allCases.map { account.bytes($0) }
  }
}

/// What a provider's last minute brought.
public struct MinuteFigures: Sendable, Equatable {
  /// Requests that ended.
  public var calls = 0
  /// Tokens of every type.
  public var tokens = 0
  /// 429s.
  public var refused = 0

  public init() {}
}

public struct BrokerSnapshot: Sendable {
  public let clock: SnapshotClock
  public let core: AdmissionSnapshot
  public let policy: Policy
  /// How each class waits, in the order of the classes.
  public let classes: [Headline.ClassWait]
  public let metrics: BrokerMetrics
  public let learned: LearnedValues
  public let memory: MemoryFigures
  public let isDraining: Bool
  /// Monotonic nanoseconds.
  public let startedAt: UInt64
  /// Why the ledger cannot be written; nil where all is well.
  public let ledgerObstacle: String?
  /// Providers that have no key left which they take.
  public let refusedProviders: [RefusedProvider]
  public let alerts: [FiringAlert]
  public let raises: [HeldRaise]
  private let burn: BudgetBurn
  /// By provider; providers without calls are missing.
  public let lastMinute: [String: MinuteFigures]
  /// How many requests' bodies are still on the way.
  public let arriving: Int
  /// The providers whose calls wait much longer than usual for their first byte.
  public let slowStarts: [SlowStart]
  /// How many requests ended in the last minute without an answer of a provider, by outcome.
  public let refusals: [Outcome: Int]
  /// Of the last hour, or since the start.
  public let costOfLastHour: Money
  /// How many bugs of ours of each kind were met since the start, in the order of `OurBug.allCases`.
  public let ourBugs: [Int]
  public let abandonedLeases: Int
  /// How long it took to gather all this, in nanoseconds: the loop did nothing else meanwhile.
  public let took: UInt64
  private let secrets: KeySecrets

  init(_ broker: Operator) {
    let services = broker.services
    let now = services.time.now
    clock = SnapshotClock(now: now, wall: services.time.wall(at: now))
    var core = services.dispatcher.snapshot()
    if broker.isDraining || services.clerk.obstacle != nil {
      // Every new call is refused, so that none waits.
      for index in core.classes.indices { core.classes[index].predictedWait = nil }
    }
    self.core = core
    let instant = Instant(nanoseconds: Int64(truncatingIfNeeded: now))
    classes = core.classes.map { one in
      Headline.ClassWait(
        priority: one.priority, queued: one.queued, oldest: one.waitingSince.map { instant - $0 },
        predicted: one.predictedWait,
        blocker: one.oldest.flatMap { broker.blocker(of: $0) })
    }
    policy = services.rules.now.policy
    secrets = services.rules.now.secrets
    metrics = services.counters.metrics
    learned = services.dispatcher.learned()
    memory = MemoryFigures(services.memory)
    isDraining = broker.isDraining
    startedAt = broker.startInstant
    ledgerObstacle = services.clerk.obstacle
    refusedProviders = services.providers.watch.refused
    alerts = services.sampler.alerts
    raises = services.calendars.budgets.raises
    burn = services.sampler.burn
    lastMinute = services.counters.history.lastMinute(at: clock.wall)
    arriving = services.requests.arriving
    slowStarts = services.sampler.slowStarts
    refusals = services.counters.history.refusals(at: clock.wall)
    costOfLastHour = services.counters.history.costOfLastHour
    ourBugs = OurBug.allCases.map { broker.ourBugs($0) }
    abandonedLeases = services.dispatcher.abandonedLeases
    took = services.time.now &- now
  }

  /// How fast one of `core.budgets` is used up; nil while that is not known.
  public func burnRate(of reading: BudgetReading) -> BurnRate? {
    burn.rate(of: reading, at: Instant(nanoseconds: Int64(truncatingIfNeeded: clock.now)))
  }

  /// A key's secret as it may be shown, such as `•••abcd`; nil where there is none.
  public func secretMark(provider: String, key: String) -> String? { secrets.mark(provider: provider, key: key) }

  /// The state of a key by its dates.
  public func standing(_ key: ProviderKey) -> KeyStanding { KeyStanding(key, at: clock.wall) }
}

extension Operator {
  /// Everything that is shown of the broker, now.
  public func look() -> BrokerSnapshot {
    // Windows of budgets that have ended begin anew.
    services.calendars.budgets.check(at: now)
    return BrokerSnapshot(self)
  }

  /// The last hour's charts.
  /// - Parameters:
  ///   - since: nanoseconds since 1970, as `until`.
  ///   - step: nanoseconds; a multiple of five seconds.
  public func history(_ metric: ChartMetric, since: Int64, until: Int64, step: Int64) -> [ChartSeries] {
    services.counters.history.series(metric, since: since, until: until, step: step)
  }

  /// Since when `history` knows everything, in nanoseconds since 1970.
  public var historyBegins: Int64 { services.counters.history.knownSince }

  /// The agents of the sessions that were seen last, in no order.
  /// - Parameter tenant: nil means every tenant.
  public func seats(tenant: String? = nil) -> [SeatSums] { services.sessions.seats(tenant: tenant) }

  /// What turns the loop's instants of now into times of day.
  public var clock: SnapshotClock {
    let now = services.time.now
    return SnapshotClock(now: now, wall: services.time.wall(at: now))
  }
}
