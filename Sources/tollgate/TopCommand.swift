// `tollgate top`: the state of a running broker, drawn again each second.
import ArgumentParser
import Foundation

struct TopCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "top", abstract: "Watch queues, places, buckets, breakers and keys; Ctrl-C ends.")

  @OptionGroup var admin: AdminOptions
  @Option(help: ArgumentHelp("Seconds between two looks, 1 to 60.", valueName: "seconds")) var every = 1

  func validate() throws {
    guard (1...60).contains(every) else { throw ValidationError("--every: found \(every), allowed are 1 to 60") }
  }

  func run() throws {
    let client = AdminClient(options: admin)
    // The first look may fail and ends the command; a later one only says so, since a broker may restart.
    var report = StatusCommand.text(try client.get(StatusReport.self, "/api/v1/status"))
    while true {
      if isatty(1) == 1 {
        Terminal.line("\u{1B}[H\u{1B}[2J" + report)
      } else {
        Terminal.line(report + "\n")
      }
      Thread.sleep(forTimeInterval: Double(every))
      do { report = StatusCommand.text(try client.get(StatusReport.self, "/api/v1/status")) } catch let no as Refusal {
        report = no.description
      }
    }
  }
}
