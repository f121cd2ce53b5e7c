// What happened in the last hour, in slots of five seconds: for charts and for rates of the last minutes.
//
// Promises: what happens is counted with a few additions, and slots are made from the differences of these sums. Of a
// slot only what is not zero is kept; 720 slots are kept. Labels come from the policy (`LabelPolicy`), and of each kind
// at most `mostRows` are told apart; the others are `other`. Time comes from outside, and a wall clock that is set back
// makes no slot earlier than the one before it.
import AdmissionCore

/// What a chart shows.
public enum ChartMetric: String, CaseIterable, Sendable {
  /// Seconds in the queue, by class.
  case waitP50 = "wait_p50"
  case waitP95 = "wait_p95"
  case waitP99 = "wait_p99"
  /// Ended requests in a minute, by provider and outcome.
  case calls
  /// Tokens in a minute, by provider and type.
  case tokens
  /// 429s in a minute, by provider.
  case refused
  /// US dollars in an hour, by tenant.
  case cost
  /// The mean number of waiting requests, by class.
  case queued
  /// The mean number of permits in use, by provider.
  case inUse = "in_use"

  /// The share of a percentile, in percent; nil for other metrics.
  var percentile: Int? {
    switch self {
    case .waitP50: 50
    case .waitP95: 95
    case .waitP99: 99
    case .calls, .tokens, .refused, .cost, .queued, .inUse: nil
    }
  }
}

/// One line of a chart.
public struct ChartSeries: Sendable, Equatable {
  public struct Point: Sendable, Equatable {
    /// The begin of the step, in milliseconds since 1970.
    public var at: Int64
    /// nil where nothing is known.
    public var value: Double?

    public init(at: Int64, value: Double?) {
      self.at = at
      self.value = value
    }
  }
  /// In a fixed order.
  public var labels: [(name: String, value: String)]
  public var points: [Point]

  public init(labels: [(name: String, value: String)], points: [Point]) {
    self.labels = labels
    self.points = points
  }

  public static func == (left: Self, right: Self) -> Bool {
    left.points == right.points && left.labels.map(\.name) == right.labels.map(\.name)
      && left.labels.map(\.value) == right.labels.map(\.value)
  }
}

struct RecentHistory: Sendable {
  static let slotNanoseconds: Int64 = 5_000_000_000
  static let slots = 720
  static let mostRows = 1000

  struct CallLabels: Hashable, Sendable {
    var provider: String
    var outcome: Outcome
  }
  enum TokenType: Int, CaseIterable, Sendable {
    case input, cacheRead, cacheWrite, output, reasoning

    var name: String {
      switch self {
      case .input: "input"
      case .cacheRead: "cache_read"
      case .cacheWrite: "cache_write"
      case .output: "output"
      case .reasoning: "reasoning"
      }
    }
  }
  struct TokenLabels: Hashable, Sendable {
    var provider: String
    var type: TokenType
  }

  /// Sums since the start.
  private struct Sums: Sendable {
    var calls = Tally<CallLabels, Int>()
    var tokens = Tally<TokenLabels, Int>()
    var refused = Tally<String, Int>()
    /// Nano-dollars.
    var costs = Tally<String, Int>()
    var waits = Array(repeating: WaitHistogram(), count: Priority.allCases.count)
  }
  /// What was added to one row of a kind of sums.
  private struct Growth: Sendable {
    var row: Int32
    var amount: Int
  }
  private struct Slot: Sendable {
    /// Nanoseconds since 1970.
    var begins: Int64
    var calls: [Growth] = []
    var tokens: [Growth] = []
    var refused: [Growth] = []
    var costs: [Growth] = []
    /// By class.
    var waits: [[Growth]] = []
    /// Means in 1/100, by class and by the provider's row in `providers`.
    var queued: [Int32] = []
    var inUse: [Growth] = []
  }

  private var sums = Sums()
  /// The sums at the end of the newest slot.
  private var before = (calls: [Int](), tokens: [Int](), refused: [Int](), costs: [Int](), waits: [[Int]]())
  private var ring: [Slot] = []
  private var next = 0
  /// Names of providers whose permits were sampled.
  private var providers: [String] = []
  private var depths = [Int](repeating: 0, count: 3)
  private var permits: [Int] = []
  private var samples = 0
  /// When the running slot began, in nanoseconds since 1970.
  private(set) var begins: Int64

  /// - Parameter wall: nanoseconds since 1970.
  init(at wall: Int64) {
    begins = wall - wall % Self.slotNanoseconds
    before.waits = Array(repeating: Array(repeating: 0, count: WaitHistogram.classes), count: 3)
  }

  // MARK: What happens

  mutating func ended(_ provider: String, _ outcome: Outcome) {
    sums.calls.add(CallLabels(provider: provider, outcome: outcome))
  }

  mutating func waited(_ priority: Priority, _ queued: Span) { sums.waits[Int(priority.rawValue)].count(queued) }

  mutating func refused(_ provider: String) { sums.refused.add(provider) }

  /// - Parameter tenant: a label of metrics.
  mutating func used(_ usage: Usage, _ cost: Money, provider: String, tenant: String) {
    // The rest was neither read from nor written to a cache.
    add((usage.inputTokens - usage.cacheReadTokens - usage.cacheWriteTokens).value, .input, provider)
    add(usage.outputTokens.value, .output, provider)
    if usage.reasoningTokens > 0 { add(usage.reasoningTokens.value, .reasoning, provider) }
    if usage.cacheReadTokens > 0 { add(usage.cacheReadTokens.value, .cacheRead, provider) }
    if usage.cacheWriteTokens > 0 { add(usage.cacheWriteTokens.value, .cacheWrite, provider) }
    guard cost > .zero else { return }
    let known = sums.costs[tenant] != nil || sums.costs.rowCount < Self.mostRows
    sums.costs.count(known ? tenant : LabelPolicy.other, from: 0) {
      $0 = $0.plus(Int(cost.nanodollars))
    }
  }

  private mutating func add(_ tokens: Int64, _ type: TokenType, _ provider: String) {
    sums.tokens.count(TokenLabels(provider: provider, type: type), from: 0) {
      $0 = $0.plus(Int(tokens))
    }
  }

  // MARK: Time

  /// Notes how many wait and run now. Call once a second.
  /// - Parameters:
  ///   - queued: by class.
  ///   - running: permits in use, by provider.
  mutating func sample(queued: [Int], running: [(provider: String, count: Int)], at wall: Int64) {
    if wall >= begins + Self.slotNanoseconds { close(at: wall) }
    for index in depths.indices where index < queued.count { depths[index] = depths[index].plus(queued[index]) }
    for (provider, count) in running {
      let row: Int
      if let known = providers.firstIndex(of: provider) {
        row = known
      } else {
        guard providers.count < Self.mostRows else { continue }
        row = providers.count
        providers.append(provider)
        permits.append(0)
      }
      permits[row] = permits[row].plus(count)
    }
    samples += 1
  }

  /// Ends the running slot; the next one begins at the multiple of five seconds before `wall`.
  private mutating func close(at wall: Int64) {
    var slot = Slot(begins: begins)
    slot.calls = Self.growth(of: sums.calls.values, since: &before.calls)
    slot.tokens = Self.growth(of: sums.tokens.values, since: &before.tokens)
    slot.refused = Self.growth(of: sums.refused.values, since: &before.refused)
    slot.costs = Self.growth(of: sums.costs.values, since: &before.costs)
    slot.waits = sums.waits.indices.map { Self.growth(of: sums.waits[$0].counts, since: &before.waits[$0]) }
    if samples > 0 {
      slot.queued = depths.map { Int32(clamping: Int64(min(1e12, Double($0) * 100 / Double(samples)))) }
      for (row, sum) in permits.enumerated() where sum > 0 {
        slot.inUse.append(Growth(row: Int32(row), amount: Int(min(1e12, Double(sum) * 100 / Double(samples)))))
      }
    }
    depths = depths.map { _ in 0 }
    permits = permits.map { _ in 0 }
    samples = 0
    if ring.count < Self.slots {
      ring.append(slot)
    } else {
      ring[next] = slot
      next = (next + 1) % Self.slots
    }
    begins = wall - wall % Self.slotNanoseconds
  }

  private static func growth(of sums: [Int], since before: inout [Int]) -> [Growth] {
    var all: [Growth] = []
    for (row, sum) in sums.enumerated() {
      let earlier = row < before.count ? before[row] : 0
      if sum != earlier { all.append(Growth(row: Int32(row), amount: sum - earlier)) }
    }
    before = sums
    return all
  }

  // MARK: Questions

  /// Since when everything is known, in nanoseconds since 1970.
  var knownSince: Int64 { ring.isEmpty ? begins : ring[ring.count < Self.slots ? 0 : next].begins }

  /// What happened between two instants, as one chart's lines. Nothing is known of the running slot.
  /// - Parameters:
  ///   - since: nanoseconds since 1970, as all times here; the first step begins at a multiple of `step` at or before it.
  ///   - step: a multiple of five seconds.
  func series(_ metric: ChartMetric, since: Int64, until: Int64, step: Int64) -> [ChartSeries] {
    let step = max(Self.slotNanoseconds, step - step % Self.slotNanoseconds)
    let first = since - since % step
    let last = min(until, begins)
    guard last > first, (last - first) / step < 100_000 else { return [] }
    let count = Int((last - first + step - 1) / step)
    var covered = [Int](repeating: 0, count: count)
    var sums: [Int: [Int]] = [:]
    var histograms: [Int: [[Int]]] = [:]
    for index in ring.indices {
      let slot = ring[(next + index) % ring.count]
      guard slot.begins >= first, slot.begins < last else { continue }
      let place = Int((slot.begins - first) / step)
      covered[place] += 1
      switch metric {
      case .waitP50, .waitP95, .waitP99:
        for (band, growths) in slot.waits.enumerated() where !growths.isEmpty {
          for growth in growths {
            histograms[band, default: Array(repeating: [], count: count)][place].add(growth.amount, at: Int(growth.row))
          }
        }
      case .calls: Self.add(slot.calls, place, count, &sums)
      case .tokens: Self.add(slot.tokens, place, count, &sums)
      case .refused: Self.add(slot.refused, place, count, &sums)
      case .cost: Self.add(slot.costs, place, count, &sums)
      case .inUse: Self.add(slot.inUse, place, count, &sums)
      case .queued:
        for (band, mean) in slot.queued.enumerated() {
          sums[band, default: Array(repeating: 0, count: count)][place].add(Int(mean))
        }
      }
    }
    func points(_ value: (_ place: Int) -> Double?) -> [ChartSeries.Point] {
      (0..<count).map { place in
        ChartSeries.Point(
          at: (first + Int64(place) * step) / 1_000_000, value: covered[place] > 0 ? value(place) : nil)
      }
    }
    if let percentile = metric.percentile {
      return Priority.allCases.compactMap { priority in
        histograms[Int(priority.rawValue)].map { counts in
          ChartSeries(
            labels: [("priority", priority.name)],
            points: points { WaitHistogram.percentile(percentile, of: counts[$0]) })
        }
      }
    }
    return sums.sorted { $0.key < $1.key }.map { row, amounts in
      ChartSeries(
        labels: labels(metric, row),
        points: points { place in
          let seconds = Double(covered[place]) * 5
          return switch metric {
          case .calls, .tokens, .refused: Double(amounts[place]) * 60 / seconds
          case .cost: Double(amounts[place]) * 3600 / seconds / 1e9
          case .queued, .inUse: Double(amounts[place]) / 100 / Double(covered[place])
          case .waitP50, .waitP95, .waitP99: nil
          }
        })
    }
  }

  private static func add(_ growths: [Growth], _ place: Int, _ count: Int, _ sums: inout [Int: [Int]]) {
    for growth in growths {
      sums[Int(growth.row), default: Array(repeating: 0, count: count)][place].add(growth.amount)
    }
  }

  private func labels(_ metric: ChartMetric, _ row: Int) -> [(name: String, value: String)] {
    switch metric {
    case .waitP50, .waitP95, .waitP99, .queued: [("priority", Priority.allCases[row].name)]
    case .calls:
      [("provider", sums.calls.labels(at: row).provider), ("outcome", sums.calls.labels(at: row).outcome.rawValue)]
    case .tokens:
      [("provider", sums.tokens.labels(at: row).provider), ("type", sums.tokens.labels(at: row).type.name)]
    case .refused: [("provider", sums.refused.labels(at: row))]
    case .cost: [("tenant", sums.costs.labels(at: row))]
    case .inUse: [("provider", providers[row])]
    }
  }

  /// What the last minute brought, by provider; providers without calls are missing. It begins up to five seconds earlier.
  func lastMinute(at wall: Int64) -> [String: MinuteFigures] {
    var all: [String: MinuteFigures] = [:]
    for slot in lastSlots(at: wall) {
      for growth in slot.calls {
        all[sums.calls.labels(at: Int(growth.row)).provider, default: MinuteFigures()].calls.add(growth.amount)
      }
      for growth in slot.tokens where sums.tokens.labels(at: Int(growth.row)).type != .reasoning {
        all[sums.tokens.labels(at: Int(growth.row)).provider, default: MinuteFigures()].tokens.add(growth.amount)
      }
      for growth in slot.refused {
        all[sums.refused.labels(at: Int(growth.row)), default: MinuteFigures()].refused.add(growth.amount)
      }
    }
    return all
  }

  /// How many requests ended in the last minute without an answer of a provider, by outcome.
  func refusals(at wall: Int64) -> [Outcome: Int] {
    var all: [Outcome: Int] = [:]
    for slot in lastSlots(at: wall) {
      for growth in slot.calls {
        let outcome = sums.calls.labels(at: Int(growth.row)).outcome
        guard outcome.rawValue.hasPrefix("rejected") || outcome == .evictedMaxWait || outcome == .failedUpstream else {
          continue
        }
        all[outcome, default: 0].add(growth.amount)
      }
    }
    return all
  }

  /// The slots of the last minute, and what has happened since the newest of them ended.
  private func lastSlots(at wall: Int64) -> [Slot] {
    var slots = ring.indices.suffix(12).map { ring[(next + $0) % ring.count] }
    slots = slots.filter { $0.begins >= wall - 65_000_000_000 }
    var earlier = before
    var slot = Slot(begins: begins)
    slot.calls = Self.growth(of: sums.calls.values, since: &earlier.calls)
    slot.tokens = Self.growth(of: sums.tokens.values, since: &earlier.tokens)
    slot.refused = Self.growth(of: sums.refused.values, since: &earlier.refused)
    slots.append(slot)
    return slots
  }

  /// What the last hour cost, or the time since the start.
  var costOfLastHour: Money {
    Money(nanodollars: ring.reduce(0) { sum, slot in slot.costs.reduce(sum) { $0.saturatingAdding(Int64($1.amount)) } })
  }
}

extension [Int] {
  /// Adds to one place; places that are missing count as zero.
  fileprivate mutating func add(_ amount: Int, at place: Int) {
    while count <= place { append(0) }
    self[place].add(amount)
  }
}

extension Int {
  /// The sum, or the largest number where that is larger: what outsiders count may be anything.
  fileprivate func plus(_ other: Int) -> Int {
    let (sum, isTooLarge) = addingReportingOverflow(other)
    return isTooLarge ? (other < 0 ? .min : .max) : sum
  }

  fileprivate mutating func add(_ other: Int) { self = plus(other) }
}
