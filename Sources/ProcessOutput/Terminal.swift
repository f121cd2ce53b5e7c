// Writes text for people to the right stream, without trapping or hanging, and with colours only where a terminal shows
// them.
import Foundation

/// The output of an executable's commands.
public enum Terminal {
  /// The output of a process with an event loop: it never waits for the reader.
  public static let output = OutputWriter(descriptor: 1)
  public static let errors = OutputWriter(descriptor: 2)

  /// `tollgate: ...` on standard error, before the process ends at the latest.
  public static func error(_ text: String) {
    errors.write(Array((text.hasSuffix("\n") ? text : text + "\n").utf8))
  }

  /// A line of a command's answer on standard output, written at once even to a pipe; waits for the reader.
  public static func line(_ text: String) { answer(text + "\n") }

  /// A command's answer as it is. Ends the process quietly where the reader has gone, and with an error where the
  /// answer cannot be written.
  public static func answer(_ text: String) {
    let ending = StandardStream.write(Array(text.utf8), to: 1)
    if ending.isWhole { return }
    if ending.hasNoReader { end(0) }
    error("tollgate: standard output cannot be written: \(ending.reason)")
    end(1)
  }

  /// A line on standard output from a process with an event loop.
  public static func post(_ text: String) { output.write(Array((text + "\n").utf8)) }

  /// Writes the remaining output and ends the process; a reader that takes nothing gets two seconds.
  public static func end(_ code: Int32, patience: DispatchTimeInterval = .seconds(2)) -> Never {
    let deadline = DispatchTime.now() + patience
    output.flush(until: deadline)
    errors.flush(until: deadline)
    exit(code)
  }

  /// True where standard output is a terminal that can be drawn on.
  public static var isScreen: Bool {
    isatty(1) == 1 && !["", "dumb"].contains(ProcessInfo.processInfo.environment["TERM", default: ""])
  }

  /// True where colours may be used on standard output (https://no-color.org).
  public static var hasColours: Bool {
    isatty(1) == 1 && ProcessInfo.processInfo.environment["NO_COLOR", default: ""].isEmpty
      && ProcessInfo.processInfo.environment["TERM"] != "dumb"
  }

  public static func coloured(_ text: String, _ code: Int) -> String {
    hasColours ? "\u{1B}[\(code)m\(text)\u{1B}[0m" : text
  }
}
