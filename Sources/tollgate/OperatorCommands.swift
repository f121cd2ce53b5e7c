// The operator's commands to a running broker: keys, breakers, reload, drain.
import ArgumentParser
import Foundation
import ProcessOutput
import TextForms

struct KeysCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "keys", abstract: "List the providers' keys, or take one out of use.",
    subcommands: [List.self, Disable.self, Enable.self], defaultSubcommand: List.self)

  static func table(_ keys: [(provider: String, key: StatusReport.Key)]) -> String {
    var table = TextTable(["KEY", "SECRET", "STATE", "UNTIL", "RUNNING", "EXPIRES", "REASON"], right: [4])
    for (provider, key) in keys {
      table.row([
        "\(provider)/\(key.id)", key.secret ?? "-", key.state, key.until ?? "-", "\(key.inFlight)",
        key.expires ?? "never",
        key.reason ?? "-",
      ])
    }
    return table.text
  }

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "List all keys by id; of a secret the last four characters are shown.")
    @OptionGroup var admin: AdminOptions
    func run() throws {
      let report = try AdminClient(options: admin).get(StatusReport.self, "/api/v1/status")
      Terminal.line(KeysCommand.table(report.providers.flatMap { provider in provider.keys.map { (provider.id, $0) } }))
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
    func run() throws {
      let report = try AdminClient(options: admin).get(StatusReport.self, "/api/v1/status")
      var table = TextTable(["PROVIDER", "STATE", "UNTIL", "LEFT", "REASON"], right: [3])
      let now = Int64((Date().timeIntervalSince1970 * 1e9).rounded())
      for provider in report.providers {
        let breaker = provider.breaker
        table.row([
          provider.id, breaker.state, breaker.until ?? "-", List.left(until: breaker.until, now), breaker.reason ?? "-",
        ])
        for pause in StatusCommand.pauses([provider]) {
          table.row([pause.what, "cooling", pause.until ?? "-", List.left(until: pause.until, now), pause.reason])
        }
      }
      Terminal.line(table.text)
    }

    /// Whole seconds from now, in Unix nanoseconds.
    private static func left(until: String?, _ now: Int64) -> String {
      guard let end = until.flatMap({ RFC3339.nanoseconds($0) }) else { return "-" }
      return "\(max(0, end - now + 999_999_999) / 1_000_000_000)s"
    }
  }

  struct Open: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Let no call through.")
    @Argument(help: "The provider's id.") var provider: String
    @OptionGroup var admin: AdminOptions
    func run() throws { try change(provider, "open", admin) }
  }

  struct Close: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Let every call through, whatever happens.")
    @Argument(help: "The provider's id.") var provider: String
    @OptionGroup var admin: AdminOptions
    func run() throws { try change(provider, "close", admin) }
  }

  struct Auto: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Let the breaker judge for itself again.")
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
