// How commands print their reports: for this terminal and this clock, once or again and again.
import ArgumentParser
import EventLoop
import Foundation
import ProcessOutput
import TerminalScreen

extension ReportPage {
  /// For whoever reads standard output now.
  static var current: ReportPage {
    ReportPage(
      clock: LocalClock(now: Int64((Date().timeIntervalSince1970 * 1e9).rounded())) { seconds in
        Int64(TimeZone.current.secondsFromGMT(for: Date(timeIntervalSince1970: TimeInterval(seconds))))
      }, width: TerminalDevice.size?.columns, colours: Terminal.hasColours)
  }
}

/// The options of reports that can be watched.
struct WatchOptions: ParsableArguments {
  @Flag(help: "Show it again and again; Ctrl-C ends.") var watch = false
  @Option(help: ArgumentHelp("Seconds between two looks with --watch, 1 to 3600. Default: 1.", valueName: "seconds"))
  var every: Int?

  func validate() throws {
    guard let every else { return }
    guard (1...3600).contains(every) else { throw ValidationError("--every: found \(every), allowed are 1 to 3600") }
    guard watch else {
      throw ValidationError("--every says how often --watch looks, and it is not watched: give --watch too")
    }
  }

  /// Prints what `report` makes, once or until a signal ends the process, which is its usual end: with 0. A first failure ends the
  /// command; later ones are shown, since a broker may start again.
  /// - Parameter drawn: false for output that machines read: each report is printed after the one before it, and nothing else.
  func show(drawn: Bool = true, _ report: () throws -> String) throws {
    if watch { EndingSignals.endQuietly() }
    let first = try report()
    guard watch else {
      let columns = drawn ? TerminalDevice.size?.columns : nil
      return Terminal.answer(WatchOptions.ended(columns.map { WatchedPage.broken(first, columns: $0) } ?? first))
    }
    let isScreen = drawn && Terminal.isScreen
    try withoutActuallyEscaping(report) { report in
      WatchOptions.draw(first, isScreen, isFirst: true)
      if StandardStream.hasNoOutput { return }
      try Repetition.run(every: .seconds(every ?? 1)) {
        do {
          WatchOptions.draw(try report(), isScreen, isFirst: false)
        } catch {
          if drawn { WatchOptions.draw("\(error)", isScreen, isFirst: false) } else { Terminal.error("\(error)") }
        }
      }
    }
  }

  /// With a line feed at its end; CSV, whose lines end with two characters, has one.
  private static func ended(_ text: String) -> String { text.utf8.last == UInt8(ascii: "\n") ? text : text + "\n" }

  /// On a terminal in the place of the last one, without a moment of emptiness; elsewhere below it.
  private static func draw(_ text: String, _ isScreen: Bool, isFirst: Bool) {
    guard isScreen else { return Terminal.answer(WatchOptions.ended(text)) }
    let size = TerminalDevice.size ?? (columns: 80, rows: 24)
    let rows = WatchedPage.rows(text, columns: size.columns, rows: size.rows)
    let body = rows.map { WatchedPage.drawn($0, columns: size.columns) }.joined()
    Terminal.answer((isFirst ? "\u{1B}[2J" : "") + "\u{1B}[H\(body)\u{1B}[J")
  }
}

/// Work that is done again and again until the process ends.
enum Repetition {
  static func run(every pause: Duration, _ work: @escaping () -> Void) throws {
    let loop = try EventLoop()
    let ticker = Ticker(loop) { timer in
      work()
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
}
