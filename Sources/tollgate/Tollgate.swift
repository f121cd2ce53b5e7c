// The `tollgate` executable: its commands and exit codes. 0: success, 1: refused or failed, 2: wrong usage, 70: our
// bug.
import ArgumentParser
import Foundation
import ProcessOutput

let tollgateVersion = "0.1.0"

@main
enum Main {
  static func main() {
    StandardStream.prepare()
    Terminal.end(run())
  }

  /// The exit code.
  private static func run() -> Int32 {
    let arguments = Array(CommandLine.arguments.dropFirst())
    if let mistake = HelpText.mistake(in: arguments) {
      Terminal.error(mistake)
      return 2
    }
    do {
      var command = try Tollgate.parseAsRoot()
      try command.run()
      return 0
    } catch let refusal as CommandRefusal {
      Terminal.error(refusal.description)
      return 1
    } catch {
      var message = Tollgate.fullMessage(for: error)
      let code = Tollgate.exitCode(for: error)
      if code == .validationFailure {
        message = Misspelling.completed(message, arguments: arguments)
      }
      if code == .success {
        Terminal.line(HelpText.completed(message, arguments: arguments))
        return 0
      }
      if !message.isEmpty { Terminal.error(message) }
      if code == .validationFailure { return 2 }
      return code.rawValue == 1 ? (error is ExitCode ? 1 : 70) : code.rawValue
    }
  }
}

struct Tollgate: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tollgate",
    abstract: "A sidecar that shares scarce LLM quotas between agents: the call that matters most goes first.",
    discussion: """
      Point your agents at it instead of at the vendor:
        OPENAI_BASE_URL=http://127.0.0.1:4141/v1
        ANTHROPIC_BASE_URL=http://127.0.0.1:4141

      Start with:
        tollgate demo                 see it work, without key and network
        tollgate serve                serve each vendor whose key variable is set
        tollgate serve --policy FILE  serve what FILE says
        tollgate check FILE           find every mistake in a policy
        tollgate env CLIENT           what a client must export (codex, openai)
        tollgate status               what runs and waits ('tollgate top': live)
      """,
    version: tollgateVersion,
    subcommands: commands)

  static let commands: [any ParsableCommand.Type] = [
    ServeCommand.self, CheckCommand.self, StatusCommand.self, TopCommand.self, RequestsCommand.self,
    ExplainCommand.self,
    KeysCommand.self, BreakersCommand.self, BudgetsCommand.self, UsageCommand.self, PricesCommand.self,
    TenantKeyCommand.self,
    EnvCommand.self, ReloadCommand.self, DrainCommand.self, SimulateCommand.self, ProviderSimulatorCommand.self,
    FleetCommand.self, DemoCommand.self,
  ]
}

/// A command that fails: the text says what is wrong, where, and what helps. Exit code 1.
struct CommandRefusal: Error, CustomStringConvertible {
  var description: String
  init(_ description: String) { self.description = description }
}
