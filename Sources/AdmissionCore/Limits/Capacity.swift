// The permits and buckets of one provider, model, key or tenant, and the units that a call takes from them.

/// Units of each dimension, indexed by `Dimension.rawValue`: requests, input tokens, output tokens, tokens.
typealias Units = SIMD4<Int64>

extension Units {
  /// The units that calls with these tokens draw from each dimension.
  init(_ requests: Int64, input: TokenCount, output: TokenCount) {
    self.init(requests, input.value, output.value, (input + output).value)
  }
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
  /// Units reserved by running calls.
  private(set) var outstanding = TakenUnits.zero
  var ramp = Ramp()

  init(_ limits: Limits, at now: Instant) {
    permits = ConcurrencyLimiter(limit: limits.concurrency)
    for rate in RateLimit.allCases {
      if let limit = limits.limit(rate) {
        buckets.append(TokenBucket(rate, limit, burst: limits.bursts[rate], at: now))
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
      let fresh = TokenBucket(rate, limit, burst: limits.bursts[rate], dayEnd: dayEnd, at: now)
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
    var taken = TakenUnits.zero
    for index in buckets.indices {
      let wanted = units[Int(buckets[index].dimension.rawValue)]
      taken[Int(buckets[index].rate.rawValue)] = buckets[index].reserve(wanted, at: now)
    }
    outstanding &+= taken
    return taken
  }

  /// Charges at least `floor` while the call runs; returns the units now taken.
  mutating func trueUp(taken: TakenUnits, floor: Units, at now: Instant) -> TakenUnits {
    var result = taken
    for index in buckets.indices {
      let rate = Int(buckets[index].rate.rawValue)
      let missing = floor[Int(buckets[index].dimension.rawValue)] - taken[rate]
      guard missing > 0 else { continue }
      result[rate] += buckets[index].charge(missing, at: now)
    }
    outstanding &+= result &- taken
    return result
  }

  /// Gives the permit back and replaces what was taken by what was really charged.
  mutating func settle(taken: TakenUnits, actual: TakenUnits, band: Int, lag: Span, at now: Instant) {
    permits.release(in: band, lag: lag, at: now)
    ramp.release(at: now)
    outstanding &-= taken
    for index in buckets.indices {
      let rate = Int(buckets[index].rate.rawValue)
      buckets[index].settle(taken: taken[rate], actual: actual[rate], at: now)
    }
  }

  /// The most tokens that running calls have reserved in one of the buckets.
  var outstandingTokens: Int64 {
    max(
      outstanding[Int(RateLimit.inputTokensPerMinute.rawValue)], outstanding[Int(RateLimit.tokensPerMinute.rawValue)],
      outstanding[Int(RateLimit.tokensPerDay.rawValue)])
  }

  func bucketSnapshots(at now: Instant) -> [AdmissionSnapshot.Bucket] {
    buckets.map {
      AdmissionSnapshot.Bucket(
        dimension: $0.dimension, rate: $0.rate, available: $0.available(at: now), capacity: $0.capacity)
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
      buckets[index].lower(to: remaining, at: now)
    }
  }

  /// True where little of this dimension is left, so that it may hold calls back.
  func isShort(of dimension: Dimension, at now: Instant) -> Bool {
    buckets.contains { $0.dimension == dimension && $0.rate.isPerMinute && $0.available(at: now) < $0.capacity / 4 }
  }

  /// Follows what the provider says is left: a lower value counts at once, a higher one by a quarter of the difference.
  mutating func follow(remaining: Int64, of dimension: Dimension, at now: Instant) {
    for index in buckets.indices where buckets[index].dimension == dimension && buckets[index].rate.isPerMinute {
      buckets[index].lower(to: remaining, at: now)
      // Units that running calls have reserved, and the provider has not counted yet, will still be taken.
      buckets[index].raise(
        towards: remaining.saturatingSubtracting(outstanding[Int(buckets[index].rate.rawValue)]), share: 4, at: now)
    }
  }
}
