// The counters and histograms that the engine keeps; AdminConsole renders them. Labels come from the policy, never from free text.
import AdmissionCore

/// A histogram of times with fixed bounds.
public struct Histogram: Sendable {
  /// Upper bounds in seconds, ascending; the last bucket counts what lies above them.
  public let bounds: [Double]
  /// The same in nanoseconds.
  private let ends: [Int64]
  public private(set) var counts: [Int]
  /// A whole number, since a sum of fractions gathers errors.
  public private(set) var sumNanoseconds: Int64 = 0
  public var sum: Double { Double(sumNanoseconds) / 1e9 }
  public var count: Int { counts.reduce(0, +) }

  public init(bounds: [Double]) {
    self.bounds = bounds
    ends = bounds.map { Int64(($0 * 1e9).rounded()) }
    counts = Array(repeating: 0, count: bounds.count + 1)
  }

  /// Returns the number of the bucket.
  @discardableResult public mutating func observe(_ time: Span) -> Int {
    var index = 0
    while index < ends.count, time.nanoseconds > ends[index] { index += 1 }
    counts[index] += 1
    sumNanoseconds = sumNanoseconds.saturatingAdding(time.nanoseconds)
    return index
  }

  /// From 1 ms to 280 s: the range of waits in the queue.
  static let wait = Histogram(
    bounds: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 280])
  /// From 1 ms to 300 s.
  static let firstByte = Histogram(
    bounds: [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300])
  /// From 5 µs to 50 ms.
  static let overhead = Histogram(
    bounds: [0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.005, 0.01, 0.05])
}

/// A request as an example of those in a histogram's bucket.
public struct Exemplar: Sendable {
  public var request: RequestID
  public var value: Span
  /// Monotonic nanoseconds.
  public var at: UInt64
}

/// Everything counted since the start.
public struct BrokerMetrics: Sendable {
  public struct RequestLabels: Hashable, Sendable {
    public var provider: String
    public var priority: Priority
    public var outcome: Outcome
  }
  public struct TokenLabels: Hashable, Sendable {
    public var provider: String
    public var model: String
    public var tenant: String
  }
  /// What one provider, model and tenant used, and what that cost where the price is known.
  public struct TokenCounts: Sendable {
    public var input: Int64 = 0
    public var cacheRead: Int64 = 0
    public var cacheWrite: Int64 = 0
    public var output: Int64 = 0
    public var reasoning: Int64 = 0
    public var cost = Money.zero
    /// Attempts whose price is not known.
    public var unpriced = 0
  }
  public struct StatusLabels: Hashable, Sendable {
    public var provider: String
    /// 0 stands for all that nobody has registered.
    public var status: Int
  }
  public struct RetryLabels: Hashable, Sendable {
    public var provider: String
    public var reason: Verdict.Kind
  }
  public struct EstimateLabels: Hashable, Sendable {
    public var provider: String
    public var model: String
  }
  public struct EstimateSums: Sendable {
    public var estimated: Int64 = 0
    public var actual: Int64 = 0
  }

  public internal(set) var requests = Tally<RequestLabels, Int>()
  public internal(set) var tokens = Tally<TokenLabels, TokenCounts>()
  /// The sum of all costs.
  public private(set) var spent = Money.zero
  /// Attempts that used something whose price is not known.
  public internal(set) var unpriced = 0
  public internal(set) var upstreamResponses = Tally<StatusLabels, Int>()
  public internal(set) var upstreamRetries = Tally<RetryLabels, Int>()
  public internal(set) var queueWait = Array(repeating: Histogram.wait, count: Priority.allCases.count)
  /// The newest request of each bucket of `queueWait`.
  public private(set) var waitExemplars = Array(
    repeating: [Exemplar?](repeating: nil, count: Histogram.wait.bounds.count + 1), count: Priority.allCases.count)
  public internal(set) var firstByte = Tally<String, Histogram>()
  public internal(set) var overhead = Histogram.overhead
  public internal(set) var unknownHints: [String: Int] = [:]
  /// Bugs of our own that were met, by kind.
  public internal(set) var ourBugs: [OurBug: Int] = [:]
  /// Numbers from outside that cannot be true.
  public internal(set) var impossibleNumbers: [ImpossibleNumber: Int] = [:]
  /// Health checks and browsers' preflights, which the broker answers itself.
  public internal(set) var probes = 0
  /// What was lost because prompt caches were not read, by the reason.
  public internal(set) var cacheLost: [CacheLoss: Money] = [:]
  /// Actual over estimated input, by provider and model.
  public internal(set) var estimates = Tally<EstimateLabels, EstimateSums>()

  mutating func waited(_ priority: Priority, _ time: Span, _ request: RequestID, at now: UInt64) {
    let band = Int(priority.rawValue)
    let bucket = queueWait[band].observe(time)
    waitExemplars[band][bucket] = Exemplar(request: request, value: time, at: now)
  }

  /// - Parameter cost: nil where it is unknown.
  mutating func count(_ usage: Usage, _ cost: Money?, for labels: TokenLabels) {
    let fresh = usage.inputTokens - usage.cacheReadTokens - usage.cacheWriteTokens
    tokens.count(labels, from: TokenCounts()) { $0.add(usage, fresh.value, cost) }
    if let cost { spent.add(cost) } else { unpriced += 1 }
  }

  /// Counts a call's estimated and its actual input tokens.
  mutating func count(estimated: Int64, actual: Int64, for labels: EstimateLabels) {
    estimates.count(labels, from: EstimateSums()) { $0.add(estimated, actual) }
  }
}

extension BrokerMetrics.EstimateSums {
  mutating func add(_ estimated: Int64, _ actual: Int64) {
    self.estimated = self.estimated.saturatingAdding(estimated)
    self.actual = self.actual.saturatingAdding(actual)
  }
}

extension BrokerMetrics.TokenCounts {
  /// `input` counts tokens that were neither read from nor written to a cache, so that the types add up.
  mutating func add(_ usage: Usage, _ fresh: Int64, _ cost: Money?) {
    input = input.saturatingAdding(fresh)
    cacheRead = cacheRead.saturatingAdding(usage.cacheReadTokens.value)
    cacheWrite = cacheWrite.saturatingAdding(usage.cacheWriteTokens.value)
    output = output.saturatingAdding(usage.outputTokens.value)
    reasoning = reasoning.saturatingAdding(usage.reasoningTokens.value)
    if let cost { self.cost.add(cost) } else { unpriced += 1 }
  }
}
