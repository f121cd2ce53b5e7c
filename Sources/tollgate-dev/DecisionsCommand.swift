// `tollgate-dev decisions`: what the core's decisions cost where much waits, for Benchmarks/decisions. The core alone, in virtual time:
// a full queue, every place taken; then again and again one call ends, the next is granted, and another comes.
import AdmissionCore
import ArgumentParser
import Foundation
import ProcessOutput

struct DecisionsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "decisions", abstract: "Measure the core's decisions with much waiting.")

  @Option(help: "Providers, each a cluster of its own.") var providers = 50
  @Option(help: "Model families of each provider, each with a limit of its own.") var families = 5
  @Option(help: "Sessions that have something waiting.") var lanes = 1000
  @Option(help: "Tenants among which the sessions are spread.") var tenants = 500
  @Option(help: "Requests that wait.") var queued = 10_000
  @Option(help: "Calls that end, one after the other.") var rounds = 20_000

  func validate() throws {
    guard [providers, families, lanes, tenants, queued, rounds].allSatisfy({ (1...1_000_000).contains($0) }) else {
      throw ValidationError("each number is 1 to 1000000")
    }
  }

  func run() throws {
    var load = DecisionLoad(self)
    let filled = load.fill()
    let steady = load.turnOver(rounds)
    Terminal.line("µs of CPU                      events    mean     p50     p99    most")
    Terminal.line(row("a request comes", filled))
    Terminal.line(row("a call ends, the next goes", steady.end))
    Terminal.line(row("one comes and all wait", steady.come))
    Terminal.line("\(steady.granted) of \(rounds) ends let another go; \(load.waiting) wait at the end.")
  }

  private func row(_ name: String, _ costs: [Int64]) -> String {
    let sorted = costs.sorted()
    func micros(_ nanoseconds: Int64) -> String { String(format: "%8.1f", Double(nanoseconds) / 1000) }
    func quantile(_ part: Double) -> String {
      micros(sorted[min(sorted.count - 1, Int(Double(sorted.count) * part))])
    }
    guard !sorted.isEmpty else { return name }
    return name.padding(toLength: 28, withPad: " ", startingAt: 0) + String(format: "%9d", sorted.count)
      + micros(sorted.reduce(0, +) / Int64(sorted.count)) + quantile(0.5) + quantile(0.99) + quantile(1)
  }
}

/// The core under the load, and the CPU time of each of its events in nanoseconds.
private struct DecisionLoad {
  private var core: Admission
  private var now = Instant(nanoseconds: 1_000_000_000)
  private var running: [LeaseID] = []
  private var actions: ActionList = []
  private var number: UInt64 = 0
  private let shape: DecisionsCommand

  init(_ shape: DecisionsCommand) {
    self.shape = shape
    let providers = (0..<shape.providers).map { index in
      var provider = ProviderPolicy(
        id: ProviderID("p\(index)"), limits: Limits(concurrency: 2 * shape.families),
        modelLimits: (0..<shape.families).map {
          ModelLimits(models: Glob("f\($0)-*"), limits: Limits(concurrency: 2, tokensPerMinute: 1_000_000_000))
        })
      provider.cluster = provider.id
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

  var waiting: Int { core.snapshot(at: now).queuedByBand.reduce(0, +) }

  private mutating func send(_ event: AdmissionEvent) -> Int64 {
    actions.removeAll(keepingCapacity: true)
    now = now + Span.milliseconds(1)
    let before = nanoseconds(CLOCK_THREAD_CPUTIME_ID)
    core.handle(event, at: now, into: &actions)
    let cost = nanoseconds(CLOCK_THREAD_CPUTIME_ID) - before
    for action in actions { if case .grant(let grant) = action { running.append(grant.lease) } }
    return cost
  }

  private mutating func come() -> Int64 {
    number += 1
    let lane = Int(number) % shape.lanes
    let ticket = Ticket(
      id: RequestID(high: 0, low: number), tenant: TenantID("t\(lane % shape.tenants)"),
      session: SessionID("s\(lane)"), priority: Priority.allCases[lane % 3],
      candidates: [Candidate(provider: ProviderID("p\(lane % shape.providers)"))],
      model: "f\(lane / shape.providers % shape.families)-x", heldBytes: 1000, estimatedInput: 1000, outputCap: 500)
    return send(.submitted(ticket))
  }

  mutating func fill() -> [Int64] {
    let places = 2 * shape.providers * shape.families
    return (0..<shape.queued + places).map { _ in come() }
  }

  mutating func turnOver(_ rounds: Int) -> (end: [Int64], come: [Int64], granted: Int) {
    var (ends, comes): ([Int64], [Int64]) = ([], [])
    var granted = 0
    for round in 0..<rounds {
      guard !running.isEmpty else { break }
      let lease = running.remove(at: round * 7919 % running.count)
      let before = running.count
      ends.append(
        send(
          .settled(
            lease,
            Settlement(
              verdict: .success, usage: Usage(inputTokens: 1000, outputTokens: 100 + TokenCount(Int64(round % 300)))))))
      granted += running.count - before
      comes.append(come())
    }
    return (ends, comes, granted)
  }
}
