// Times, lengths of time, amounts of money and counts as operators read them: one form each, in every command.
import TextForms

/// Times as the user's clock shows them.
public struct LocalClock {
  /// Nanoseconds since 1970.
  public var now: Int64
  /// The seconds that the user's clock is ahead of UTC at a time, in seconds since 1970.
  private let offset: (Int64) -> Int64

  public init(now: Int64, offset: @escaping (Int64) -> Int64) {
    self.now = now
    self.offset = offset
  }

  /// `14:02:31`, or where it is not today `2026-11-30 14:02`.
  /// - Parameter nanoseconds: since 1970.
  public func text(_ nanoseconds: Int64) -> String {
    let local = shown(nanoseconds)
    if local.day == shown(now).day { return String(local.time) }
    return "\(local.day) \(local.time.prefix(5))"
  }

  /// The same of a time in RFC 3339; what is none stays as it is.
  public func text(_ time: String) -> String { RFC3339.nanoseconds(time).map { text($0) } ?? time }

  /// `2026-11-30 14:02:31.123 +01:00` of a time in RFC 3339: a moment with its zone. What is none stays as it is.
  public func zoned(_ time: String) -> String {
    guard let nanoseconds = RFC3339.nanoseconds(time) else { return time }
    let local = shown(nanoseconds)
    let milliseconds = (nanoseconds % 1_000_000_000 + 1_000_000_000) % 1_000_000_000 / 1_000_000
    let digits = String(1000 + milliseconds).dropFirst()
    return "\(local.day) \(local.time)" + (milliseconds == 0 ? "" : ".\(digits)") + " \(zone(nanoseconds))"
  }

  /// `UTC`, or how far the clock is ahead of it: `+01:00`.
  private func zone(_ nanoseconds: Int64) -> String {
    let minutes = ahead(nanoseconds / 1_000_000_000) / 60
    if minutes == 0 { return "UTC" }
    let size = minutes.magnitude
    let (hours, rest) = (String(100 + size / 60).dropFirst(), String(100 + size % 60).dropFirst())
    return "\(minutes < 0 ? "-" : "+")\(hours):\(rest)"
  }

  private func ahead(_ seconds: Int64) -> Int64 { min(max(-86_400, offset(seconds)), 86_400) }

  /// The time from now until then, `0 s` where it has passed; nil where the text is no time.
  public func left(until time: String) -> String? {
    RFC3339.nanoseconds(time).map { SpanText.text(seconds: max(0, $0 - now + 999_999_999) / 1_000_000_000) }
  }

  /// The time from then until now; nil where the text is no time.
  public func past(since time: String) -> String? {
    RFC3339.nanoseconds(time).map { SpanText.text(seconds: max(0, now - $0) / 1_000_000_000) }
  }

  private func shown(_ nanoseconds: Int64) -> (day: Substring, time: Substring) {
    let seconds = nanoseconds / 1_000_000_000
    let text = RFC3339.text(min(max(0, seconds + ahead(seconds)), 9_000_000_000) * 1_000_000_000, .none)
    return (text.prefix(10), text.dropFirst(11).prefix(8))
  }
}

/// Lengths of time.
public enum SpanText {
  /// `0 s`, `41 s`, `4 m 10 s`, `2 h 5 m`, `3 d 4 h`.
  public static func text(seconds: Int64) -> String {
    let seconds = max(0, seconds)
    switch seconds {
    case ..<60: return "\(seconds) s"
    case ..<3600: return pair(seconds / 60, "m", seconds % 60, "s")
    case ..<86_400: return pair(seconds / 3600, "h", seconds % 3600 / 60, "m")
    default: return pair(seconds / 86_400, "d", seconds % 86_400 / 3600, "h")
    }
  }

  /// `0 ms`, `412 ms`, `4.1 s`, and from ten seconds on as above.
  public static func text(milliseconds: Int64) -> String {
    let milliseconds = max(0, milliseconds)
    if milliseconds < 1000 { return "\(milliseconds) ms" }
    if milliseconds < 10_000 { return "\(milliseconds / 1000).\(milliseconds % 1000 / 100) s" }
    return text(seconds: milliseconds / 1000)
  }

  private static func pair(_ large: Int64, _ unit: String, _ small: Int64, _ fine: String) -> String {
    small == 0 ? "\(large) \(unit)" : "\(large) \(unit) \(small) \(fine)"
  }
}

/// Money and counts.
public enum AmountText {
  /// `$20.50` of `20.500000000`, `$0.0123` of `0.012300000`: at least two decimals, and no needless zeros behind them. What is no
  /// number stays as it is.
  public static func dollars(_ amount: String) -> String { DollarText.text(amount) }

  /// The same to the cent from ten cents on, else with two more decimals: for a table that changes each second.
  public static func shortDollars(_ amount: String) -> String {
    guard let nanos = DecimalText.scaled(amount.utf8, by: 9) else { return dollars(amount) }
    if nanos == 0 { return "$0.00" }
    let places: Int64 = nanos >= 100_000_000 ? 2 : 4
    let unit: Int64 = places == 2 ? 10_000_000 : 100_000
    if nanos < unit { return "<$0.0001" }
    let text = DecimalText.text(nanos / unit * unit, places: 9)
    return dollars(text)
  }

  /// `812`, `12.4k`, `1.2M`, `3.0G`.
  public static func short(_ count: Int64) -> String {
    guard count >= 10_000 else { return "\(count)" }
    for (unit, name) in [(1_000_000_000 as Int64, "G"), (1_000_000, "M"), (1000, "k")] where count >= unit {
      return "\(count / unit).\(count % unit / (unit / 10))\(name)"
    }
    return "\(count)"
  }

  /// True for `0`, `0.000000000` and the like.
  public static func isZero(_ amount: String) -> Bool { amount.allSatisfy { $0 == "0" || $0 == "." } }
}
