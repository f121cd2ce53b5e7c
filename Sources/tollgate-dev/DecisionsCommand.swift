// `tollgate-dev decisions`: measures what the core's decisions cost with a full queue, for Benchmarks/decisions. It
// drives the core alone, in virtual time: every place is taken; then, again and again, one call ends, the next is
// granted, and another comes.
//
// What is measured is `Admission.handle` alone: what the caller does with its orders is not. The clock is a system call,
// so that two readings with nothing between them are some 0.3 µs apart; how far is measured in the same run, said in the
// output, and subtracted.
import AdmissionCore
import ArgumentParser
import Foundation
import PolicyLab
import ProcessOutput

extension FullQueue.Reach: ExpressibleByArgument {}

struct DecisionsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "decisions", abstract: "Measure the core's decisions with much waiting.")

  @Option(help: "Providers.") var providers = 50
  @Option(help: "Model families of each provider, each with a limit of its own.") var families = 5
  @Option(help: "Sessions that have something waiting.") var lanes = 1000
  @Option(help: "Tenants among which the sessions are spread.") var tenants = 500
  @Option(help: "Requests that wait.") var queued = 10_000
  @Option(help: "Calls that end, one after the other.") var rounds = 20_000
  @Option(help: "Where a call may go: own (one provider, a cluster of its own), cluster, fallback or everywhere.")
  var reach = FullQueue.Reach.own

  func validate() throws {
    guard [providers, families, lanes, tenants, queued, rounds].allSatisfy({ (1...1_000_000).contains($0) }) else {
      throw ValidationError("each number is 1 to 1000000")
    }
  }

  func run() throws {
    var queue = FullQueue(
      FullQueue.Shape(
        providers: providers, families: families, lanes: lanes, tenants: tenants, queued: queued, reach: reach))
    var (fills, ends, comes) = (Costs(), Costs(), Costs())
    for _ in 0..<queue.fill { fills.measure(queue.arrival(), &queue) }
    let filled = queue.grants
    var clock = Costs()
    for _ in 0..<rounds {
      guard let event = queue.end() else { break }
      ends.measure(event, &queue)
      comes.measure(queue.arrival(), &queue)
      clock.measureNothing()
    }
    Terminal.line("µs of CPU                      events    mean     p50     p99    most  looks at providers")
    Terminal.line(fills.row("a request comes", without: clock.median))
    Terminal.line(ends.row("a call ends, the next goes", without: clock.median))
    Terminal.line(comes.row("one comes and all wait", without: clock.median))
    var looks = Costs()
    for _ in 0..<200 { looks.measure { _ = queue.snapshot() } }
    Terminal.line(looks.row("a snapshot of all that", without: clock.median))
    Terminal.line(
      String(format: "Reading the clock took %.2f µs of each event, which is subtracted.", Double(clock.median) / 1000))
    Terminal.line(
      "\(queue.grants - filled) of \(rounds) ends let another go; \(queue.waiting) wait at the end.")
  }
}

/// The CPU time of each event of a kind in nanoseconds, and how many times it tried to place a request at a provider.
private struct Costs {
  private var times: [Int64] = []
  private var looks: UInt64 = 0

  mutating func measure(_ event: AdmissionEvent, _ queue: inout FullQueue) {
    let known = queue.core.placements
    let before = nanoseconds(CLOCK_THREAD_CPUTIME_ID)
    queue.decide(event)
    times.append(nanoseconds(CLOCK_THREAD_CPUTIME_ID) - before)
    looks += queue.core.placements - known
    queue.carryOut()
  }

  /// Two readings of the clock, one after the other.
  mutating func measureNothing() { measure {} }

  mutating func measure(_ body: () -> Void) {
    let before = nanoseconds(CLOCK_THREAD_CPUTIME_ID)
    body()
    times.append(nanoseconds(CLOCK_THREAD_CPUTIME_ID) - before)
  }

  var median: Int64 { times.isEmpty ? 0 : times.sorted()[times.count / 2] }

  /// - Parameter clock: nanoseconds of each time that reading the clock took.
  func row(_ name: String, without clock: Int64) -> String {
    let sorted = times.map { max(0, $0 - clock) }.sorted()
    func micros(_ nanoseconds: Int64) -> String { String(format: "%8.1f", Double(nanoseconds) / 1000) }
    func quantile(_ part: Double) -> String {
      micros(sorted[min(sorted.count - 1, Int(Double(sorted.count) * part))])
    }
    guard !sorted.isEmpty else { return name }
    return name.padding(toLength: 28, withPad: " ", startingAt: 0) + String(format: "%9d", sorted.count)
      + micros(sorted.reduce(0, +) / Int64(sorted.count)) + quantile(0.5) + quantile(0.99) + quantile(1)
      + String(format: "%11.1f an event", Double(looks) / Double(sorted.count))
  }
}
