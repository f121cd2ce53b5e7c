// `tollgate requests`: the requests that wait, that run and that have ended, with their ids for `explain`.
import ArgumentParser
import Foundation
import ProcessOutput
import TerminalScreen

struct RequestsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "requests", abstract: "List requests that wait, run or have ended, with their ids for 'explain'.",
    discussion: """
      Without --state it lists those that wait, then those that run, then those that have ended, the newest first.

      Examples:
        tollgate requests --state queued --slowest
        tollgate requests --session nightly --limit 20
        tollgate requests --tenant acme --watch
      """)

  enum State: String, ExpressibleByArgument, CaseIterable { case queued, running, recent }

  @Option(help: "Only those that are queued, running, or have ended (recent).") var state: State?
  @Option(help: "Only those of this session.") var session: String?
  @Option(help: "Only those of this tenant.") var tenant: String?
  @Flag(help: "Those that have taken longest first.") var slowest = false
  @Option(help: ArgumentHelp("How many at most, 1 to 1000.", valueName: "count")) var limit = 100
  @Flag(help: "The answer of /api/v1/requests as it is.") var json = false
  @OptionGroup var watch: WatchOptions
  @OptionGroup var admin: AdminOptions

  func validate() throws {
    guard (1...1000).contains(limit) else { throw ValidationError("--limit: found \(limit), allowed are 1 to 1000") }
  }

  func run() throws {
    let client = AdminClient(options: admin)
    var parameters = ["limit=\(limit)"]
    if let state { parameters.append("state=\(state.rawValue)") }
    if let session { parameters.append("session=\(AdminClient.segment(session))") }
    if let tenant { parameters.append("tenant=\(AdminClient.segment(tenant))") }
    if slowest { parameters.append("sort=slowest") }
    let path = "/api/v1/requests?" + parameters.joined(separator: "&")
    try watch.show(drawn: !json) {
      let answer = try client.call("GET", path)
      if json { return String(decoding: answer, as: UTF8.self) }
      return RequestText.text(try client.decode(RequestReport.self, answer, of: path).requests, .current)
    }
  }
}
