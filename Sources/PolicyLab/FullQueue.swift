// A core with every place taken and many requests waiting. The caller measures what each further decision costs, in
// looks at providers or in time.
import AdmissionCore

/// Calls come and end one after the other in virtual time; the same shape gives exactly the same run.
public struct FullQueue {
  /// Where a call may go.
  public enum Reach: String, CaseIterable, Sendable {
    /// To one provider; each is a cluster of its own.
    case own
    /// To one provider; all of them are one cluster.
    case cluster
    /// To one provider, and to another that takes all calls.
    case fallback
    /// To any provider.
    case everywhere
  }

  public struct Shape: Sendable {
    public var providers: Int
    /// Model families of each provider, each with a limit of its own.
    public var families: Int
    /// Sessions that have something waiting.
    public var lanes: Int
    /// Tenants among which the sessions are spread.
    public var tenants: Int
    /// Requests that wait once the queue is full.
    public var queued: Int
    public var reach: Reach

    /// - Parameters: each at least 1.
    public init(
      providers: Int = 50, families: Int = 5, lanes: Int = 1000, tenants: Int = 500, queued: Int = 10_000,
      reach: Reach = .own
    ) {
      self.providers = providers
      self.families = families
      self.lanes = lanes
      self.tenants = tenants
      self.queued = queued
      self.reach = reach
    }
  }

  public private(set) var core: Admission
  private let shape: Shape
  private var now = Instant(nanoseconds: 1_000_000_000)
  private var running: [LeaseID] = []
  private var actions: ActionList = []
  private var arrivals: UInt64 = 0
  private var ends = 0
  /// Grants so far.
  public private(set) var grants = 0

  public init(_ shape: Shape) {
    self.shape = shape
    let providers = (0..<shape.providers).map { index in
      var provider = ProviderPolicy(
        id: ProviderID("p\(index)"), limits: Limits(concurrency: 2 * shape.families),
        modelLimits: (0..<shape.families).map {
          ModelLimits(models: Glob("f\($0)-*"), limits: Limits(concurrency: 2, tokensPerMinute: 1_000_000_000))
        })
      provider.cluster = shape.reach == .own ? provider.id : ProviderID("all")
      return provider
    }
    let bands = Priority.allCases.map { priority in
      var band = BandPolicy.standard(priority)
      band.queueLimit = 1_000_000
      return band
    }
    core = Admission(
      policy: AdmissionPolicy(providers: providers, bands: bands, queueBytes: 1 << 40), seed: 1, at: now)
  }

  /// Calls that fill every place and then the queue.
  public var fill: Int { 2 * shape.providers * shape.families + shape.queued }

  /// Another call comes.
  public mutating func arrival() -> AdmissionEvent {
    arrivals += 1
    let lane = Int(arrivals) % shape.lanes
    return .submitted(
      Ticket(
        id: RequestID(high: 0, low: arrivals), tenant: TenantID("t\(lane % shape.tenants)"),
        session: SessionID("s\(lane)"), priority: Priority.allCases[lane % 3], candidates: candidates(lane),
        model: "f\(lane / shape.providers % shape.families)-x", keptBytes: 1000, estimatedInput: 1000, outputCap: 500))
  }

  private func candidates(_ lane: Int) -> [Candidate] {
    func candidate(_ provider: Int) -> Candidate { Candidate(provider: ProviderID("p\(provider)")) }
    let own = lane % shape.providers
    switch shape.reach {
    case .own, .cluster: return [candidate(own)]
    case .fallback: return own == 0 ? [candidate(0)] : [candidate(own), candidate(0)]
    case .everywhere: return (0..<shape.providers).map(candidate)
    }
  }

  /// One of the running calls ends well; nil where none runs.
  public mutating func end() -> AdmissionEvent? {
    guard !running.isEmpty else { return nil }
    ends += 1
    let lease = running.remove(at: ends * 7919 % running.count)
    return .settled(
      lease,
      Settlement(
        verdict: .success, usage: Usage(inputTokens: 1000, outputTokens: 100 + TokenCount(Int64(ends % 300)))))
  }

  /// Hands the event to the core, a millisecond after the one before, and carries out what it orders.
  public mutating func send(_ event: AdmissionEvent) {
    decide(event)
    carryOut()
  }

  /// Hands the event to the core, and does nothing else: this is what a decision costs. `carryOut` must follow.
  public mutating func decide(_ event: AdmissionEvent) {
    now = now + Span.milliseconds(1)
    core.handle(event, at: now, into: &actions)
  }

  /// Lets the granted calls run.
  public mutating func carryOut() {
    for action in actions {
      guard case .grant(let grant) = action else { continue }
      running.append(grant.lease)
      grants += 1
    }
    actions.removeAll(keepingCapacity: true)
  }

  /// Changes the core in a way that no policy can.
  public mutating func change(_ body: (inout Admission) -> Void) { body(&core) }

  /// What status and metrics are made from.
  public func snapshot() -> AdmissionSnapshot { core.snapshot(at: now) }

  /// Requests that wait.
  public var waiting: Int { core.snapshot(at: now).queuedByBand.reduce(0, +) }
}
