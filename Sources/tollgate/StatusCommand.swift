// `tollgate status`: one snapshot of a running broker.
import ArgumentParser
import Foundation
import ProcessOutput
import TerminalScreen

struct StatusCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status", abstract: "Show what runs and what waits, once or with --watch again and again.",
    discussion: """
      Exits with 0 when a broker answers and takes work, with 1 when none answers or its ledger refuses new work: fit for a
      health check.
      """)

  @OptionGroup var admin: AdminOptions
  @OptionGroup var watch: WatchOptions
  @Flag(help: "The answer of /api/v1/status as it is.") var json = false

  func run() throws {
    let client = AdminClient(options: admin)
    var ledger: String?
    try watch.show(drawn: !json) {
      let answer = try client.call("GET", "/api/v1/status")
      if json {
        // Print the answer as it is, since another version may have other members.
        ledger = try client.decode(LedgerState.self, answer, of: "/api/v1/status").ledger
        return String(decoding: answer, as: UTF8.self)
      }
      let report = try client.decode(StatusReport.self, answer, of: "/api/v1/status")
      ledger = report.ledger
      return StatusText.text(report, .current)
    }
    if let ledger, ledger != "ok" { throw ExitCode(1) }
  }

  private struct LedgerState: Decodable {
    var ledger: String?
  }
}
