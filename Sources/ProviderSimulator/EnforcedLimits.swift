// The limits that a vendor enforces, as the vendor sees them: permits and continuously refilling buckets. The caller
// passes the time, and a refusal takes nothing.

/// A bucket that refills evenly up to its capacity. It may go below zero where output is counted as it is produced.
struct EnforcedBucket {
  let perMinute: Int
  let capacity: Double
  private let perNanosecond: Double
  private var level: Double
  private var touched: UInt64
  /// When the first unit was taken: before that, nothing had to refill.
  private(set) var began: UInt64?
  private(set) var used: Double = 0

  init(perMinute: Int, burst: Duration, now: UInt64) {
    self.perMinute = perMinute
    let (seconds, attoseconds) = burst.components
    capacity = max(1, Double(perMinute) * (Double(seconds) + Double(attoseconds) * 1e-18) / 60)
    perNanosecond = Double(perMinute) / 60e9
    level = capacity
    touched = now
  }

  func available(at now: UInt64) -> Double {
    min(capacity, level + Double(now &- min(touched, now)) * perNanosecond)
  }

  /// Nanoseconds until `amount` is available, or the whole capacity where that is less; 0 where it is available now.
  func wait(for amount: Double, at now: UInt64) -> UInt64 {
    let missing = min(amount, capacity) - available(at: now)
    // Less than a millionth of a unit is a rounding error of the sum.
    guard missing > 1e-6 else { return 0 }
    return perNanosecond > 0 ? UInt64(min(missing / perNanosecond, 3.6e12).rounded(.up)) : 3_600_000_000_000
  }

  /// Nanoseconds until the bucket is full.
  func untilFull(at now: UInt64) -> UInt64 { wait(for: capacity, at: now) }

  mutating func take(_ amount: Double, at now: UInt64) {
    level = available(at: now) - amount
    touched = max(now, touched)
    used += amount
    if began == nil { began = now }
  }

  /// The amount that could have been taken until now: the initial fill and every refill since the first use.
  func budget(at now: UInt64) -> Double {
    guard let began else { return capacity }
    return capacity + Double(now &- min(began, now)) * perNanosecond
  }
}

/// The dimensions by which a call can be refused.
enum EnforcedDimension: String, CaseIterable {
  case concurrency
  case requests
  case inputTokens = "input_tokens"
  case outputTokens = "output_tokens"
  case tokens
}

/// Why a call was refused, and when it would be accepted.
struct EnforcedRefusal: Equatable {
  var dimension: EnforcedDimension
  /// Nanoseconds.
  var wait: UInt64
  var limit: Int
  var used: Int
  var requested: Int
}

/// What one call needs of the limits at its start.
struct EnforcedDemand {
  var input: Int = 0
  /// Charged to the common token bucket.
  var tokens: Int = 0
  /// True where the call produces tokens, so that an output bucket in debt refuses it.
  var producesOutput = false
}

/// The limits of one organisation, or of one key.
struct EnforcedLimits {
  let concurrency: Int?
  private(set) var inFlight = 0
  private(set) var peak = 0
  /// When permits that are given back, and still counted, become free; ascending.
  private var lagging: [UInt64] = []
  private(set) var buckets: [(dimension: EnforcedDimension, bucket: EnforcedBucket)] = []

  init(_ configuration: SimulatorConfiguration, now: UInt64) {
    concurrency = configuration.concurrency
    let limits: [(EnforcedDimension, Int?)] = [
      (.requests, configuration.requestsPerMinute), (.inputTokens, configuration.inputTokensPerMinute),
      (.outputTokens, configuration.outputTokensPerMinute), (.tokens, configuration.tokensPerMinute),
    ]
    for (dimension, limit) in limits {
      guard let limit else { continue }
      buckets.append((dimension, EnforcedBucket(perMinute: limit, burst: configuration.burst, now: now)))
    }
  }

  func bucket(_ dimension: EnforcedDimension) -> EnforcedBucket? {
    buckets.first { $0.dimension == dimension }?.bucket
  }

  /// Takes a permit and all units, or returns the first limit that refuses the call and takes nothing.
  mutating func admit(_ demand: EnforcedDemand, at now: UInt64) -> EnforcedRefusal? {
    let freed = lagging.prefix { $0 <= now }.count
    lagging.removeFirst(freed)
    inFlight -= freed
    if let concurrency, inFlight >= concurrency {
      return EnforcedRefusal(
        dimension: .concurrency, wait: 1_000_000_000, limit: concurrency, used: inFlight, requested: 1)
    }
    for (dimension, bucket) in buckets {
      let amount = Self.amount(of: demand, in: dimension)
      guard amount > 0 else { continue }
      let wait = bucket.wait(for: amount, at: now)
      guard wait > 0 else { continue }
      return EnforcedRefusal(
        dimension: dimension, wait: wait, limit: bucket.perMinute,
        used: max(0, Int((bucket.capacity - bucket.available(at: now)).rounded())), requested: Int(amount))
    }
    for index in buckets.indices where buckets[index].dimension != .outputTokens {
      let amount = Self.amount(of: demand, in: buckets[index].dimension)
      if amount > 0 { buckets[index].bucket.take(amount, at: now) }
    }
    inFlight += 1
    peak = max(peak, inFlight)
    return nil
  }

  /// Counts output that was produced; `common` also draws it from the common token bucket.
  mutating func produce(_ tokens: Int, common: Bool, at now: UInt64) {
    guard tokens > 0 else { return }
    for index in buckets.indices {
      let dimension = buckets[index].dimension
      if dimension == .outputTokens || (common && dimension == .tokens) {
        buckets[index].bucket.take(Double(tokens), at: now)
      }
    }
  }

  /// Gives a permit back, which is counted until `end`.
  mutating func release(at end: UInt64 = 0) {
    if end == 0 { inFlight -= 1 } else { lagging.append(max(end, lagging.last ?? 0)) }
  }

  /// Fills the buckets and counts from now; permits stay with the calls that have them.
  mutating func refill(_ configuration: SimulatorConfiguration, now: UInt64) {
    let (running, lagging) = (inFlight, lagging)
    self = EnforcedLimits(configuration, now: now)
    inFlight = running
    peak = running
    self.lagging = lagging
  }

  private static func amount(of demand: EnforcedDemand, in dimension: EnforcedDimension) -> Double {
    switch dimension {
    case .concurrency, .requests: 1
    case .inputTokens: Double(demand.input)
    // The output is not known yet, so one token must be available.
    case .outputTokens: demand.producesOutput ? 1 : 0
    case .tokens: Double(demand.tokens)
    }
  }
}
