// `tollgate serve`: the broker in the foreground.
import ArgumentParser
import BrokerEngine
import Foundation
import PolicyFile

extension AccessLogFormat: ExpressibleByArgument {}
extension LogThreshold: ExpressibleByArgument {}

struct ServeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "serve", abstract: "Run the broker in the foreground.",
    discussion: """
      Without --policy it serves every vendor whose usual variable is set (OPENAI_API_KEY, ANTHROPIC_API_KEY, ...).
      Flags win over the policy file. Standard output gets one line for each listener, standard error the log.

      Signals: SIGHUP reads the policy again (a bad file is refused and the old one stays); SIGTERM and SIGINT stop
      admitting, finish what runs and exit with 0; a second one stops at once.

      Examples:
        tollgate serve
        tollgate serve --policy policies/coding-agents.yaml
        tollgate serve --listen 127.0.0.1:4141 --listen unix:/run/tollgate.sock --admin off
      """)

  @Option(help: "The policy file; 'tollgate check FILE' finds its mistakes.", completion: .file())
  var policy: String?

  @Option(
    help: ArgumentHelp(
      "Where clients connect; may be repeated. IP:PORT or unix:/PATH. Port 0 takes a free one.", valueName: "addr"))
  var listen: [String] = []

  @Option(help: ArgumentHelp("Where status and metrics are served, or 'off'.", valueName: "addr"))
  var admin: String?

  @Option(help: ArgumentHelp("The ledger: a path, sqlite:///PATH or memory:.", valueName: "path"))
  var store: String?

  @Option(help: "The log on standard error: text, json, or off for text without a line for each request.")
  var logFormat: AccessLogFormat?

  @Option(
    help: "The least serious messages that the log has: debug, info, warning or error; lines of requests are info.")
  var logLevel: LogThreshold?

  func validate() throws {
    for text in listen where ListenAddress(text) == nil {
      throw ValidationError(
        "--listen: '\(text)' is no address; allowed are IP:PORT such as 127.0.0.1:4141 and unix:/PATH")
    }
    if let admin, admin != "off", ListenAddress(admin) == nil {
      throw ValidationError(
        "--admin: '\(admin)' is no address; allowed are IP:PORT such as 127.0.0.1:4142, unix:/PATH and off")
    }
    if let store, StoreLocation(store) == nil {
      throw ValidationError("--store: '\(store)' is no store; allowed are a path, sqlite:///PATH and memory:")
    }
  }

  func run() throws {
    do {
      let process = try BrokerProcess(
        BrokerProcess.Options(policyFile: policy, adjust: adjust))
      try process.run()
    } catch let refusal as CommandRefusal {
      throw refusal
    } catch {
      // For a port in use or an unreadable certificate, the adapters' errors say what is wrong and what helps.
      throw CommandRefusal("tollgate: \(error)")
    }
  }

  private func adjust(_ policy: inout Policy) throws {
    if !listen.isEmpty { policy.listen = listen.compactMap { ListenAddress($0) } }
    if let admin { policy.admin.listen = admin == "off" ? nil : ListenAddress(admin) }
    if let store, let location = StoreLocation(store) { policy.store = location }
    if let logFormat { policy.log.format = LogForm(rawValue: logFormat.rawValue) }
    if let logLevel { policy.log.level = logLevel }
    let mistakes = policy.listenerMistakes
    if !mistakes.isEmpty {
      throw CommandRefusal(mistakes.map { "tollgate: \($0.field): \($0.message)" }.joined(separator: "\n"))
    }
  }
}
