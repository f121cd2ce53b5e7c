// How a command that only shows something ends by a signal: quietly, at once, and with 0, since nothing of it is lost.
import Foundation

public enum EndingSignals {
  /// From now on SIGTERM, SIGINT and SIGHUP end the process with 0, whatever it waits for. What it was told to ignore when it began
  /// (by `nohup`) stays ignored.
  public static func endQuietly() {
    let ignored = ignoredSignals()
    for number in [SIGTERM, SIGINT, SIGHUP] where ignored >> UInt64(number - 1) & 1 == 0 {
      // A handler may call nearly nothing: not what `exit` would run.
      signal(number) { _ in _exit(0) }
    }
  }

  /// A bit for each; none where the system does not tell.
  private static func ignoredSignals() -> UInt64 {
    guard let status = try? String(contentsOfFile: "/proc/self/status", encoding: .utf8),
      let line = status.split(separator: "\n").first(where: { $0.hasPrefix("SigIgn:") })
    else { return 0 }
    return UInt64(line.dropFirst("SigIgn:".count).trimmingCharacters(in: .whitespaces), radix: 16) ?? 0
  }
}
