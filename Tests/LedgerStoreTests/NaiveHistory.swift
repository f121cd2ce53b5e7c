// What the charts must say, made the plain way from the entries themselves; and entries drawn by chance for it.
import AdmissionCore
import LedgerVocabulary
import TextForms

@testable import LedgerStore

/// The facts of some entries, each with the instant at which it counts.
struct NaiveHistory {
  struct Fact {
    var ended: Int64
    var provider: String
    var tenant: String
    var priority: Priority
    var outcome: Outcome?
    /// Microseconds.
    var waited: Int64?
    var wasRefused = false
    var tokens: [String: Int64] = [:]
    var cost: Int64 = 0
  }
  private struct Attempt: Hashable {
    var request: RequestID
    var number: Int
  }
  private(set) var facts: [Fact] = []
  private var open: [Attempt: AttemptHold] = [:]
  /// Requests that have begun and not ended, with what is known of their newest attempt.
  private var begun: [RequestID: (hold: AttemptHold, ended: Int64)] = [:]

  mutating func append(_ entries: [LedgerEntry]) {
    for entry in entries {
      switch entry {
      case .held(let hold):
        open[Attempt(request: hold.request, number: hold.attempt)] = hold
        begun[hold.request] = (hold, hold.at.nanoseconds)
      case .settled(let end): settle(end)
      case .concluded(let end): conclude(end)
      case .finished(let end, let attempt):
        settle(attempt)
        conclude(end)
      case .changed, .remembered: break
      }
    }
  }

  private mutating func settle(_ end: AttemptEnd) {
    // An end without its hold says nothing.
    guard let hold = open.removeValue(forKey: Attempt(request: end.request, number: end.attempt)) else { return }
    begun[end.request]?.ended = end.at.nanoseconds
    var fact = Fact(
      ended: end.at.nanoseconds, provider: hold.provider.name, tenant: hold.tenant.name, priority: hold.priority)
    fact.wasRefused = end.status == 429
    if end.wasSent {
      let usage = end.usage
      fact.tokens = [
        "input": max(0, usage.inputTokens.value - usage.cacheReadTokens.value - usage.cacheWriteTokens.value),
        "cache_read": usage.cacheReadTokens.value, "cache_write": usage.cacheWriteTokens.value,
        "output": usage.outputTokens.value, "reasoning": usage.reasoningTokens.value,
      ]
      fact.cost = end.cost?.nanodollars ?? 0
    }
    facts.append(fact)
  }

  private mutating func conclude(_ end: RequestEnd) {
    begun[end.request] = nil
    facts.append(
      Fact(
        ended: end.ended.nanoseconds, provider: end.provider?.name ?? "none", tenant: end.tenant.name,
        priority: end.priority, outcome: end.outcome, waited: end.attempts > 0 ? end.queued.nanoseconds / 1000 : nil))
  }

  /// A start after the process was killed.
  mutating func restart(at now: WallInstant) {
    for hold in open.values {
      let ended = max(hold.at.nanoseconds, now.nanoseconds)
      var fact = Fact(ended: ended, provider: hold.provider.name, tenant: hold.tenant.name, priority: hold.priority)
      fact.tokens = ["input": hold.reservedInput.value, "output": hold.reservedOutput.value]
      fact.cost = hold.held?.nanodollars ?? 0
      facts.append(fact)
      begun[hold.request]?.ended = ended
    }
    open = [:]
    for (request, last) in begun {
      facts.append(
        Fact(
          ended: max(last.ended, Int64(request.high >> 16) * 1_000_000), provider: last.hold.provider.name,
          tenant: last.hold.tenant.name, priority: last.hold.priority, outcome: .truncated))
    }
    begun = [:]
  }

  // MARK: Answers

  /// The sums of each step, by the labels as one text.
  func amounts(_ metric: HistoryMetric, on axis: HistoryAxis) -> [String: [Int64]] {
    var sums: [String: [Int64]] = [:]
    for fact in facts {
      // It is not in the chart.
      guard let step = step(fact.ended, axis) else { continue }
      func add(_ amount: Int64, _ labels: String...) {
        if amount > 0 {
          sums[labels.joined(separator: "|"), default: Array(repeating: 0, count: Int(axis.count))][step] += amount
        }
      }
      switch metric {
      case .calls: if let outcome = fact.outcome { add(1, fact.provider, outcome.rawValue) }
      case .tokens: for (type, count) in fact.tokens { add(count, fact.provider, type) }
      case .refused: if fact.wasRefused { add(1, fact.provider) }
      case .cost: add(fact.cost, fact.tenant)
      case .waitP50, .waitP95, .waitP99: break
      }
    }
    return sums
  }

  /// The percentile of the waits of each step, in seconds.
  func percentiles(_ percent: Int, _ priority: Priority, on axis: HistoryAxis) -> [Double?] {
    var waits = [[Int64]](repeating: [], count: Int(axis.count))
    for fact in facts where fact.priority == priority && fact.outcome != nil {
      if let step = step(fact.ended, axis), let waited = fact.waited { waits[step].append(waited) }
    }
    return waits.map { waits in
      guard !waits.isEmpty else { return nil }
      let rank = (waits.count * percent + 99) / 100
      return Double(waits.sorted()[max(1, rank) - 1]) / 1e6
    }
  }

  private func step(_ nanoseconds: Int64, _ axis: HistoryAxis) -> Int? {
    let length = axis.step * 1_000_000_000
    let step = nanoseconds / length - axis.begin / length
    return step >= 0 && step < axis.count ? Int(step) : nil
  }
}

/// Numbers that follow from a seed.
struct Dice {
  private var state: UInt64
  init(_ seed: UInt64) { state = seed }

  mutating func roll(_ most: Int) -> Int {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return Int((mixed ^ (mixed >> 31)) % UInt64(most))
  }
}

/// Calls of every kind, as entries in the order of their time.
struct RandomCalls {
  static let hostile = [
    "other", "none", "", "<script>alert(1)</script>", "\u{202E}gnp.exe", "line\nbreak", "'; DROP TABLE roll_ups; --",
    String(repeating: "ü", count: 2_048), "🧾", "e\u{301}", "é",
  ]
  var dice: Dice
  /// How many tenants there are besides the hostile ones.
  var tenants = 6
  /// Of so many requests one stays open at the end.
  var openOne = 40
  /// True where some requests end with the process between two attempts.
  var breaksOff = true
  private var number = 0

  init(seed: UInt64) { dice = Dice(seed) }

  /// - Parameter start: in seconds after the scene's start.
  mutating func entries(_ count: Int, from start: Double, over seconds: Double) -> [LedgerEntry] {
    var events: [(at: Int64, order: Int, entry: LedgerEntry)] = []
    for _ in 0..<count {
      for (at, entry) in call(from: start, over: seconds) { events.append((at, events.count, entry)) }
    }
    return events.sorted { ($0.at, $0.order) < ($1.at, $1.order) }.map(\.entry)
  }

  private mutating func name(_ plain: Int, _ prefix: String) -> String {
    dice.roll(8) == 0 ? Self.hostile[dice.roll(Self.hostile.count)] : "\(prefix)\(dice.roll(plain))"
  }

  /// Mostly anywhere, sometimes at the edge of a slot.
  private mutating func instant(from start: Double, over seconds: Double) -> Int64 {
    let at = Scene.at(start + seconds * Double(dice.roll(100_000)) / 100_000).nanoseconds
    let slot: Int64 = 300_000_000_000
    switch dice.roll(12) {
    case 0: return at / slot * slot
    case 1: return at / slot * slot - 1
    case 2: return at / slot * slot + 1
    default: return at
    }
  }

  private mutating func call(from start: Double, over seconds: Double) -> [(Int64, LedgerEntry)] {
    number += 1
    let ended = instant(from: start, over: seconds)
    let lasted = Int64([1, 800, 4_000, 9_000, 700_000][dice.roll(5)]) * 1_000_000
    let waited = Int64([0, 40, 90, 3_000, 250_000, 12_000_000][dice.roll(6)] * (1 + dice.roll(7)))
    let arrived = ended - lasted - waited * 1_000
    let request = RequestID(
      high: UInt64(max(0, arrived) / 1_000_000) << 16 | UInt64(number & 0xFFFF), low: UInt64(number) &* 0x9E37_79B9)
    let tenant = TenantID(name(tenants, "tenant"))
    let provider = ProviderID(["openai", "anthropic", "<b>x</b>"][dice.roll(3)])
    let priority = Priority.allCases[dice.roll(3)]
    let session = SessionID("s\(dice.roll(4))")
    func end(_ outcome: Outcome, attempts: Int, provider: ProviderID?) -> RequestEnd {
      RequestEnd(
        request: request, arrived: WallInstant(nanoseconds: arrived), ended: WallInstant(nanoseconds: ended),
        tenant: tenant, session: session, priority: priority, priorityReason: "header", kind: nil, model: "m",
        provider: provider, outcome: outcome, status: 200, attempts: attempts, queued: Span(nanoseconds: waited * 1_000)
      )
    }
    if dice.roll(9) == 0 {
      return [(ended, .concluded(end(.rejectedQueueFull, attempts: 0, provider: nil)))]
    }
    func hold(_ attempt: Int, _ at: Int64) -> (Int64, LedgerEntry) {
      (
        at,
        .held(
          AttemptHold(
            request: request, attempt: attempt, at: WallInstant(nanoseconds: at), tenant: tenant, session: session,
            provider: provider, model: "m", priority: priority, reservedInput: 100, reservedOutput: 50,
            held: attempt == 1 ? nil : Money(nanodollars: 777), priceVersion: "p"))
      )
    }
    func attemptEnd(_ attempt: Int, _ at: Int64, status: Int?, sent: Bool, cost: Int64?, _ tokens: Int64) -> AttemptEnd
    {
      AttemptEnd(
        request: request, attempt: attempt, at: WallInstant(nanoseconds: at), verdict: .success, status: status,
        wasSent: sent,
        usage: Usage(
          inputTokens: TokenCount(tokens), cacheReadTokens: TokenCount(tokens / 3),
          cacheWriteTokens: TokenCount(tokens / 5), outputTokens: TokenCount(tokens / 2),
          reasoningTokens: TokenCount(tokens / 7)), cost: cost.map { Money(nanodollars: $0) },
        costSource: cost == nil ? .unknown : .prices, priceVersion: "p")
    }
    let sent = arrived + waited * 1_000
    var events: [(Int64, LedgerEntry)] = [hold(1, sent)]
    var attempts = 1
    if dice.roll(4) == 0 {
      let again = sent + lasted / 2
      let wasSent = dice.roll(2) == 0
      events.append(
        (
          again,
          .settled(
            attemptEnd(1, again, status: wasSent ? 429 : nil, sent: wasSent, cost: Int64(dice.roll(9)), 10))
        ))
      attempts = 2
      // Sometimes the client leaves before the second try, or the process ends between the two.
      switch dice.roll(6) {
      case 0:
        events.append((ended, .concluded(end(.clientLeftQueued, attempts: 1, provider: provider))))
        return events
      case 1 where breaksOff: return events
      default: events.append(hold(2, again))
      }
    }
    if dice.roll(openOne) == 0 { return events }
    let last = attemptEnd(
      attempts, ended, status: dice.roll(10) == 0 ? 429 : 200, sent: dice.roll(12) > 0,
      cost: dice.roll(7) == 0 ? nil : Int64(dice.roll(1_000_000)), Int64(dice.roll(5_000)))
    let outcome = Outcome.allCases[dice.roll(6)]
    if dice.roll(5) == 0 {
      events.append((ended, .settled(last)))
      events.append((ended, .concluded(end(outcome, attempts: attempts, provider: provider))))
    } else {
      events.append((ended, .finished(end(outcome, attempts: attempts, provider: provider), lastAttempt: last)))
    }
    return events
  }
}
