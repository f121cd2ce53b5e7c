// How often waiting calls of a class are let in at a provider or a model, while such calls wait: from this it is told how
// long a call's wait will be.
//
// It counts only from the first grant of a backlog on, and forgets all when nobody waits any more: calls that come seldom
// say nothing about how fast a queue moves.
//
// Promise: a few additions for each grant.

struct GrantPace: Sendable {
  /// The mean time from one grant to the next, in nanoseconds.
  private var mean: Int64 = 0
  private var last = Instant(nanoseconds: 0)
  /// Grants in this backlog.
  private(set) var count: Int32 = 0
  /// Sixteen times what these calls cost on average, in tokens; 0 where none is known. It outlasts a backlog.
  private var sumOfCosts: Int64 = 0

  /// So many grants weigh as much as the last one.
  private static let weight: Int64 = 16
  /// How many grants say something.
  static let least: Int32 = 4

  /// - Parameters:
  ///   - isTrial: true for a call that tries whether a pause is over: the time before it says nothing.
  ///   - isBacklog: false where no others wait for the same: then it says nothing.
  @inline(__always) mutating func grant(
    cost: Int64 = 0, isTrial: Bool = false, isBacklog: Bool = true, at now: Instant
  ) {
    guard isBacklog else { return }
    guard !isTrial else {
      last = now
      return
    }
    sumOfCosts = sumOfCosts == 0 ? cost << 4 : sumOfCosts &+ cost &- (sumOfCosts >> 4)
    let passed = max(0, (now - last).nanoseconds)
    last = now
    count &+= count < 1000 ? 1 : 0
    guard count > 1 else {
      mean = 0
      return
    }
    let gaps = Int64(count) - 1
    // A pause in between counts as a few gaps: it is over.
    let counted = gaps > 8 ? min(passed, 8 * mean + 50_000_000) : passed
    mean += (counted - mean) / min(gaps, Self.weight)
  }

  /// What a call costs on average, in tokens; nil where none is known.
  var cost: Double? { sumOfCosts > 0 ? Double(sumOfCosts) / 16 : nil }

  /// Nobody waits any more.
  @inline(__always) mutating func rest() { count = 0 }

  /// The expected time between two grants; nil where too little is known.
  /// - Parameter isOpen: false while a pause holds all calls back: its time says nothing.
  func interval(isOpen: Bool, at now: Instant) -> Double? {
    guard count >= Self.least else { return nil }
    let quiet = (now - last).nanoseconds
    guard isOpen, quiet > 2 * mean else { return Double(mean) }
    return Double(mean) + Double(quiet - 2 * mean) / Double(min(Int64(count), Self.weight))
  }
}

/// How many calls came lately: those of the last sixteen seconds, which are counted second by second.
struct RecentCount: Sendable {
  private var counts = SIMD16<UInt16>(repeating: 0)
  /// The second of the newest count, and of the first one ever.
  private var second = Int64.min
  private var began = Int64.min

  private static let length: Int64 = 16

  @inline(__always) mutating func count(at now: Instant) {
    let current = now.nanoseconds / 1_000_000_000
    if current != second { advance(to: current) }
    let place = Int(current & 15)
    if counts[place] < .max { counts[place] += 1 }
  }

  private mutating func advance(to current: Int64) {
    if second == .min { began = current }
    if second == .min || current - second >= Self.length {
      counts = SIMD16(repeating: 0)
    } else if current > second {
      for passed in (second + 1)...current { counts[Int(passed & 15)] = 0 }
    }
    second = current
  }

  /// Calls in a nanosecond.
  func rate(at now: Instant) -> Double {
    var copy = self
    copy.advance(to: max(second, now.nanoseconds / 1_000_000_000))
    var sum = 0
    for place in 0..<16 { sum += Int(copy.counts[place]) }
    if sum == 0 { return 0 }
    // What came before the first one is not known.
    let length = min(16e9, max(2e9, Double(now.nanoseconds) - Double(copy.began) * 1e9))
    return Double(sum) / length
  }
}

/// What calls of a provider take, as a moving average.
struct TypicalCall: Sendable {
  /// Sixteen times the averages.
  private var sums = Units.zero
  private var sumOfCosts: Int64 = 0
  private var isKnown = false

  @inline(__always) mutating func learn(_ units: Units, cost: Int64) {
    guard isKnown else {
      isKnown = true
      sums = units &<< 4
      sumOfCosts = cost << 4
      return
    }
    sums &+= units &- (sums &>> 4)
    sumOfCosts &+= cost &- (sumOfCosts >> 4)
  }

  /// nil where no call is known.
  var units: Units? { isKnown ? sums &>> 4 : nil }
  var cost: Int64? { isKnown ? sumOfCosts >> 4 : nil }
}
