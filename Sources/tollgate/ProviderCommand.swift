// `tollgate provider-simulator`: the simulated provider as a process of its own.
import ArgumentParser
import EventLoop
import Foundation
import HTTPEndpoint
import ProcessOutput
import ProviderSimulator

struct ProviderSimulatorCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "provider-simulator",
    abstract: "Run a simulated provider that enforces what real ones enforce; needs no key and no network.",
    discussion: """
      It speaks OpenAI (/v1/chat/completions, /v1/responses, /v1/completions, /v1/embeddings, /v1/models) and Anthropic
      (/v1/messages, /v1/messages/count_tokens, /v1/models). GET /sim/stats tells what it counted, POST /sim/faults orders
      faults, POST /sim/reset starts anew. A limit that is not given is not enforced.
      """)

  @Option(help: "Address and port; port 0 takes a free one. The first line of output tells it.")
  var listen = "127.0.0.1:0"
  @Option(help: "Calls in flight at one time.")
  var concurrency: Int?
  @Option(help: "Calls per minute.")
  var requestsPerMinute: Int?
  @Option(help: "Input tokens per minute; of Anthropic calls, those that were not read from the prompt cache.")
  var inputTokensPerMinute: Int?
  @Option(help: "Output tokens per minute, counted as they are produced.")
  var outputTokensPerMinute: Int?
  @Option(
    help: "Tokens per minute: OpenAI calls are charged the larger of cap and estimate, Anthropic calls what they use.")
  var tokensPerMinute: Int?
  @Option(help: "The buckets hold what refills in this time (1s to 1h).")
  var burst = DurationArgument(.seconds(60))
  @Option(help: "Who shares the limits: shared (all keys) or per-key.")
  var quota: SimulatorConfiguration.Quota = .shared
  @Option(help: "What answers tell about the limits: all (the vendor's fields), retry-after (on refusals), nothing.")
  var telling: SimulatorConfiguration.Telling = .all
  @Option(help: "Who reads what another has left in the prompt cache: shared (all keys) or per-key.")
  var promptCache: SimulatorConfiguration.Quota = .perKey
  @Option(help: "How long a prompt prefix is cached (0ms to 1h); one marked for an hour, twelve times as long.")
  var cacheLife = DurationArgument(.seconds(300))
  @Option(help: "How long the permit of a finished call stays counted (0ms to 1h).")
  var permitLag = DurationArgument(.zero)
  @Option(help: "From the complete request to the first byte of the answer (0ms to 1h).")
  var firstToken = DurationArgument(.milliseconds(50))
  @Option(help: "Pace of the output after that; 0 is at once.")
  var tokensPerSecond = 0.0
  @Option(help: "Length of the answers: one number, or a range such as 20-60.")
  var outputTokens = LengthArgument(20...60)
  @Option(help: "True tokens per estimated token (UTF-8 bytes of text / 4).")
  var tokenRatio = 1.0
  @Option(help: "Accepted API keys, separated by commas; without it every key is accepted.")
  var keys: String?
  @Option(help: "Answers are the same for the same seed and the same requests.")
  var seed: UInt64 = 1

  func validate() throws {
    let limits = [
      ("--concurrency", concurrency), ("--requests-per-minute", requestsPerMinute),
      ("--input-tokens-per-minute", inputTokensPerMinute), ("--output-tokens-per-minute", outputTokensPerMinute),
      ("--tokens-per-minute", tokensPerMinute),
    ]
    for (name, value) in limits where value.map({ $0 < 1 }) ?? false {
      throw ValidationError("\(name) must be 1 or more; leave it out for no limit")
    }
    guard burst.duration >= .seconds(1) else { throw ValidationError("--burst must be 1s or more") }
    guard tokensPerSecond >= 0 else { throw ValidationError("--tokens-per-second must be 0 or more") }
    guard tokenRatio > 0, tokenRatio <= 100 else {
      throw ValidationError("--token-ratio must be above 0 and at most 100")
    }
    if try ListenArgument(listen).port > 65_535 { throw ValidationError("--listen must have a port of 0 to 65535") }
  }

  func run() throws {
    var configuration = SimulatorConfiguration()
    configuration.concurrency = concurrency
    configuration.requestsPerMinute = requestsPerMinute
    configuration.inputTokensPerMinute = inputTokensPerMinute
    configuration.outputTokensPerMinute = outputTokensPerMinute
    configuration.tokensPerMinute = tokensPerMinute
    configuration.burst = burst.duration
    configuration.quota = quota
    configuration.telling = telling
    configuration.promptCache = promptCache
    configuration.cacheLife = cacheLife.duration
    configuration.permitLag = permitLag.duration
    configuration.firstToken = firstToken.duration
    configuration.tokensPerSecond = tokensPerSecond
    configuration.outputTokens = outputTokens.range
    configuration.tokenRatio = tokenRatio
    configuration.keys = keys.map { $0.split(separator: ",").map(String.init) } ?? []
    configuration.seed = seed

    let loop = try EventLoop()
    let simulator = ProviderSimulator(configuration, time: LoopTime(loop))
    var limits = EndpointLimits()
    limits.bodyBytes = 64 << 20
    let server = HTTPServer(loop: loop, handler: simulator, limits: limits)
    let place = try ListenArgument(listen)
    let address: EndpointAddress
    do {
      address = try server.listen(.tcp(host: place.host, port: place.port))
    } catch let error as EndpointError {
      throw CommandRefusal(error.description)
    }
    let signals = try [SIGTERM, SIGINT].map { signal in try SignalWatch(loop, signal: signal) { loop.stop() } }
    // The parent process waits for this line, also through a pipe.
    Terminal.post("provider-simulator listening on http://\(address)")
    withExtendedLifetime((server, signals)) { loop.run() }
    server.close()
  }
}

/// `host:port`, an IPv6 host in brackets.
struct ListenArgument {
  var host: String
  var port: Int

  init(_ text: String) throws {
    guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]), port >= 0 else {
      throw ValidationError("an address must look like 127.0.0.1:8080 or [::1]:8080, not '\(text)'")
    }
    host = String(text[..<colon])
    if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
    self.port = port
    guard !host.isEmpty else { throw ValidationError("the address '\(text)' has no host") }
  }
}

/// A duration as policies write it: `500ms`, `5s`, `2m`, `1h`.
struct DurationArgument: ExpressibleByArgument, CustomStringConvertible {
  var duration: Duration
  let description: String

  init(_ duration: Duration) {
    self.duration = duration
    let (seconds, attoseconds) = duration.components
    description = attoseconds == 0 ? "\(seconds)s" : "\(seconds * 1000 + attoseconds / 1_000_000_000_000_000)ms"
  }

  init?(argument: String) {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)]
    guard let unit = units.first(where: { argument.hasSuffix($0.0) }),
      let value = Double(argument.dropLast(unit.0.count)),
      value >= 0, value * Double(unit.1) <= 3_600_000
    else { return nil }
    duration = .milliseconds(Int(value * Double(unit.1)))
    description = argument
  }

  var defaultValueDescription: String { description }
}

/// A number of tokens, or a range of them.
struct LengthArgument: ExpressibleByArgument, CustomStringConvertible {
  var range: ClosedRange<Int>
  var description: String { range.count == 1 ? "\(range.lowerBound)" : "\(range.lowerBound)-\(range.upperBound)" }

  init(_ range: ClosedRange<Int>) { self.range = range }

  init?(argument: String) {
    let parts = argument.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
    guard let first = parts.first ?? nil, let last = parts.last ?? nil, parts.count <= 2, first >= 0, last >= first,
      last <= 10_000_000
    else { return nil }
    range = first...last
  }

  var defaultValueDescription: String { description }
}

extension SimulatorConfiguration.Quota: ExpressibleByArgument {}
extension SimulatorConfiguration.Telling: ExpressibleByArgument {}
