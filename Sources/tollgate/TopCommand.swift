// `tollgate top`: the state of a running broker, drawn again each second.
import ArgumentParser
import EventLoop
import Foundation
import ProcessOutput

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
    let loop = try EventLoop()
    // If the first call fails, the command ends; a later failure is only shown, since a broker may restart.
    TopCommand.draw(StatusCommand.text(try client.get(StatusReport.self, "/api/v1/status")))
    let pause = Duration.seconds(every)
    let ticker = Ticker(loop) { timer in
      do {
        TopCommand.draw(StatusCommand.text(try client.get(StatusReport.self, "/api/v1/status")))
      } catch {
        TopCommand.draw("\(error)")
      }
      timer.schedule(after: pause)
    }
    ticker.timer.schedule(after: pause)
    loop.run()
  }

  private final class Ticker {
    private(set) lazy var timer: LoopTimer = LoopTimer(loop) { [unowned self] in action(timer) }
    private let loop: EventLoop
    private let action: (LoopTimer) -> Void
    init(_ loop: EventLoop, action: @escaping (LoopTimer) -> Void) {
      self.loop = loop
      self.action = action
    }
  }

  private static func draw(_ text: String) {
    Terminal.line(isatty(1) == 1 ? "\u{1B}[H\u{1B}[2J" + text : text + "\n")
  }
}
