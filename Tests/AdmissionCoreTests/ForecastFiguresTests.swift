// How true the foretold waits are, in virtual time with the real core: of all waits above 1 s, how many were foretold within
// a factor of two, when the call came and at each half second after that.
import Testing
import TollgateTesting

@testable import AdmissionCore
@testable import PolicyLab

/// Follows a few calls of an overload from one second to the next.
private final class Followed: @unchecked Sendable {
  // Reason for unchecked: a task-local value must be Sendable; one task makes it, hands it to its simulation and reads it.
  @TaskLocal static var current: Followed?

  private var calls: [RequestID: [Span]] = [:]
  private var classes: [Priority: [Span]] = [:]
  private var nextLook = Instant(nanoseconds: 45_000_000_000)
  /// The series that were sampled, in seconds.
  var series: [[Double]] {
    (Array(calls.values) + Array(classes.values)).map { $0.map { Double($0.nanoseconds) / 1e9 } }
  }

  func look(_ core: Admission, at now: Instant) {
    if now < nextLook || now > Instant(nanoseconds: 120_000_000_000) { return }
    if calls.isEmpty {
      for band in 1..<3 {
        let newest = core.waiting.inOrder.last { core.waiting[$0].band == band }
        if let newest { calls[core.waiting[newest].ticket.id] = [] }
      }
    }
    nextLook = nextLook + .seconds(1)
    for id in calls.keys where core.waiting.index(of: id) != nil {
      calls[id, default: []].append(core.predictedRest(of: id, at: now) ?? .zero)
    }
    for priority in [Priority.normal, .low] {
      classes[priority, default: []].append(core.predictedWait(priority, at: now) ?? .zero)
    }
  }
}

/// Asks the core while calls wait, and compares when they are granted.
private final class Forecasts: @unchecked Sendable {
  // Reason for unchecked: a task-local value must be Sendable; one task makes it, hands it to its simulation and reads it.
  @TaskLocal static var current: Forecasts?

  private struct Told {
    var at: Instant
    var rest: Span?
    var isArrival: Bool
  }
  private var open: [RequestID: [Told]] = [:]
  private var nextLook = Instant(nanoseconds: 0)
  private(set) var arrivals = Hits()
  private(set) var looks = Hits()

  struct Hits {
    var all = 0
    var hits = 0
    var untold = 0
    var ratios: [Double] = []
    var percent: Double { all == 0 ? 100 : 100 * Double(hits) / Double(all) }

    mutating func count(told: Span?, real: Span) {
      all += 1
      guard let told else { return untold += 1 }
      let ratio = Double(told.nanoseconds) / Double(real.nanoseconds)
      ratios.append(ratio)
      if ratio >= 0.5, ratio <= 2 { hits += 1 }
    }

    static func += (all: inout Hits, part: Hits) {
      all.all += part.all
      all.hits += part.hits
      all.untold += part.untold
      all.ratios += part.ratios
    }

    var text: String {
      let sorted = ratios.sorted()
      func quantile(_ part: Double) -> String {
        if sorted.isEmpty { return "-" }
        let hundredths = (sorted[min(sorted.count - 1, Int(Double(sorted.count) * part))] * 100).rounded()
        return "\(hundredths / 100)"
      }
      return "\(Int(percent)) % of \(all) (\(untold) untold; told / real: p10 \(quantile(0.1)), p50 \(quantile(0.5)), "
        + "p90 \(quantile(0.9)))"
    }
  }

  /// Those that came, and have not been asked for.
  private var young: [(id: RequestID, at: Instant)] = []

  func asked(_ core: Admission, _ event: AdmissionEvent, at now: Instant) {
    // Nobody can look earlier, and calls that come together come one after the other.
    while let first = young.first, now >= first.at + .milliseconds(100) {
      young.removeFirst()
      // It was let in at once.
      if core.waiting.index(of: first.id) == nil { continue }
      open[first.id, default: []].append(
        Told(at: now, rest: core.predictedRest(of: first.id, at: now), isArrival: true))
    }
    if case .submitted(let ticket) = event, core.waiting.index(of: ticket.id) != nil { young.append((ticket.id, now)) }
    if now < nextLook { return }
    nextLook = now + .milliseconds(500)
    let all = core.waiting.inOrder
    for index in stride(from: 0, to: all.count, by: max(1, all.count / 20)).map({ all[$0] }) {
      let id = core.waiting[index].ticket.id
      open[id, default: []].append(Told(at: now, rest: core.predictedRest(of: id, at: now), isArrival: false))
    }
  }

  /// The load ends here, which nobody can foretell.
  let end: Instant
  init(until end: Instant) { self.end = end }

  func granted(_ id: RequestID, at now: Instant) {
    if now > end { return }
    for told in open.removeValue(forKey: id) ?? [] {
      let real = now - told.at
      // Before the first calls have ended nothing is known of them.
      if real <= .seconds(1) || told.at < Instant(nanoseconds: 5_000_000_000) { continue }
      if told.isArrival {
        arrivals.count(told: told.rest, real: real)
      } else {
        looks.count(told: told.rest, real: real)
      }
    }
  }
}

/// Asks the core what a call of each class would wait, and compares with the next call of the class that comes.
private final class ClassForecasts: @unchecked Sendable {
  // Reason for unchecked: a task-local value must be Sendable; one task makes it, hands it to its simulation and reads it.
  @TaskLocal static var current: ClassForecasts?

  private var told: [(at: Instant, wait: Span?)?] = [nil, nil, nil]
  private var open: [RequestID: (at: Instant, told: Span?)] = [:]
  private var nextLook = Instant(nanoseconds: 20_000_000_000)
  private(set) var hits = Forecasts.Hits()
  /// Where 0 was told and the wait was longer than 50 ms, and all that waited so long.
  private(set) var atOnce = 0
  private(set) var waited = 0

  /// As an observer does, each quarter of a second; before it, what the call in hand does to the queue is not known.
  func look(_ core: Admission, at now: Instant) {
    if now < nextLook { return }
    nextLook = now + .milliseconds(250)
    for priority in Priority.allCases { told[Int(priority.rawValue)] = (now, core.predictedWait(priority, at: now)) }
  }

  func asked(_ event: AdmissionEvent, at now: Instant) {
    if case .submitted(let ticket) = event, let told = told[Int(ticket.priority.rawValue)] {
      self.told[Int(ticket.priority.rawValue)] = nil
      if now - told.at <= .milliseconds(500) { open[ticket.id] = (now, told.wait) }
    }
  }

  func granted(_ id: RequestID, at now: Instant) {
    let (since, told) = open.removeValue(forKey: id) ?? (now, nil)
    let real = now - since
    if real > .milliseconds(50) {
      waited += 1
      if told == .zero { atOnce += 1 }
    }
    if real <= .seconds(1) { return }
    hits.count(told: told, real: real)
  }
}

private struct Asked: AdmissionSubject {
  var core: Admission
  init(policy: AdmissionPolicy, seed: UInt64, at now: Instant) {
    core = Admission(policy: policy, seed: seed, at: now)
  }
  var nextDeadline: Instant? { core.nextDeadline }
  func snapshot(at now: Instant) -> AdmissionSnapshot { core.snapshot(at: now) }
  mutating func handle(_ event: AdmissionEvent, at now: Instant, into actions: inout ActionList) {
    let first = actions.count
    ClassForecasts.current?.look(core, at: now)
    ClassForecasts.current?.asked(event, at: now)
    core.handle(event, at: now, into: &actions)
    for action in actions[first...] {
      guard case .grant(let grant) = action else { continue }
      Forecasts.current?.granted(grant.request, at: now)
      ClassForecasts.current?.granted(grant.request, at: now)
    }
    Forecasts.current?.asked(core, event, at: now)
    Followed.current?.look(core, at: now)
  }
}

@Suite struct ForecastFiguresTests {
  enum Load: String, CaseIterable, CustomTestStringConvertible, Sendable {
    case overloadByPermits, overloadByTokens, drought, drought3Classes, outage, pause, fleet, fleetOnTwoProviders,
      tenants, oneSession, manySessions, requestsPerMinute, modelLimits
    var testDescription: String { rawValue }
    /// In percent.
    static let least = 80.0
  }

  private static func policy(_ limits: Limits, tenants: [TenantPolicy] = []) -> AdmissionPolicy {
    var bands = Priority.allCases.map(BandPolicy.standard)
    for index in bands.indices {
      bands[index].maxWait = .seconds(600)
      bands[index].queueLimit = 10_000
    }
    return AdmissionPolicy(
      providers: [ProviderPolicy(id: "p", limits: limits, learnLimits: false)], bands: bands, tenants: tenants)
  }

  private static func burst(_ count: Int, _ priority: Priority = .normal, sessions: Int, input: ClosedRange<Int64>)
    -> [ClientScript]
  {
    (0..<sessions).map { number in
      ClientScript(
        session: SessionID("\(priority.name)-\(number)"), priority: priority, route: ["p"], requests: count / sessions,
        pacing: .open(every: .seconds(10_000) ... .seconds(10_000), burst: count / sessions),
        execute: .milliseconds(500) ... .seconds(2), input: input, output: 50...400, outputCap: 1024)
    }
  }

  private static func scenario(_ load: Load, seed: UInt64) -> Scenario {
    func at(_ seconds: Int64) -> Instant { Instant(nanoseconds: seconds * 1_000_000_000) }
    func made(
      _ policy: AdmissionPolicy, _ clients: [ClientScript], _ happenings: [Happening] = [], until: Int64 = 120
    ) -> Scenario {
      Scenario(
        seed: seed, policy: policy, clients: clients, happenings: happenings, horizon: at(until),
        expectations: Scenario.Expectations(noRefusals: false))
    }
    func longer(_ scenario: Scenario) -> Scenario {
      var scenario = scenario
      scenario.horizon = at(180)
      return scenario
    }
    /// A few calls before the others, from which something is known, and no end before all are over.
    func warm(_ policy: AdmissionPolicy, _ clients: [ClientScript]) -> Scenario {
      var clients = clients
      for index in clients.indices { clients[index].start = at(20) }
      for model in Set(clients.map(\.model)).sorted() {
        clients.append(
          ClientScript(
            session: "before", priority: .normal, route: ["p"], model: model, requests: 12,
            pacing: .closed(parallel: 2, think: .milliseconds(100) ... .milliseconds(200)),
            execute: .milliseconds(500) ... .seconds(2), input: 500...2000, output: 50...400, outputCap: 1024))
      }
      return made(policy, clients, until: 3600)
    }
    switch load {
    case .overloadByPermits:
      return longer(Workload.overload3x.scenario(policy: policy(Limits(concurrency: 8)), seed: seed))
    case .overloadByTokens:
      return longer(Workload.overload3x.scenario(policy: policy(Limits(tokensPerMinute: 600_000)), seed: seed))
    case .drought:
      return warm(policy(Limits(tokensPerMinute: 120_000)), burst(200, sessions: 20, input: 1000...4000))
    case .drought3Classes:
      return warm(
        policy(Limits(tokensPerMinute: 200_000)),
        burst(60, .high, sessions: 5, input: 500...2000) + burst(100, sessions: 10, input: 1000...6000)
          + burst(60, .low, sessions: 6, input: 2000...9000))
    case .outage:
      return made(
        policy(Limits(concurrency: 10)), Workload.fleet(tenant: "default", route: ["p"]),
        [
          Happening(at: at(10), .providerMood("p", .failing(percent: 100, retryAfter: .seconds(20)))),
          Happening(at: at(28), .providerMood("p", .well)),
        ], until: 60)
    case .pause:
      return made(
        policy(Limits(concurrency: 10)), Workload.fleet(tenant: "default", route: ["p"]),
        [
          Happening(at: at(10), .providerMood("p", .throttling(retryAfter: .seconds(15)))),
          Happening(at: at(20), .providerMood("p", .well)),
        ], until: 60)
    case .fleet:
      return made(policy(Limits(concurrency: 4)), Workload.fleet(tenant: "default", route: ["p"]), until: 60)
    case .fleetOnTwoProviders:
      var policy = policy(Limits(concurrency: 3))
      policy.providers.append(ProviderPolicy(id: "q", limits: Limits(concurrency: 2), learnLimits: false))
      for index in policy.providers.indices { policy.providers[index].cluster = "all" }
      return made(policy, Workload.fleet(tenant: "default", route: ["p", "q"]), until: 60)
    case .tenants:
      return Workload.fairTenants.scenario(
        policy: policy(
          Limits(concurrency: 6), tenants: [TenantPolicy(id: "crowd"), TenantPolicy(id: "solo", weight: 2)]),
        seed: seed)
    case .oneSession:
      return warm(policy(Limits(concurrency: 2)), burst(100, sessions: 1, input: 100...2000))
    case .manySessions:
      return warm(policy(Limits(concurrency: 4)), burst(300, sessions: 300, input: 100...2000))
    case .requestsPerMinute:
      return warm(policy(Limits(requestsPerMinute: 60)), burst(150, sessions: 15, input: 100...1000))
    case .modelLimits:
      var policy = policy(Limits(concurrency: 20))
      policy.providers[0].modelLimits = [ModelLimits(models: "opus*", limits: Limits(concurrency: 2))]
      var opus = burst(60, sessions: 6, input: 500...2000)
      for index in opus.indices { opus[index].model = "opus-5" }
      var other = burst(200, .high, sessions: 10, input: 500...2000)
      for index in other.indices { other[index].model = "haiku" }
      return warm(policy, opus + other)
    }
  }

  @Test(arguments: Load.allCases) func mostWaitsAreForetoldWithinAFactorOfTwo(_ load: Load) {
    var (arrivals, looks) = (Forecasts.Hits(), Forecasts.Hits())
    for seed in UInt64(1)...3 {
      let scenario = Self.scenario(load, seed: seed)
      let forecasts = Forecasts(until: scenario.horizon)
      Forecasts.$current.withValue(forecasts) {
        _ = Simulation<Asked>.run(scenario, observer: nil)
      }
      arrivals += forecasts.arrivals
      looks += forecasts.looks
    }
    print("foretold within a factor of two, \(load.rawValue): on arrival \(arrivals.text); later \(looks.text)")
    #expect(arrivals.all >= 40 && looks.all >= 40, "\(arrivals.all) \(looks.all)")
    #expect(arrivals.percent >= Load.least, "\(arrivals.text)")
    #expect(looks.percent >= Load.least, "\(looks.text)")
  }

  /// While an overload stays what it is, neither what a call is told nor what a class is told jumps.
  @Test(arguments: [Load.overloadByTokens, .overloadByPermits]) func inASteadyOverloadNothingJumps(_ load: Load) {
    var samples = 0
    for seed in UInt64(1)...3 {
      let followed = Followed()
      var scenario = Self.scenario(load, seed: seed)
      scenario.horizon = Instant(nanoseconds: 125_000_000_000)
      Followed.$current.withValue(followed) { _ = Simulation<Asked>.run(scenario, observer: nil) }
      for series in followed.series {
        samples += series.count
        for (before, after) in zip(series, series.dropFirst()) where max(before, after) > 3 {
          #expect(after < 3 * before && before < 3 * after, "\(load) \(seed): from \(before) s to \(after) s")
        }
      }
    }
    #expect(samples > 300, "\(samples)")
  }

  // MARK: What a class is told

  /// Who calls.
  enum Callers: String, CaseIterable, CustomTestStringConvertible, Sendable {
    case sessions, fewSessions, thinking, parallel, tenants, tenantsOfOneSession, weights, classes, tokens, requests,
      oneModel, newSessions
    var testDescription: String { rawValue }
    /// Percent. What one call waits differs more from the next one's than a call's own rest from what it is told; where
    /// tenants have other weights, no one number is right for the calls of both.
    var least: Double { self == .weights ? 55 : 70 }
  }

  private static func scenario(_ callers: Callers, seed: UInt64) -> Scenario {
    var number = 0
    func backToBack(
      _ sessions: Int, _ priority: Priority = .normal, tenant: TenantID = "t", model: String = "m", parallel: Int = 1,
      think: ClosedRange<Span> = .milliseconds(5) ... .milliseconds(50)
    ) -> [ClientScript] {
      (0..<sessions).map { _ in
        number += 1
        return ClientScript(
          tenant: tenant, session: SessionID("s\(number)"), priority: priority, route: ["p"], model: model,
          requests: 10_000, pacing: .closed(parallel: parallel, think: think),
          execute: .milliseconds(500) ... .seconds(2), input: 500...4000, output: 50...400, outputCap: 1024)
      }
    }
    var limits = Limits(concurrency: 4)
    var tenants: [TenantPolicy] = []
    var clients: [ClientScript]
    switch callers {
    case .sessions: clients = backToBack(20)
    case .fewSessions: clients = backToBack(12)
    case .thinking: clients = backToBack(24, think: .milliseconds(200) ... .seconds(2))
    case .parallel: clients = backToBack(6, parallel: 4)
    case .tenants: clients = ["t", "u", "v", "w"].flatMap { backToBack(5, tenant: $0) }
    case .tenantsOfOneSession: clients = (0..<16).flatMap { backToBack(1, tenant: TenantID("t\($0)")) }
    case .weights:
      tenants = [TenantPolicy(id: "t"), TenantPolicy(id: "u", weight: 4)]
      clients = backToBack(12, tenant: "t") + backToBack(12, tenant: "u")
    case .classes: clients = backToBack(3, .high) + backToBack(8) + backToBack(6, .low)
    case .tokens:
      limits = Limits(tokensPerMinute: 200_000)
      clients = backToBack(16)
    case .requests:
      limits = Limits(requestsPerMinute: 90)
      clients = backToBack(12)
    case .oneModel:
      limits = Limits(concurrency: 20)
      clients = backToBack(10, model: "opus-5") + backToBack(8, .high, model: "haiku")
    case .newSessions:
      clients = (0..<400).map { number in
        var one = backToBack(1)[0]
        one.start = Instant(nanoseconds: Int64(number) * 280_000_000)
        one.requests = 1
        return one
      }
    }
    var policy = policy(limits, tenants: tenants)
    if callers == .oneModel {
      policy.providers[0].modelLimits = [ModelLimits(models: "opus*", limits: Limits(concurrency: 2))]
    }
    return Scenario(
      seed: seed, policy: policy, clients: clients, happenings: [], horizon: Instant(nanoseconds: 120_000_000_000),
      expectations: Scenario.Expectations(noRefusals: false))
  }

  /// What a call would wait that came now, against the next one of the class that comes.
  @Test(arguments: Callers.allCases) func whatAClassIsToldIsWhatItsNextCallWaits(_ callers: Callers) {
    var hits = Forecasts.Hits()
    var (atOnce, waited) = (0, 0)
    for seed in UInt64(1)...3 {
      let forecasts = ClassForecasts()
      ClassForecasts.$current.withValue(forecasts) {
        _ = Simulation<Asked>.run(Self.scenario(callers, seed: seed), observer: nil)
      }
      hits += forecasts.hits
      atOnce += forecasts.atOnce
      waited += forecasts.waited
    }
    print("foretold to a class within a factor of two, \(callers): \(hits.text); at once \(atOnce) of \(waited)")
    #expect(hits.all >= 40, "\(hits.all)")
    #expect(hits.percent >= callers.least, "\(hits.text)")
    #expect(atOnce == 0, "of \(waited) that waited")
  }
}
