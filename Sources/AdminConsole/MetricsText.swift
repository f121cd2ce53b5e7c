// The metrics as text: a pure function of values, so that it can run on any thread. `MetricFamily` names what there is.
//
// Promise: the time is linear in what is shown. Nothing is sorted: rows come in the order in which they first occurred.
import AdmissionCore
import BrokerEngine
import Courier
import HTTPMessage

/// Everything that the metrics show, at one instant.
struct MetricsSource: Sendable {
  struct Ledger: Sendable {
    var isObstructed = false
    var pending = 0
    var lost = 0
    /// How long the oldest pending entry has waited.
    var lag = Span.zero
  }

  var core: AdmissionSnapshot
  var counted: BrokerMetrics
  /// The instant of `core`.
  var now: Instant
  /// Nanoseconds from the monotonic clock to 1970.
  var wallOffset: Int64 = 0
  /// By `MemoryAccount.Use`.
  var memory: [MemoryAccount.Use: Int] = [:]
  var memoryLimit = 0
  var ledger = Ledger()
  var webhooks = DeliveryCounts()
  var otlpDropped = 0
  var bugs: [OurBug: Int] = [:]
  var abandonedLeases = 0
  /// By the budget's id, when its limit is reached at the present rate.
  var runsOut: [String: Span] = [:]
  var isDraining = false
  /// Of clients, by port.
  var connections: [(port: String, count: Int)] = []
  var process = ProcessFigures()
  var version = ""
  /// Of models without an entry in the policy.
  var learnedLimits: [LearnedLimit] = []

  /// A learned limit of concurrent calls.
  struct LearnedLimit: Sendable, Equatable {
    var provider: String
    /// The model's name as metrics have it.
    var model: String
    var limit: Int64
  }
}

enum MetricsText {
  static func render(_ source: MetricsSource, as format: MetricsFormat) -> [UInt8] {
    var page = MetricsPage(format, wallOffset: source.wallOffset)
    requests(&page, source)
    providers(&page, source.core)
    models(&page, source)
    keys(&page, source.core)
    upstream(&page, source.counted)
    tenants(&page, source.core)
    tokens(&page, source.counted)
    budgets(&page, source)
    broker(&page, source)
    return page.finished()
  }

  // MARK: Requests and queues

  private static func requests(_ page: inout MetricsPage, _ source: MetricsSource) {
    let counted = source.counted
    page.begin(.requests)
    for (labels, count) in counted.requests {
      page.sample([labels.provider, labels.priority.name, labels.outcome.rawValue], count)
    }
    page.begin(.queueDepth)
    for provider in source.core.providers {
      for priority in Priority.allCases {
        page.sample([provider.id.name, priority.name], provider.queuedByBand[Int(priority.rawValue)])
      }
    }
    page.begin(.queueOldest)
    for queue in source.core.classes {
      page.sample([queue.priority.name], seconds: queue.waitingSince.map { span(from: $0, to: source.now) } ?? .zero)
    }
    page.begin(.predictedWait)
    for queue in source.core.classes {
      if let wait = queue.predictedWait { page.sample([queue.priority.name], seconds: wait) }
    }
    page.only(.queueBytes, Double(source.core.queuedBytes))
    page.begin(.queueWait)
    for priority in Priority.allCases {
      let band = Int(priority.rawValue)
      page.histogram([priority.name], counted.queueWait[band], exemplars: counted.waitExemplars[band])
    }
    page.begin(.overhead)
    page.histogram([], counted.overhead)
    page.begin(.unknownHints)
    for (header, count) in counted.unknownHints { page.sample([header], count) }
    page.only(.probes, Double(counted.probes))
    page.begin(.openConnections)
    for (port, count) in source.connections { page.sample([port], count) }
    page.begin(.memory)
    for use in MemoryAccount.Use.allCases { page.sample([use.name], source.memory[use, default: 0]) }
    page.only(.memoryLimit, Double(source.memoryLimit))
  }

  private static func span(from start: Instant, to end: Instant) -> Span {
    Span(nanoseconds: max(0, end.nanoseconds.subtractingReportingOverflow(start.nanoseconds).partialValue))
  }

  // MARK: Providers, their models and keys

  private static func providers(_ page: inout MetricsPage, _ core: AdmissionSnapshot) {
    page.begin(.inFlight)
    for provider in core.providers { page.sample([provider.id.name], provider.inFlight) }
    page.begin(.classInFlight)
    for provider in core.providers {
      for priority in Priority.allCases {
        page.sample([provider.id.name, priority.name], provider.inFlightByBand[Int(priority.rawValue)])
      }
    }
    page.begin(.concurrencyLimit)
    for provider in core.providers {
      if let limit = provider.concurrencyLimit { page.sample([provider.id.name], limit) }
    }
    page.begin(.reservedPermits)
    for provider in core.providers where provider.concurrencyLimit != nil {
      for priority in Priority.allCases {
        page.sample([provider.id.name, priority.name], provider.reservedPermits[Int(priority.rawValue)])
      }
    }
    let owners = core.providers.map { (MetricsPage.owner(.bucketAvailable, [$0.id.name]), $0.buckets) }
    buckets(&page, .bucketAvailable, owners) { $0.available }
    buckets(&page, .bucketCapacity, owners) { $0.capacity }
    buckets(&page, .bucketInUse, owners) { $0.inUse }
    page.begin(.breakerState)
    for provider in core.providers { page.sample([provider.id.name], number(provider.breaker.state)) }
  }

  /// - Parameter owners: who has the buckets.
  private static func buckets(
    _ page: inout MetricsPage, _ family: MetricFamily,
    _ owners: [(labels: MetricsPage.Owner, buckets: [AdmissionSnapshot.Bucket])],
    _ value: (AdmissionSnapshot.Bucket) -> Int64
  ) {
    page.begin(family)
    for owner in owners {
      for bucket in owner.buckets { page.sample(owner.labels, bucket.rate.name, value(bucket)) }
    }
  }

  private static func models(_ page: inout MetricsPage, _ source: MetricsSource) {
    var models: [(labels: MetricsPage.Owner, model: AdmissionSnapshot.Model)] = []
    for provider in source.core.providers {
      // The first of two entries with the same glob is the one that counts.
      var seen: Set<String> = []
      for model in provider.models where seen.insert(model.pattern).inserted {
        models.append((MetricsPage.owner(.modelInFlight, [provider.id.name, model.pattern]), model))
      }
    }
    page.begin(.modelBreakerState)
    for (labels, model) in models {
      if let breaker = model.breaker { page.sample(labels, number(breaker.state)) }
    }
    page.begin(.modelInFlight)
    for (labels, model) in models { page.sample(labels, model.inFlight) }
    page.begin(.modelConcurrencyLimit)
    for (labels, model) in models {
      if let limit = model.concurrencyLimit { page.sample(labels, limit) }
    }
    for one in source.learnedLimits { page.sample([one.provider, one.model], Int(one.limit)) }
    let owners = models.map { ($0.labels, $0.model.buckets) }
    buckets(&page, .modelBucketAvailable, owners) { $0.available }
    buckets(&page, .modelBucketCapacity, owners) { $0.capacity }
  }

  private static func keys(_ page: inout MetricsPage, _ core: AdmissionSnapshot) {
    let keys = core.providers.flatMap { provider in
      provider.keys.map { (MetricsPage.owner(.keyState, [provider.id.name, $0.id.name]), $0) }
    }
    page.begin(.keyState)
    for (labels, key) in keys { page.sample(labels, number(key.state)) }
    page.begin(.keyInFlight)
    for (labels, key) in keys { page.sample(labels, key.inFlight) }
    page.begin(.keyConcurrencyLimit)
    for (labels, key) in keys {
      if let limit = key.concurrencyLimit { page.sample(labels, limit) }
    }
    let owners = keys.map { ($0.0, $0.1.buckets) }
    buckets(&page, .keyBucketAvailable, owners) { $0.available }
    buckets(&page, .keyBucketCapacity, owners) { $0.capacity }
  }

  private static func number(_ state: BreakerCondition) -> Int {
    switch state {
    case .closed: 0
    case .halfOpen: 1
    case .open: 2
    }
  }

  private static func number(_ state: KeyCondition) -> Int {
    switch state {
    case .usable: 0
    case .cooling: 1
    case .disabled: 2
    }
  }

  private static func upstream(_ page: inout MetricsPage, _ counted: BrokerMetrics) {
    page.begin(.upstreamResponses)
    for (labels, count) in counted.upstreamResponses {
      page.sample([labels.provider, labels.status == 0 ? "other" : String(labels.status)], count)
    }
    page.begin(.upstreamRetries)
    for (labels, count) in counted.upstreamRetries { page.sample([labels.provider, labels.reason.rawValue], count) }
    page.begin(.firstByte)
    for (provider, histogram) in counted.firstByte { page.histogram([provider], histogram) }
  }

  // MARK: Tenants

  private static func tenants(_ page: inout MetricsPage, _ core: AdmissionSnapshot) {
    let tenants = core.tenants.filter(\.isListed).map { (MetricsPage.owner(.tenantInFlight, [$0.id.name]), $0) }
    page.begin(.tenantInFlight)
    for (labels, tenant) in tenants { page.sample(labels, tenant.inFlight) }
    page.begin(.tenantQueueDepth)
    for (labels, tenant) in tenants { page.sample(labels, tenant.queued) }
    page.begin(.tenantConcurrencyLimit)
    for (labels, tenant) in tenants {
      if let limit = tenant.concurrencyLimit { page.sample(labels, limit) }
    }
    let owners = tenants.map { ($0.0, $0.1.buckets) }
    buckets(&page, .tenantBucketAvailable, owners) { $0.available }
    buckets(&page, .tenantBucketCapacity, owners) { $0.capacity }
  }

  // MARK: Tokens and money

  private static func tokens(_ page: inout MetricsPage, _ counted: BrokerMetrics) {
    page.begin(.tokens)
    for (labels, counts) in counted.tokens {
      let types = [
        ("input", counts.input), ("cache_read", counts.cacheRead), ("cache_write", counts.cacheWrite),
        ("output", counts.output), ("reasoning", counts.reasoning),
      ]
      for (type, count) in types { page.sample([labels.provider, labels.model, labels.tenant, type], count) }
    }
    page.begin(.cost)
    for (labels, counts) in counted.tokens where counts.cost > .zero {
      page.sample([labels.provider, labels.model, labels.tenant], dollars: counts.cost)
    }
    caches(&page, counted)
    page.begin(.estimateRatio)
    for (labels, sums) in counted.estimates where sums.estimated > 0 {
      page.sample([labels.provider, labels.model], Double(sums.actual) / Double(sums.estimated))
    }
  }

  private static func caches(_ page: inout MetricsPage, _ counted: BrokerMetrics) {
    var order: [String] = []
    var inputs: [String: (read: Double, all: Double)] = [:]
    for (labels, counts) in counted.tokens {
      if inputs[labels.provider] == nil { order.append(labels.provider) }
      let read = Double(counts.cacheRead)
      inputs[labels.provider, default: (0, 0)].read += read
      inputs[labels.provider, default: (0, 0)].all += read + Double(counts.input) + Double(counts.cacheWrite)
    }
    page.begin(.cacheReadShare)
    for provider in order {
      if let input = inputs[provider], input.all > 0 { page.sample([provider], input.read / input.all) }
    }
    page.begin(.cacheLost)
    for reason in CacheLoss.allCases {
      if let lost = counted.cacheLost[reason] { page.sample([reason.rawValue], dollars: lost) }
    }
  }

  /// Budgets of sessions, and of tenants that the policy does not list, are left out: clients choose their names.
  private static func budgets(_ page: inout MetricsPage, _ source: MetricsSource) {
    let listed = source.core.listedTenants
    var budgets: [(labels: MetricsPage.Owner, reading: BudgetReading)] = []
    for reading in source.core.budgets {
      switch reading.account.scope {
      case .session: continue
      case .tenant, .clientKey: guard listed.contains(reading.account.tenant) else { continue }
      case .broker: break
      }
      // A second budget of the same account and period needs a different name.
      let mark = reading.id.firstIndex(of: "#").map { String(reading.id[$0...]) } ?? ""
      let window = mark.isEmpty ? reading.window.name : reading.window.name + mark
      budgets.append((MetricsPage.owner(.budgetSpent, [reading.account.label, window]), reading))
    }
    func each(_ family: MetricFamily, _ amount: (BudgetReading) -> Money) {
      page.begin(family)
      for (labels, reading) in budgets {
        let (unit, amount) = (reading.unit.rawValue, amount(reading).nanodollars)
        if reading.unit == .usd {
          page.sample(labels, unit, billionths: amount)
        } else {
          page.sample(labels, unit, amount)
        }
      }
    }
    func eachInDollars(_ family: MetricFamily, _ amount: (BudgetReading) -> Money) {
      page.begin(family)
      for (labels, reading) in budgets where reading.unit == .usd {
        page.sample(labels, billionths: amount(reading).nanodollars)
      }
    }
    each(.budgetSpent) { $0.spent }
    each(.budgetHeld) { $0.held }
    each(.budgetLimit) { $0.limit }
    page.begin(.budgetWarn)
    for (labels, reading) in budgets {
      page.sample(labels, reading.unit.rawValue, number: Double(reading.warnAtPercent) / 100)
    }
    page.begin(.budgetRefusing)
    for (labels, reading) in budgets where reading.onExceed == .reject {
      page.sample(labels, reading.unit.rawValue, number: reading.state == .refusing ? 1 : 0)
    }
    page.begin(.budgetWindowLeft)
    for (labels, reading) in budgets {
      guard let end = reading.windowEnd, reading.window.period != .rolling else { continue }
      page.sample(labels, reading.unit.rawValue, billionths: span(from: source.now, to: end).nanoseconds)
    }
    page.begin(.budgetRunsOut)
    for (labels, reading) in budgets {
      guard let left = source.runsOut[reading.id] else { continue }
      page.sample(labels, reading.unit.rawValue, billionths: left.nanoseconds)
    }
    eachInDollars(.budgetSpentUSD) { $0.spent }
    eachInDollars(.budgetHeldUSD) { $0.held }
    eachInDollars(.budgetLimitUSD) { $0.limit }
  }

  // MARK: The broker itself

  private static func broker(_ page: inout MetricsPage, _ source: MetricsSource) {
    page.only(.ledgerObstacle, source.ledger.isObstructed ? 1 : 0)
    page.only(.ledgerPending, Double(source.ledger.pending))
    page.begin(.ledgerLag)
    page.sample([], seconds: source.ledger.lag)
    page.only(.ledgerLost, Double(source.ledger.lost))
    page.begin(.webhookDeliveries)
    page.sample(["delivered"], source.webhooks.delivered)
    page.sample(["failed"], source.webhooks.failed)
    page.sample(["dropped"], source.webhooks.dropped)
    page.only(.otlpDropped, Double(source.otlpDropped))
    page.only(.logLinesDropped, Double(source.process.logLinesDropped))
    page.only(.abandonedLeases, Double(source.abandonedLeases))
    page.begin(.ourBugs)
    for kind in OurBug.allCases { page.sample([kind.rawValue], source.bugs[kind, default: 0]) }
    page.begin(.impossibleNumbers)
    for kind in ImpossibleNumber.allCases {
      page.sample([kind.rawValue], source.counted.impossibleNumbers[kind, default: 0])
    }
    page.only(.draining, source.isDraining ? 1 : 0)
    page.begin(.buildInfo)
    page.sample([source.version], 1)
    page.only(.residentMemory, Double(source.process.residentBytes))
    page.only(.virtualMemory, Double(source.process.virtualBytes))
    page.only(.cpu, source.process.cpuSeconds)
    page.only(.openDescriptors, Double(source.process.openDescriptors))
    page.only(.startTime, source.process.startTimeSeconds)
  }
}

extension AdminConsole {
  /// The metrics in the form that the reader asks for. The loop gathers the values; another thread writes them down.
  func metrics(_ head: RequestHead, _ send: @escaping (Reply) -> Void) {
    let accepted = head.fields.pairs.filter { $0.name.lowercased() == "accept" }.map(\.value)
    let format = MetricsFormat.wanted(by: accepted)
    pieces.look { [unowned self] snapshot in
      var source = MetricsSource(snapshot, version: version)
      if let desk = ledgerDesk {
        (source.ledger.pending, source.ledger.lost) = desk.counts()
        source.ledger.lag = desk.lag()
      }
      source.connections = connections()
      source.learnedLimits = MetricsSource.learnedLimits(snapshot.core) { broker.label(ofModel: $0) }
      if let courier { source.webhooks = courier.queue.totals }
      source.otlpDropped = otlpDropped()
      let (gathered, processFigures) = (source, actions.processFigures)
      renderer.render(
        {
          var source = gathered
          // Looked up here, since there is one for each of hundreds of budgets.
          source.runsOut = MetricsSource.runsOut(snapshot)
          source.process = processFigures()
          var reply = Reply(status: 200, contentType: format.contentType, body: MetricsText.render(source, as: format))
          reply.fields.append((name: "vary", value: "accept"))
          return reply
        }, then: send)
    }
  }
}

extension MetricsSource {
  init(_ snapshot: BrokerSnapshot, version: String) {
    let clock = snapshot.clock
    self.init(
      core: snapshot.core, counted: snapshot.metrics,
      now: Instant(nanoseconds: Int64(truncatingIfNeeded: clock.now)))
    wallOffset = clock.wallNanoseconds(at: 0)
    for use in MemoryAccount.Use.allCases { memory[use] = snapshot.memory.byUse[use.rawValue] }
    memoryLimit = snapshot.memory.limit
    ledger.isObstructed = snapshot.ledgerObstacle != nil
    for (kind, count) in zip(OurBug.allCases, snapshot.ourBugs) { bugs[kind] = count }
    abandonedLeases = snapshot.abandonedLeases
    isDraining = snapshot.isDraining
    self.version = version
  }

  /// The learned limits of models without an entry in the policy, whose names come from clients: each under its label,
  /// and the lowest of those that share one.
  static func learnedLimits(_ core: AdmissionSnapshot, label: (String) -> String) -> [LearnedLimit] {
    core.providers.flatMap { provider -> [LearnedLimit] in
      let listed = Set(provider.models.map(\.pattern))
      var limits: [LearnedLimit] = []
      var places: [String: Int] = [:]
      for one in provider.learned where one.quantity == .concurrency && one.key == nil {
        guard let model = one.model, !listed.contains(model) else { continue }
        let name = label(model)
        // A glob of the policy may be called as the label is.
        guard !listed.contains(name) else { continue }
        if let place = places[name] {
          limits[place].limit = min(limits[place].limit, one.value)
        } else {
          places[name] = limits.count
          limits.append(LearnedLimit(provider: provider.id.name, model: name, limit: one.value))
        }
      }
      return limits
    }
  }

  /// When limits are reached at the present rate, by the budget's id.
  static func runsOut(_ snapshot: BrokerSnapshot) -> [String: Span] {
    var runsOut: [String: Span] = [:]
    for reading in snapshot.core.budgets {
      guard let perHour = snapshot.burnRate(of: reading)?.perHour, perHour > 0 else { continue }
      runsOut[reading.id] = lasts(reading, perHour: perHour)
    }
    return runsOut
  }

  /// How long what is left of a budget lasts.
  /// - Parameter perHour: above zero.
  static func lasts(_ reading: BudgetReading, perHour: Int64) -> Span {
    let left = max(0, reading.limit.nanodollars - reading.spent.nanodollars - reading.held.nanodollars)
    return Span(nanoseconds: Int64(min(Double(left) / Double(perHour) * 3.6e12, 9e18)))
  }
}
