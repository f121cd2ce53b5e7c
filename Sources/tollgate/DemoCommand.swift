// `tollgate demo`: the simulated provider, the real broker and a fleet of simulated agents, with a live table. No key, no network.
import ArgumentParser
import EventLoop
import FleetSimulator
import Foundation
import ProcessOutput
import UpstreamHTTP

struct DemoCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "demo",
    abstract:
      "Show what Tollgate does: a simulated provider, the broker and a fleet of agents; needs no key and no network.",
    discussion: """
      50 background sessions, a tree of subagents, compaction and a user who steers share a provider of 50 permits and a
      token budget. The table shows for each class how long its calls waited. Ctrl-C ends it.
      """)

  @Option(help: "For how long the fleet calls.")
  var seconds = 20
  @Flag(help: "Run the same fleet without Tollgate afterwards, and compare.")
  var baseline = false

  func validate() throws {
    guard (1...86_400).contains(seconds) else { throw ValidationError("--seconds must be between 1 and 86400") }
  }

  func run() throws {
    let loop = try EventLoop()
    let demo = try Demonstration(loop: loop, seconds: seconds, comparesBaseline: baseline)
    let signals = try [SIGTERM, SIGINT, SIGHUP].map { signal in
      try SignalWatch(loop, signal: signal) { demo.interrupt() }
    }
    demo.start()
    withExtendedLifetime(signals) { loop.run() }
    demo.cleanUp()
    if let failure = demo.failure {
      throw CommandRefusal(failure.description)
    }
  }
}

/// The acts of the demonstration, one after the other.
final class Demonstration {
  private static let permits = 50
  private static let tokensPerMinute = 900_000

  private(set) var failure: ChildProcessError?
  private let loop: EventLoop
  private let seconds: Int
  private let comparesBaseline: Bool
  private let upstream: CurlUpstream
  private let folder: URL
  private let isTerminal = isatty(STDOUT_FILENO) == 1
  private var table: FleetTable
  private var children: [ChildProcess] = []
  private var simulator = ""
  private var probe: SimulatorProbe?
  private var run: FleetRun?
  private var ticker: LoopTimer?
  private var elapsed = 0
  private var drawnLines = 0
  private var isInterrupted = false

  init(loop: EventLoop, seconds: Int, comparesBaseline: Bool) throws {
    self.loop = loop
    self.seconds = seconds
    self.comparesBaseline = comparesBaseline
    upstream = try CurlUpstream(loop: loop)
    upstream.configure(provider: "fleet", ProviderTransport(maxIdleConnections: 200, proxy: ""))
    folder = FileManager.default.temporaryDirectory.appendingPathComponent("tollgate-demo-\(UUID().uuidString)")
    try FileManager.default.createDirectory(
      at: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    table = FleetTable(colours: Terminal.hasColours)
  }

  // MARK: Acts

  func start() {
    attempt {
      let arguments = [
        "provider-simulator", "--listen", "127.0.0.1:0", "--concurrency", String(Self.permits), "--tokens-per-minute",
        String(Self.tokensPerMinute),
      ]
      let child = try ChildProcess(loop: loop, arguments: arguments, folder: folder)
      children.append(child)
      child.urls(onLinesWith: ["listening on"]) { [unowned self] result in
        guard let urls = value(of: result) else { return }
        simulator = urls[0]
        probe = SimulatorProbe(upstream: upstream, url: simulator)
        startBroker()
      }
    }
  }

  private func startBroker() {
    attempt {
      let policy = folder.appendingPathComponent("demo.yaml")
      try Data(Self.policy(simulator: simulator).utf8).write(to: policy)
      let arguments = ["serve", "--policy", policy.path, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
      let child = try ChildProcess(
        loop: loop, arguments: arguments, environment: ["TOLLGATE_DEMO_KEY": "demo"], folder: folder)
      children.append(child)
      child.urls(onLinesWith: ["(data)", "(admin)"]) { [unowned self] result in
        guard let urls = value(of: result) else { return }
        show("Tollgate        OPENAI_BASE_URL=\(urls[0])/v1")
        show("                ANTHROPIC_BASE_URL=\(urls[0])")
        show("Dashboard       \(urls[1])/")
        show("Terminal        tollgate top --admin \(urls[1])")
        show(
          "Provider        \(simulator) (simulated: \(Self.permits) permits, \(Self.tokensPerMinute) tokens per minute)"
        )
        show("")
        play(urls[0] + "/v1", title: "With Tollgate", hints: true) { [unowned self] with in
          guard comparesBaseline, !isInterrupted else { return end(with, nil) }
          probe?.reset { [unowned self] _ in
            play(simulator + "/v1", title: "Without Tollgate", hints: false) { [unowned self] in end(with, $0) }
          }
        }
      }
    }
  }

  /// Runs the fleet once and shows its table every second.
  private func play(_ url: String, title: String, hints: Bool, then: @escaping (FleetOutcome) -> Void) {
    var options = FleetOptions(baseURL: url)
    options.sendsHints = hints
    options.retries = 2
    let fleet = Fleet(loop: loop, upstream: upstream, groups: FleetProfile.demo.groups, options: options)
    let run = FleetRun(loop: loop, fleet: fleet, probe: probe, seconds: Double(seconds), drain: 10)
    self.run = run
    elapsed = 0
    drawnLines = 0
    tick(fleet, title)
    run.start { [unowned self] outcome in
      ticker = nil
      draw(outcome.measures, outcome.counts, title, isLast: true)
      then(outcome)
    }
  }

  private func tick(_ fleet: Fleet, _ title: String) {
    let ticker = LoopTimer(loop) { [unowned self] in
      elapsed += 1
      probe?.counts { [weak self, weak fleet] counts in
        guard let self, let fleet, self.ticker != nil else { return }
        draw(fleet.measures, counts, title, isLast: false)
      }
      self.ticker?.schedule(after: .seconds(1))
    }
    self.ticker = ticker
    ticker.schedule(after: .seconds(1))
  }

  private func end(_ with: FleetOutcome, _ without: FleetOutcome?) {
    show("")
    show(table.comparison(with, without))
    loop.stop()
  }

  /// Ctrl-C: the figures so far, then everything ends.
  func interrupt() {
    guard !isInterrupted else { return }
    isInterrupted = true
    if let run { run.interrupt() } else { loop.stop() }
  }

  /// Ends the children and removes what was written.
  func cleanUp() {
    ticker = nil
    upstream.close()
    for child in children.reversed() { child.end() }
    try? FileManager.default.removeItem(at: folder)
  }

  // MARK: Output

  private func draw(_ measures: FleetMeasures, _ counts: ProviderCounts?, _ title: String, isLast: Bool) {
    guard isTerminal else {
      if !isLast { show(table.line(measures, counts: counts, second: elapsed)) }
      return
    }
    let text = table.text(measures, counts: counts, title: "\(title)  \(min(elapsed, seconds)) s of \(seconds) s")
    // Goes back to the first line of the last table, and clears from there.
    let back = drawnLines > 0 ? "\u{1B}[\(drawnLines)A\u{1B}[J" : ""
    drawnLines = text.split(separator: "\n", omittingEmptySubsequences: false).count
    show(back + text)
  }

  /// Never waits, so that the fleet goes on while a reader is slow. Ends the demonstration where the reader has gone.
  private func show(_ text: String) {
    Terminal.post(text)
    if Terminal.output.hasNoReader { interrupt() }
  }

  // MARK: Errors

  private func value(of result: Result<[String], ChildProcessError>) -> [String]? {
    switch result {
    case .success(let urls): return urls
    case .failure(let error):
      failure = error
      loop.stop()
      return nil
    }
  }

  private func attempt(_ work: () throws -> Void) {
    do {
      try work()
    } catch {
      failure = error as? ChildProcessError ?? ChildProcessError(description: "\(error)")
      loop.stop()
    }
  }

  private static func policy(simulator: String) -> String {
    """
    version: 1
    store: "memory:"
    drain_timeout: 1s
    providers:
      simulator:
        dialect: openai
        base_url: \(simulator)/v1
        keys: [{id: demo, secret: "${TOLLGATE_DEMO_KEY}"}]
        limits: {concurrency: \(permits), tokens_per_minute: \(tokensPerMinute)}
    routes:
      - {models: ["*"], to: [simulator]}
    # The load is larger than the provider on purpose: that many wait is no news.
    alerts: {queue: {warning: 250, critical: 1000}}
    """
  }
}
