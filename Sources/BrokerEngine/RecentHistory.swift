// What happened in the last hour, in slots of five seconds: for charts and for rates of the last minutes.
//
// Promises: what happens is counted with a few additions, and slots are made from the differences of these sums. Of a
// slot only what is not zero is kept; 720 slots are kept. Labels come from the policy (`LabelPolicy`), and of each kind
// at most `mostRows` are told apart; the others are `other`. Time comes from outside, and a wall clock that is set back
// makes no slot earlier than the one before it.
import AdmissionCore
import LedgerVocabulary

/// What a chart shows.
public enum ChartMetric: Sendable, Hashable {
  /// What the ledger keeps too.
  case kept(HistoryMetric)
  /// The mean number of waiting requests, by class.
  case queued
  /// The mean number of permits in use, by provider.
  case inUse

  public static let all = HistoryMetric.allCases.map { ChartMetric.kept($0) } + [.queued, .inUse]

  public init?(name: String) {
    guard let metric = ChartMetric.all.first(where: { $0.name == name }) else { return nil }
    self = metric
  }

  public var name: String {
    switch self {
    case .kept(let metric): metric.rawValue
    case .queued: "queued"
    case .inUse: "in_use"
    }
  }
}

/// One line of a chart: seconds for waits; calls, tokens and 429s in a minute; US dollars in an hour; mean numbers.
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
  public var labels: [HistoryLabel]
  public var points: [Point]

  public init(labels: [HistoryLabel], points: [Point]) {
    self.labels = labels
    self.points = points
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
    var waits = Array(repeating: WaitCounts(), count: Priority.allCases.count)
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
    before.waits = Array(repeating: [], count: 3)
  }

  // MARK: What happens

  mutating func ended(_ provider: String, _ outcome: Outcome) {
    sums.calls.add(CallLabels(provider: provider, outcome: outcome))
  }

  mutating func waited(_ priority: Priority, _ queued: Span) {
    sums.waits[Int(priority.rawValue)].add(1, at: Int64(WaitBuckets.position(queued.nanoseconds / 1000)))
  }

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
    slot.waits = sums.waits.indices.map {
      Self.growth(of: sums.waits[$0].counts.map { Int($0) }, since: &before.waits[$0])
    }
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
    var histograms: [Int: [WaitCounts]] = [:]
    for index in ring.indices {
      let slot = ring[(next + index) % ring.count]
      guard slot.begins >= first, slot.begins < last else { continue }
      let place = Int((slot.begins - first) / step)
      covered[place] += 1
      switch metric {
      case .kept(.waitP50), .kept(.waitP95), .kept(.waitP99):
        for (band, growths) in slot.waits.enumerated() {
          for growth in growths {
            histograms[band, default: Array(repeating: WaitCounts(), count: count)][place]
              .add(Int64(growth.amount), at: Int64(growth.row))
          }
        }
      case .kept(.calls): Self.add(slot.calls, place, count, &sums)
      case .kept(.tokens): Self.add(slot.tokens, place, count, &sums)
      case .kept(.refused): Self.add(slot.refused, place, count, &sums)
      case .kept(.cost): Self.add(slot.costs, place, count, &sums)
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
    if case .kept(let kept) = metric, let percent = kept.percent {
      return Priority.allCases.compactMap { priority in
        histograms[Int(priority.rawValue)].map { counts in
          ChartSeries(
            labels: [HistoryLabel("priority", priority.name)],
            points: points { counts[$0].percentile(percent) })
        }
      }
    }
    return sums.sorted { $0.key < $1.key }.map { row, amounts in
      ChartSeries(
        labels: labels(metric, row),
        points: points { place in
          let seconds = Double(covered[place]) * 5
          return switch metric {
          case .kept(.calls), .kept(.tokens), .kept(.refused): Double(amounts[place]) * 60 / seconds
          case .kept(.cost): Double(amounts[place]) * 3600 / seconds / 1e9
          case .queued, .inUse: Double(amounts[place]) / 100 / Double(covered[place])
          case .kept(.waitP50), .kept(.waitP95), .kept(.waitP99): nil
          }
        })
    }
  }

  private static func add(_ growths: [Growth], _ place: Int, _ count: Int, _ sums: inout [Int: [Int]]) {
    for growth in growths {
      sums[Int(growth.row), default: Array(repeating: 0, count: count)][place].add(growth.amount)
    }
  }

  private func labels(_ metric: ChartMetric, _ row: Int) -> [HistoryLabel] {
    switch metric {
    case .kept(.waitP50), .kept(.waitP95), .kept(.waitP99), .queued:
      [HistoryLabel("priority", Priority.allCases[row].name)]
    case .kept(.calls):
      [
        HistoryLabel("provider", sums.calls.labels(at: row).provider),
        HistoryLabel("outcome", sums.calls.labels(at: row).outcome.rawValue),
      ]
    case .kept(.tokens):
      [
        HistoryLabel("provider", sums.tokens.labels(at: row).provider),
        HistoryLabel("type", sums.tokens.labels(at: row).type.name),
      ]
    case .kept(.refused): [HistoryLabel("provider", sums.refused.labels(at: row))]
    case .kept(.cost): [HistoryLabel("tenant", sums.costs.labels(at: row))]
    case .inUse: [HistoryLabel("provider", providers[row])]
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

  /// What the last hour cost, or the time since the start; up to this moment.
  var costOfLastHour: Money {
    var earlier = before.costs
    let present = Self.growth(of: sums.costs.values, since: &earlier)
    let all = (ring.map(\.costs) + [present]).joined()
    return Money(nanodollars: all.reduce(0) { $0.saturatingAdding(Int64($1.amount)) })
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
