// `tollgate fleet`: a fleet of simulated agents against any base URL, with figures for people or machines.
import ArgumentParser
import EventLoop
import FleetSimulator
import Foundation
import ProcessOutput
import UpstreamHTTP

struct FleetCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "fleet",
    abstract: "Put the load of a named fleet of simulated agents on a base URL and measure it.",
    discussion: "Profiles, and the provider simulator that each is meant for:\n"
      + FleetProfile.all.map { "  \($0.name): \($0.purpose) (\($0.provider))" }.joined(separator: "\n"))

  @Option(
    help: "What an OpenAI SDK would be given, such as http://127.0.0.1:4141/v1; or unix:/PATH, where a broker listens.")
  var baseURL: String
  @Option(help: ArgumentHelp("The load: \(FleetProfile.all.map(\.name).joined(separator: ", ")).", valueName: "name"))
  var profile: String
  @Option(help: "For how long calls are begun.")
  var seconds = 10.0
  @Option(help: "Seconds that running calls have to finish afterwards; the default is the profile's.")
  var drain: Double?
  @Option(help: "The provider simulator behind it, such as http://127.0.0.1:9000; its counts join the figures.")
  var simulatorURL: String?
  @Option(help: "The token budget per minute that a token load is made for.")
  var budget = 600_000
  @Option(help: "Retries of each client, as SDKs make them.")
  var retries = 0
  @Flag(help: "Send no x-tollgate-* fields: the base URL is a provider's.")
  var direct = false
  @Option(help: "Bearer credential of the fleet.")
  var key = "fleet"
  @Option(help: "The same seed asks for the same sizes.")
  var seed: UInt64 = 1
  @Flag(help: "Print one JSON object.")
  var json = false

  func validate() throws {
    guard FleetProfile.named(profile) != nil else {
      throw ValidationError("--profile must be one of \(FleetProfile.all.map(\.name).joined(separator: ", "))")
    }
    guard seconds > 0, seconds <= 86_400 else { throw ValidationError("--seconds must be above 0 and at most 86400") }
    guard budget > 0 else { throw ValidationError("--budget must be 1 or more") }
    guard retries >= 0 else { throw ValidationError("--retries must be 0 or more") }
    guard ["http://", "https://", "unix:"].contains(where: baseURL.hasPrefix) else {
      throw ValidationError("--base-url must begin with http://, https:// or unix:/")
    }
    _ = try BrokerAddress(baseURL, from: "--base-url")
  }

  func run() throws {
    guard let profile = FleetProfile.named(profile) else { return }
    let loop = try EventLoop()
    let upstream = try CurlUpstream(loop: loop)
    let address = try BrokerAddress(baseURL, from: "--base-url")
    upstream.configure(
      provider: "fleet", ProviderTransport(maxIdleConnections: 200, proxy: "", socketPath: address.socketPath))
    // The simulator is elsewhere.
    let probing = address.socketPath == nil ? upstream : try CurlUpstream(loop: loop)
    if probing !== upstream { probing.configure(provider: "fleet", ProviderTransport(proxy: "")) }
    var options = FleetOptions(baseURL: address.socketPath == nil ? address.base : address.base + "/v1")
    options.retries = retries
    options.sendsHints = !direct
    options.seed = seed
    options.key = key
    options.paceFactor = profile.paceFactor(tokensPerMinute: budget)
    let fleet = Fleet(loop: loop, upstream: upstream, groups: profile.groups, options: options)
    let probe = simulatorURL.map { SimulatorProbe(upstream: probing, url: trimmed($0)) }
    let run = FleetRun(
      loop: loop, fleet: fleet, probe: probe, seconds: seconds, drain: drain ?? profile.drain)
    var wasInterrupted = false
    let signals = try [SIGTERM, SIGINT].map { signal in
      try SignalWatch(loop, signal: signal) {
        wasInterrupted = true
        run.interrupt()
      }
    }
    var outcome: FleetOutcome?
    run.start {
      outcome = $0
      loop.stop()
    }
    withExtendedLifetime(signals) { loop.run() }
    upstream.close()
    probing.close()
    guard var outcome else { return }
    if json {
      Terminal.line(
        outcome.measures.json(profile: profile.name, provider: outcome.provider, departures: outcome.departures))
    } else {
      var table = FleetTable(colours: false)
      Terminal.line(table.text(outcome.measures, counts: outcome.counts, title: profile.name))
    }
    if outcome.measures.neverConnected {
      throw CommandRefusal(
        "tollgate: nothing answers at \(address.shown)\(address.obstacle.map { " (\($0))" } ?? ""): every call of the fleet failed without an answer. "
          + "Is it the base URL of a running 'tollgate serve' or provider?")
    }
    if simulatorURL != nil, outcome.provider == nil, !wasInterrupted {
      throw CommandRefusal(
        "tollgate: no provider simulator answers at \(simulatorURL ?? ""): its counts are missing. "
          + "It is what 'tollgate provider-simulator' prints when it starts")
    }
  }

  private func trimmed(_ url: String) -> String { url.hasSuffix("/") ? String(url.dropLast()) : url }
}
