// The permits and buckets of one provider, model, key or tenant, and the units that a call takes from them.

/// Units of each dimension, indexed by `Dimension.rawValue`: requests, input tokens, output tokens, tokens.
typealias Units = SIMD4<Int64>

extension Units {
  /// The units that calls with these tokens draw from each dimension.
  init(_ requests: Int64, input: TokenCount, output: TokenCount) {
    self.init(requests, input.value, output.value, (input + output).value)
  }

  /// For a true-up by which nothing changes.
  static var unchanged: Units { Units(repeating: -1) }
}

/// The units that a call has taken from each bucket of a capacity, indexed by `RateLimit.rawValue`, since two rates may
/// count the same dimension.
typealias TakenUnits = SIMD8<Int64>

extension TakenUnits {
  /// The same units from every bucket of a dimension.
  init(_ units: Units) {
    self.init(units[0], units[1], units[2], units[3], units[0], units[0], units[3], 0)
  }
}

struct Capacity: Sendable {
  var permits: ConcurrencyLimiter
  /// The buckets of the rates that have a limit.
  var buckets: [TokenBucket] = []
  /// Units reserved by running calls that their provider may not have counted yet.
  private(set) var outstanding = TakenUnits.zero
  /// Units that running calls have taken.
  private(set) var taken = TakenUnits.zero
  private var word = ProvidersWord()
  var ramp = Ramp()
  /// True for a tenant's limits, which are enforced here.
  private let isOurs: Bool

  init(_ limits: Limits, isOurs: Bool = false, at now: Instant) {
    self.isOurs = isOurs
    permits = ConcurrencyLimiter(limit: limits.concurrency)
    for rate in RateLimit.allCases {
      if let limit = limits.limit(rate) {
        buckets.append(TokenBucket(rate, limit, burst: limits.bursts[rate], startsLate: !isOurs, at: now))
      }
    }
  }

  var isUnlimited: Bool { permits.limit == nil && buckets.isEmpty }

  /// Sets new limits; permits and units that running calls have taken stay taken.
  /// - Parameter dayEnd: when the day ends, for new daily buckets.
  mutating func replace(_ limits: Limits, dayEnd: Instant, at now: Instant) {
    permits.limit = limits.concurrency
    var kept: [TokenBucket] = []
    for rate in RateLimit.allCases {
      guard let limit = limits.limit(rate) else { continue }
      let fresh = TokenBucket(
        rate, limit, burst: limits.bursts[rate], dayEnd: dayEnd, startsLate: !isOurs, at: now)
      if var bucket = buckets.first(where: { $0.rate == rate }), bucket.isDays == fresh.isDays {
        if bucket.limit != limit || bucket.capacity != fresh.capacity {
          bucket.resize(limit, burst: limits.bursts[rate], at: now)
        }
        kept.append(bucket)
      } else {
        kept.append(fresh)
      }
    }
    buckets = kept
  }

  /// Takes a permit and the units; returns the units taken.
  mutating func take(_ units: Units, band: Int, at now: Instant) -> TakenUnits {
    ramp.take(isFirst: permits.running == 0, at: now)
    permits.take(in: band)
    word.untold += 1
    var taken = TakenUnits.zero
    for index in buckets.indices {
      let wanted = units[Int(buckets[index].dimension.rawValue)]
      taken[Int(buckets[index].rate.rawValue)] = buckets[index].reserve(wanted, at: now)
    }
    outstanding &+= taken
    self.taken &+= taken
    return taken
  }

  /// Takes one request more, as debt where there is none; returns the units taken.
  mutating func takeRequest(at now: Instant) -> TakenUnits {
    var taken = TakenUnits.zero
    for index in buckets.indices where buckets[index].dimension == .requests {
      taken[Int(buckets[index].rate.rawValue)] = buckets[index].charge(1, at: now)
    }
    outstanding &+= taken
    self.taken &+= taken
    return taken
  }

  /// What a true-up has to know of a call.
  struct Call {
    var band: Int
    var began: Instant
    /// What its provider counts of its input, where it has told that.
    var told: Int64?
  }

  /// While the call runs, replaces what was taken by `units`, as far as known now: what was too little is charged, and
  /// what was too much returns. Returns the units now taken.
  /// - Parameters:
  ///   - units: below zero in the dimensions in which nothing is known.
  ///   - telling: what the provider counts of the call's input, where it tells that now.
  mutating func trueUp(
    taken: TakenUnits, to units: Units, call: Call, telling: Int64? = nil, at now: Instant
  ) -> TakenUnits {
    var result = taken
    for index in buckets.indices {
      let rate = Int(buckets[index].rate.rawValue)
      let place = Int(buckets[index].dimension.rawValue)
      // A request is counted from its start on.
      if units[place] < 0 || place == Int(Dimension.requests.rawValue) { continue }
      let missing = units[place] - taken[rate]
      if missing > 0 {
        let known = word.explained(missing, rate, call)
        result[rate] += known + buckets[index].charge(missing - known, at: now)
      } else if missing < 0 {
        buckets[index].settle(taken: -missing, actual: 0, at: now)
        result[rate] += missing
      }
    }
    outstanding &-= Self.pending(taken, told: call.told)
    outstanding &+= Self.pending(result, told: telling ?? call.told)
    self.taken &+= result &- taken
    if telling != nil { word.told(call) }
    return result
  }

  /// What the provider may still have to count of a call.
  private static func pending(_ taken: TakenUnits, told input: Int64?) -> TakenUnits {
    guard let input else { return taken }
    let rest = taken &- TakenUnits(Units(1, input, 0, input))
    return rest.replacing(with: 0, where: rest .< 0)
  }

  /// Gives the permit back and replaces what was taken by what was really charged.
  mutating func settle(taken: TakenUnits, actual: TakenUnits, call: Call, lag: Span, at now: Instant) {
    permits.release(in: call.band, lag: lag, at: now)
    ramp.release(at: now)
    outstanding &-= Self.pending(taken, told: call.told)
    self.taken &-= taken
    for index in buckets.indices {
      let rate = Int(buckets[index].rate.rawValue)
      let known = word.explained(actual[rate] - taken[rate], rate, call)
      buckets[index].settle(taken: taken[rate], actual: actual[rate] - known, at: now)
    }
    word.told(call)
  }

  /// The most tokens that running calls have reserved in one of the buckets.
  var outstandingTokens: Int64 {
    max(
      outstanding[Int(RateLimit.inputTokensPerMinute.rawValue)], outstanding[Int(RateLimit.tokensPerMinute.rawValue)],
      outstanding[Int(RateLimit.tokensPerDay.rawValue)])
  }

  /// - Parameter kept: the units of a bucket of this capacity that are kept for a band.
  func bucketSnapshots(at now: Instant, kept: (_ band: Int, _ capacity: Int64) -> Int64) -> [AdmissionSnapshot.Bucket] {
    buckets.map { bucket in
      AdmissionSnapshot.Bucket(
        dimension: bucket.dimension, rate: bucket.rate, available: bucket.available(at: now), capacity: bucket.capacity,
        inUse: taken[Int(bucket.rate.rawValue)], kept: (0..<3).map { kept($0, bucket.capacity) },
        fullAt: bucket.instantFull(at: now), perMinute: bucket.perMinute)
    }
  }
}

extension Capacity {
  func available(_ dimension: Dimension, at now: Instant) -> Int64? {
    buckets.first { $0.dimension == dimension && $0.rate.isPerMinute }?.available(at: now)
  }

  mutating func set(_ dimension: Dimension, to units: Int64, at now: Instant) {
    for index in buckets.indices where buckets[index].dimension == dimension && buckets[index].rate.isPerMinute {
      buckets[index].set(to: units, at: now)
    }
  }

  /// Takes over when the vendor's day ends, or that it refills gradually. Returns true where the reading is about a
  /// daily limit: because the header says so, or because its limit equals our daily limit and not one per minute.
  mutating func followDay(_ reading: ObservedLimits.Reading, at now: Instant) -> Bool {
    guard let fullIn = reading.fullIn, fullIn > .zero, fullIn <= .seconds(86_400) else { return false }
    for index in buckets.indices where buckets[index].isDays && buckets[index].dimension == reading.dimension {
      let isTheSame =
        reading.told == buckets[index].limit
        && !buckets.contains { !$0.rate.isPerDay && $0.dimension == reading.dimension && $0.limit == reading.told }
      guard reading.day != nil || isTheSame else { continue }
      switch reading.day ?? .atOnce {
      case .atOnce: buckets[index].setDay(endAsTold: now + fullIn, at: now)
      case .gradually: buckets[index].refillGradually(at: now)
      }
      return true
    }
    return false
  }

  /// Lowers the bucket: no more than `remaining` is left.
  mutating func lower(_ dimension: Dimension, to remaining: Int64, at now: Instant) {
    for index in buckets.indices where buckets[index].dimension == dimension && buckets[index].rate.isPerMinute {
      lower(at: index, to: remaining, at: now)
    }
  }

  private mutating func lower(at index: Int, to remaining: Int64, at now: Instant) {
    let before = buckets[index].available(at: now)
    guard remaining < before else { return }
    buckets[index].lower(to: remaining, at: now)
    word.lowered(by: before - buckets[index].available(at: now), Int(buckets[index].rate.rawValue), at: now)
  }

  /// True where little of this dimension is left, so that it may hold calls back.
  func isShort(of dimension: Dimension, at now: Instant) -> Bool {
    buckets.contains {
      $0.dimension == dimension && $0.rate.isPerMinute && $0.available(at: now) < max(1, $0.capacity / 4)
    }
  }

  /// Follows what the provider says is left: a lower value counts at once, a higher one by a quarter of the difference.
  /// Returns true where it was not higher.
  mutating func follow(remaining: Int64, of dimension: Dimension, at now: Instant) -> Bool {
    var isLower = false
    for index in buckets.indices where buckets[index].dimension == dimension && buckets[index].rate.isPerMinute {
      if buckets[index].available(at: now) >= remaining { isLower = true }
      lower(at: index, to: remaining, at: now)
      // Units that running calls have reserved, and the provider has not counted yet, will still be taken.
      let rate = Int(buckets[index].rate.rawValue)
      let raised = buckets[index].raise(
        towards: remaining.saturatingSubtracting(outstanding[rate]), share: 4, at: now)
      word.raised(by: raised, rate)
    }
    return isLower
  }

  /// Takes again what a refused call has given back, where the provider's word had lowered the bucket to what is left
  /// without it. The request itself was not given back.
  /// - Parameter lowered: the dimensions, by bits.
  mutating func takeAgain(_ taken: TakenUnits, _ lowered: UInt8, at now: Instant) {
    for index in buckets.indices
    where buckets[index].rate.isPerMinute && buckets[index].dimension != .requests
      && lowered & (1 << UInt8(buckets[index].dimension.rawValue)) != 0
    {
      _ = buckets[index].charge(taken[Int(buckets[index].rate.rawValue)], at: now)
    }
  }
}

/// By how much the provider's word has lowered the buckets, for reasons that are not known yet.
///
/// A header counts the calls that ran when it was sent by what they really take. Where one of them turns out to be
/// larger than was reserved for it, what is missing has been taken by the header already, and is not taken twice. A
/// header says nothing of one call alone, since others run, and others may share the quota: so what it took is kept here,
/// and explained by whichever of those calls turn out to be too small. When all of them are known, what is left was
/// somebody else's use.
private struct ProvidersWord: Sendable {
  /// Running calls of which the provider has not told what it counts.
  var untold = 0
  /// Those of them that ran when a header lowered a bucket last.
  private var suspects = 0
  private var at = Instant(nanoseconds: .min)
  private var unexplained = TakenUnits.zero

  mutating func lowered(by units: Int64, _ rate: Int, at now: Instant) {
    guard units > 0, untold > 0 else { return }
    unexplained[rate] = unexplained[rate].saturatingAdding(units)
    suspects = untold
    at = now
  }

  mutating func raised(by units: Int64, _ rate: Int) { unexplained[rate] = max(0, unexplained[rate] - units) }

  /// How much of what a call lacks was taken by a header.
  mutating func explained(_ missing: Int64, _ rate: Int, _ call: Capacity.Call) -> Int64 {
    guard suspects > 0, call.told == nil, call.began <= at else { return 0 }
    let known = max(0, min(missing, unexplained[rate]))
    unexplained[rate] -= known
    return known
  }

  /// The provider has told what it counts of the call, or the call is over.
  mutating func told(_ call: Capacity.Call) {
    guard call.told == nil else { return }
    untold -= 1
    guard suspects > 0, call.began <= at else { return }
    suspects -= 1
    if suspects == 0 { unexplained = .zero }
  }
}
