// `tollgate check`: every mistake of every file, or silence.
import ArgumentParser
import BrokerEngine
import Foundation
import PolicyFile

struct CheckCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check", abstract: "Find every mistake in policy files.",
    discussion: """
      Prints nothing and exits with 0 when all is well. Otherwise prints a line for each mistake,
        FILE:LINE:COLUMN: error: FIELD: what is wrong, what is allowed
      and exits with 1. Variables such as ${OPENAI_API_KEY} must be set, as they must be for 'serve'.
      """)

  @Argument(help: "Policy files in YAML.", completion: .file(extensions: ["yaml", "yml"]))
  var files: [String]

  func run() throws {
    var lines: [String] = []
    for file in files {
      do {
        let text = try PolicyLoading.text(of: file)
        let parsing = PolicyParser.parse(
          text: text, file: file, environment: ProcessInfo.processInfo.environment, knowsTimeZone: BudgetCalendar.knows)
        lines += parsing.diagnostics.map(\.description)
        // The prices file that a policy names belongs to the policy.
        if let policy = parsing.policy { _ = try PolicyLoading.prices(of: policy, relativeTo: file) }
      } catch let refusal as CommandRefusal {
        lines.append(refusal.description)
      }
    }
    if !lines.isEmpty { throw CommandRefusal(lines.joined(separator: "\n")) }
  }
}
