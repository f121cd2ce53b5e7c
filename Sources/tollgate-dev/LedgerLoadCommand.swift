// `tollgate-dev ledger-load`: writes synthetic calls into a ledger of its own, for Benchmarks/ledger and
// scripts/crash-test. It prints what is committed, as a client or a provider would have seen it.
import AdmissionCore
import ArgumentParser
import Foundation
import LedgerStore
import LedgerVocabulary
import ProcessOutput
import SharedState
import TextForms

struct LedgerLoadCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ledger-load", abstract: "Write made-up calls into a new ledger, and measure it.")

  @Option(help: "The ledger's file.") var store: String
  @Option(help: "Requests per second; 0: as fast as it goes.") var rate = 5000
  @Option(help: "How many requests.") var requests = 50_000
  @Option(help: "Calls that are open at a time.") var open = 500
  @Option(help: "Sessions among which they are spread.") var sessions = 50
  @Option(help: "The time of the first request, in nanoseconds since 1970; 0: now.") var start: Int64 = 0
  @Option(help: "batched or full.") var durability = "batched"
  @Option(help: "The same seed gives the same request ids.") var seed: UInt64 = 0
  @Option(help: "Whose calls they are.") var tenant = "acme"
  @Option(help: "Tenants, named after that one if there are more, among whom they are spread.") var tenants = 1
  @Option(help: "Nanoseconds from one request to the next.") var spacing: Int64 = 100_000
  @Option(help: "Milliseconds after which an open hold gets its row.") var listTime = 5000
  @Flag(help: "Make no roll-ups.") var uncounted = false
  @Flag(help: "With --requests 0: wait until all rows are in the roll-ups, then time five questions of each kind.")
  var history = false
  @Flag(help: "Say `N COUNT` for each commit, so that somebody can end this process and compare.") var tells = false

  func run() throws {
    let began = nanoseconds(CLOCK_REALTIME)
    let first = start == 0 ? began : start
    let meter = CommitMeter(tells: tells)
    var options = LedgerOptions()
    options.listTime = .milliseconds(listTime)
    if listTime < 1000 { options.housekeepingInterval = .milliseconds(listTime) }
    if uncounted { options.rollUpInterval = .seconds(1_000_000) }
    let ledger = try LedgerStore(
      .file(store), durability: durability == "full" ? .full : .batched, options: options,
      now: WallInstant(nanoseconds: began), onCommitted: { meter.committed($0) })
    // What `handOver` reports as safe is printed at once, the rest when its commit is reported.
    let opened = nanoseconds(CLOCK_REALTIME)
    if requests == 0, history { return try ask(ledger) }
    if requests == 0 { return Terminal.line(try start(ledger, opening: opened - began)) }
    if tells { Terminal.line("R \(ledger.recovered.presumedAttempts)") }
    let clock = ContinuousClock()
    let start = clock.now
    // Each round appends what arrives in a millisecond, as a turn of the loop does.
    let perRound = rate == 0 ? 64 : max(1, rate / 1000)
    let calls = MadeUpCalls(
      first: first, spacing: spacing, tenant: tenant, tenants: tenants, sessions: sessions,
      seed: seed == 0 ? UInt64(bitPattern: began) : seed)
    var number: UInt64 = 0
    var gathered = EntryBatch()
    var ownCPU = nanoseconds(CLOCK_THREAD_CPUTIME_ID)
    var round = 0
    while round * perRound < requests + open {
      for request in (round * perRound)..<((round + 1) * perRound) {
        if request < requests {
          gathered.append(calls.hold(request, 1))
          if MadeUpCalls.attempts(request) == 2 {
            gathered.append(calls.void(request))
            gathered.append(calls.hold(request, 2))
          }
        }
        let old = request - open
        if old >= 0, old < requests {
          if tells, old % 11 == 5 {
            // Ends that come apart, as where a client leaves while its request waits for another attempt.
            gathered.append(calls.end(old))
            gathered.append(calls.conclusion(old))
          } else {
            gathered.append(calls.conclusion(old), lastAttempt: calls.end(old))
          }
        }
      }
      number += UInt64(gathered.count)
      meter.appended(number, ends: gathered.count)
      meter.safe(ledger.handOver(gathered.take()).safe)
      round += 1
      if rate == 0 {
        // No more entries wait than the limit on memory allows.
        while ledger.pending > 50_000 { Thread.sleep(forTimeInterval: 0.001) }  // Nothing else waits on this thread.
      } else {
        let due = start + .nanoseconds(Int64(round * perRound) * 1_000_000_000 / Int64(rate))
        let left = due - clock.now
        if left > .zero {
          Thread.sleep(forTimeInterval: Double(left.components.attoseconds) / 1e18)  // Paces the load.
        }
      }
    }
    ownCPU = nanoseconds(CLOCK_THREAD_CPUTIME_ID) - ownCPU
    let unwritten = ledger.close()
    let lasted = clock.now - start
    guard unwritten == 0 else { throw Unwritten(entries: unwritten) }
    if !tells { Terminal.line(report(lasted, meter, ownCPU: ownCPU, opening: opened - began)) }
  }

  /// What a dashboard asks: thirty days in steps of two hours, and a day in steps of five minutes.
  private func ask(_ ledger: LedgerStore) throws {
    let began = nanoseconds(CLOCK_REALTIME)
    while try !ledger.isCounted() { Thread.sleep(forTimeInterval: 0.1) }  // Nothing else waits on this thread.
    let counted = nanoseconds(CLOCK_REALTIME)
    Terminal.line("all rows are in the roll-ups after \((counted - began) / 1_000_000) ms")
    for (name, days, step) in [("30 d, 2 h", 30, 7_200), ("24 h, 5 min", 1, 300)] as [(String, Int64, Int64)] {
      let times = try (0..<5).map { _ in
        let start = nanoseconds(CLOCK_MONOTONIC)
        let answer = try ledger.history(
          HistoryQuery(
            metrics: HistoryMetric.allCases, since: WallInstant(nanoseconds: counted - days * 86_400_000_000_000),
            until: WallInstant(nanoseconds: counted), step: step))
        let ended = nanoseconds(CLOCK_MONOTONIC)
        let calls = answer.charts.first { $0.metric == .calls }?.series.reduce(Int64(0)) { sum, series in
          if case .amounts(let amounts) = series.points { amounts.reduce(sum, +) } else { sum }
        }
        return "\((ended - start) / 1_000_000) ms (\(calls ?? 0) calls)"
      }
      Terminal.line("all metrics of \(name): \(times.joined(separator: ", "))")
    }
  }

  /// What a broker asks before it listens: the sums of two budgets, and the calls of the last two minutes.
  private func start(_ ledger: LedgerStore, opening: Int64) throws -> String {
    let now = nanoseconds(CLOCK_REALTIME)
    let spending = try ledger.spending(
      since: [WallInstant(nanoseconds: 0), WallInstant(nanoseconds: now - 86_400_000_000_000)],
      now: WallInstant(nanoseconds: now))
    let summed = nanoseconds(CLOCK_REALTIME)
    let past = try ledger.pastAttempts(now: WallInstant(nanoseconds: now))
    let ready = nanoseconds(CLOCK_REALTIME)
    return
      "opened in \(opening / 1_000_000) ms, budgets of \(spending.count) sessions in \((summed - now) / 1_000_000) ms, "
      + "\(past.count) attempts of the last minutes in \((ready - summed) / 1_000_000) ms"
  }

  private func report(_ lasted: Duration, _ meter: CommitMeter, ownCPU: Int64, opening: Int64) -> String {
    let seconds = Double(lasted.components.seconds) + Double(lasted.components.attoseconds) / 1e18
    let (commits, delays) = meter.figures
    let writerCPU = Double(nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - ownCPU)
    // A hold and an end; and as many for the first of two attempts.
    let entries = (0..<requests).reduce(0) { $0 + 2 * MadeUpCalls.attempts($1) }
    return """
      opened in \(opening / 1_000_000) ms; \(requests) requests, \(entries) entries in \(String(format: "%.2f", seconds)) s
      requests/s \(Int(Double(requests) / seconds))
      commits \(commits), \(entries / max(1, commits)) entries each
      writer CPU us/request \(String(format: "%.2f", writerCPU / 1000 / Double(requests)))
      ms from append to safe: p50 \(String(format: "%.2f", delays.p50)), p99 \(String(format: "%.2f", delays.p99)), \
      worst \(String(format: "%.2f", delays.worst))
      """
  }
}

/// The calls of a load; everything about a call follows from its number.
private struct MadeUpCalls {
  var first: Int64
  var spacing: Int64
  var tenant: String
  var tenants: Int
  var sessions: Int
  var seed: UInt64

  private func request(_ number: Int) -> RequestID {
    RequestID(
      high: UInt64(at(number) / 1_000_000) << 16 | UInt64(number & 0xFFFF),
      low: (UInt64(number) &+ seed) &* 0x9E37_79B9_7F4A_7C15)
  }
  private func at(_ number: Int) -> Int64 { first + Int64(number) * spacing }
  private func tenant(_ number: Int) -> TenantID {
    tenants > 1 ? TenantID("\(tenant)-\(number % sessions % tenants)") : TenantID(tenant)
  }
  /// More than one only where there is more than one tenant.
  private func provider(_ number: Int) -> ProviderID {
    tenants > 1 ? ["openai", "anthropic", "openrouter", "groq", "mistral"][number % sessions % 5] : "openai"
  }
  private func priority(_ number: Int) -> Priority { tenants > 1 ? Priority.allCases[number % 3] : .normal }
  private func outcome(_ number: Int) -> Outcome {
    tenants > 1 && number % 23 == 0 ? Outcome.allCases[number % 6] : .completed
  }
  private func session(_ number: Int) -> SessionID { SessionID("session-\(number % sessions)") }

  /// Every seventh is tried twice.
  static func attempts(_ number: Int) -> Int { number % 7 == 3 ? 2 : 1 }

  func void(_ number: Int) -> AttemptEnd {
    AttemptEnd(
      request: request(number), attempt: 1, at: WallInstant(nanoseconds: at(number)), verdict: .failed, wasSent: false,
      cost: .zero, costSource: .free, priceVersion: "2026-11-20")
  }

  func hold(_ number: Int, _ attempt: Int) -> AttemptHold {
    AttemptHold(
      request: request(number), attempt: attempt, at: WallInstant(nanoseconds: at(number)), tenant: tenant(number),
      session: session(number), provider: provider(number), key: "main", model: "gpt-6-sol-2026-10",
      priority: priority(number),
      kind: "follow-up", reservedInput: 2000, reservedOutput: 400, held: Money(nanodollars: 8_000_000),
      priceVersion: "2026-11-20")
  }

  func end(_ number: Int) -> AttemptEnd {
    AttemptEnd(
      request: request(number), attempt: Self.attempts(number), at: WallInstant(nanoseconds: at(number) + 50_000_000),
      verdict: .success,
      status: 200, usage: Usage(inputTokens: 1900, cacheReadTokens: 1000, outputTokens: 300),
      cost: Money(nanodollars: 5_000_000 + Int64(number % 1000)), costSource: .prices, priceVersion: "2026-11-20")
  }

  func conclusion(_ number: Int) -> RequestEnd {
    RequestEnd(
      request: request(number), arrived: WallInstant(nanoseconds: at(number)),
      ended: WallInstant(nanoseconds: at(number) + 50_000_000), tenant: tenant(number), session: session(number),
      priority: priority(number), priorityReason: "x-tollgate-priority", kind: "follow-up", model: "gpt-6-sol-2026-10",
      provider: provider(number), key: "main", outcome: outcome(number), status: 200, attempts: Self.attempts(number),
      queued: .milliseconds(tenants > 1 ? Int64(number % 1009 * 7) : 1),
      firstByte: .milliseconds(40))
  }
}

/// How long entries wait for their commit.
private final class CommitMeter: Sendable {
  private struct Box {
    var waiting: [(number: UInt64, at: Int64)] = []
    var next = 0
    var commits = 0
    var told: UInt64 = 0
    var delays: [Double] = []
  }
  private let box = Guarded(Box())
  private let tells: Bool

  init(tells: Bool) { self.tells = tells }

  func appended(_ number: UInt64, ends: Int) {
    guard !tells, ends > 0 else { return }
    let now = nanoseconds(CLOCK_MONOTONIC)
    box.withLock { $0.waiting.append((number, now)) }
  }

  /// The database has everything up to this number.
  func committed(_ number: UInt64) {
    box.withLock { $0.commits += 1 }
    safe(number)
  }

  /// Everything up to this number survives the process.
  func safe(_ number: UInt64) {
    if tells {
      let isNews = box.withLock { box in
        defer { box.told = max(box.told, number) }
        return number > box.told
      }
      if isNews { Terminal.line("N \(number)") }
      return
    }
    let now = nanoseconds(CLOCK_MONOTONIC)
    box.withLock { box in
      while box.next < box.waiting.count, box.waiting[box.next].number <= number {
        box.delays.append(Double(now - box.waiting[box.next].at) / 1e6)
        box.next += 1
      }
    }
  }

  var figures: (commits: Int, delays: (p50: Double, p99: Double, worst: Double)) {
    box.withLock { box in
      let sorted = box.delays.sorted()
      guard let worst = sorted.last else { return (box.commits, (0, 0, 0)) }
      return (box.commits, (sorted[sorted.count / 2], sorted[sorted.count * 99 / 100], worst))
    }
  }
}

/// Thrown where the ledger has not taken all entries of the load.
private struct Unwritten: Error, CustomStringConvertible {
  var entries: Int
  var description: String { "\(entries) entries were not written" }
}

/// What a clock of the system says, in nanoseconds.
func nanoseconds(_ clock: clockid_t) -> Int64 {
  var time = timespec()
  clock_gettime(clock, &time)
  return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
}
