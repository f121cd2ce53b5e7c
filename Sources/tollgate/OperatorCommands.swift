// The operator's commands to a running broker: keys, breakers, reload, drain.
import ArgumentParser
import Foundation
import ProcessOutput
import TerminalScreen

struct KeysCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "keys", abstract: "List the providers' keys, or take one out of use.",
    subcommands: [List.self, Disable.self, Enable.self], defaultSubcommand: List.self)

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "List all keys by id; of a secret the last four characters are shown.")
    @OptionGroup var admin: AdminOptions
    @OptionGroup var watch: WatchOptions
    @Flag(help: "As JSON: the providers' keys of /api/v1/status, each with its provider.") var json = false

    func run() throws {
      let client = AdminClient(options: admin)
      try watch.show(drawn: !json) {
        if json { return try StatusExtract.keys(of: client) }
        return StatusText.keys(try client.get(StatusReport.self, "/api/v1/status"), .current)
      }
    }
  }

  struct Disable: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Use a key no more; calls that run finish.")
    @Argument(help: "PROVIDER/KEY, as 'tollgate keys' lists it.") var key: String
    @OptionGroup var admin: AdminOptions
    func run() throws { try change(key, "disable", admin) }
  }

  struct Enable: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Use a key again.")
    @Argument(help: "PROVIDER/KEY, as 'tollgate keys' lists it.") var key: String
    @OptionGroup var admin: AdminOptions
    func run() throws { try change(key, "enable", admin) }
  }

  private static func change(_ key: String, _ verb: String, _ admin: AdminOptions) throws {
    let parts = key.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, parts.allSatisfy({ !$0.isEmpty }) else {
      throw ValidationError("'\(key)' is no key: give PROVIDER/KEY, as 'tollgate keys' lists it")
    }
    _ = try AdminClient(options: admin).call(
      "POST", "/api/v1/keys/\(AdminClient.segment(parts[0]))/\(AdminClient.segment(parts[1]))/\(verb)")
    Terminal.line("\(key): \(verb)d")
  }
}

struct BreakersCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "breakers", abstract: "List the providers' circuit breakers and what rests, or set one by hand.",
    discussion: """
      closed: calls flow. open: none does. 'auto' closes it now and lets it judge for itself from then on. What a provider has \
      asked a pause for is 'cooling'; 'close' and 'auto' end that too.
      """,
    subcommands: [List.self, Open.self, Close.self, Auto.self], defaultSubcommand: List.self)

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "List all breakers, and the providers and models that rest, with the time that is left.")
    @OptionGroup var admin: AdminOptions
    @OptionGroup var watch: WatchOptions
    @Flag(help: "As JSON: the breakers and pauses of /api/v1/status, each with its provider.") var json = false

    func run() throws {
      let client = AdminClient(options: admin)
      try watch.show(drawn: !json) {
        if json { return try StatusExtract.breakers(of: client) }
        return StatusText.breakers(try client.get(StatusReport.self, "/api/v1/status"), .current)
      }
    }
  }

  struct Open: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Let no call through.",
      discussion: """
        Waiting calls go to the next provider of their route; where there is none, they and new ones are refused with 503 (529) at once.
        It stays open until 'tollgate breakers auto PROVIDER', 'close', or a start of the broker.
          tollgate breakers open anthropic
        """)
    @Argument(help: "The provider's id.") var provider: String
    @OptionGroup var admin: AdminOptions
    func run() throws { try change(provider, "open", admin) }
  }

  struct Close: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Let every call through, whatever happens.",
      discussion:
        "Until 'tollgate breakers auto PROVIDER', 'open', or a start of the broker. Pauses that the provider asked for end."
    )
    @Argument(help: "The provider's id.") var provider: String
    @OptionGroup var admin: AdminOptions
    func run() throws { try change(provider, "close", admin) }
  }

  struct Auto: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Let the breaker judge for itself again.",
      discussion: "It is closed now, and opens by the provider's failures. Pauses that the provider asked for end.")
    @Argument(help: "The provider's id.") var provider: String
    @OptionGroup var admin: AdminOptions
    func run() throws { try change(provider, "auto", admin) }
  }

  private static func change(_ provider: String, _ verb: String, _ admin: AdminOptions) throws {
    guard !provider.isEmpty else {
      throw ValidationError("the provider's id is empty: give one that 'tollgate breakers' lists")
    }
    _ = try AdminClient(options: admin).call("POST", "/api/v1/breakers/\(AdminClient.segment(provider))/\(verb)")
    Terminal.line("\(provider): \(verb)")
  }
}

struct ReloadCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "reload", abstract: "Make a running broker read its policy again, as SIGHUP does.",
    discussion: "A policy with a mistake is refused whole: the mistakes are printed and the old policy stays.")
  @OptionGroup var admin: AdminOptions
  func run() throws {
    _ = try AdminClient(options: admin).call("POST", "/api/v1/reload")
    Terminal.line("reloaded")
  }
}

struct DrainCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "drain", abstract: "Make a running broker stop admitting, finish and exit, as SIGTERM does.")
  @OptionGroup var admin: AdminOptions
  func run() throws {
    _ = try AdminClient(options: admin).call("POST", "/api/v1/drain")
    Terminal.line("draining")
  }
}

/// Parts of the status as JSON. Members that this version does not know stay.
private enum StatusExtract {
  static func keys(of client: AdminClient) throws -> String {
    let keys = try providers(client).flatMap { provider in
      (provider["keys"] as? [[String: Any]] ?? []).map {
        $0.merging(["provider": provider["id"] ?? ""]) { old, _ in old }
      }
    }
    return try text(["keys": keys])
  }

  /// For each provider its breaker and its `pause`; its models that rest or have a breaker under `models`.
  static func breakers(of client: AdminClient) throws -> String {
    let breakers = try providers(client).map { provider in
      var breaker = provider["breaker"] as? [String: Any] ?? [:]
      breaker["provider"] = provider["id"] ?? ""
      breaker["pause"] =
        provider["state"] as? String == "cooling"
        ? ["until": provider["until"] ?? NSNull(), "reason": provider["reason"] ?? NSNull()] : NSNull()
      breaker["models"] = (provider["models"] as? [[String: Any]] ?? []).filter {
        $0["state"] as? String != "usable" || $0["breaker"] != nil
      }
      return breaker
    }
    return try text(["breakers": breakers])
  }

  private static func providers(_ client: AdminClient) throws -> [[String: Any]] {
    let answer = try client.call("GET", "/api/v1/status")
    guard let status = try? JSONSerialization.jsonObject(with: answer) as? [String: Any] else {
      throw CommandRefusal(AdminClient.unexpected(client.options.shownAddress(of: "/api/v1/status")))
    }
    return status["providers"] as? [[String: Any]] ?? []
  }

  private static func text(_ object: [String: Any]) throws -> String {
    String(
      decoding: try JSONSerialization.data(withJSONObject: object, options: [.sortedKeys, .withoutEscapingSlashes]),
      as: UTF8.self)
  }
}
