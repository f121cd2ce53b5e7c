// The only reader of lengths of time: `500ms`, `30s`, `2d` as people write them, and `1m30.5s` as machines do. The
// caller says which units and which lengths are allowed.

public enum LengthText {
  public enum Unit: String, CaseIterable, Sendable {
    case nanoseconds = "ns"
    case microseconds = "us"
    case milliseconds = "ms"
    case seconds = "s"
    case minutes = "m"
    case hours = "h"
    case days = "d"
    case weeks = "w"

    public var nanoseconds: Int64 {
      switch self {
      case .nanoseconds: 1
      case .microseconds: 1000
      case .milliseconds: 1_000_000
      case .seconds: 1_000_000_000
      case .minutes: 60 * 1_000_000_000
      case .hours: 3_600 * 1_000_000_000
      case .days: 86_400 * 1_000_000_000
      case .weeks: 604_800 * 1_000_000_000
      }
    }
  }

  /// A whole number of at most `mostDigits` digits (18 at most) and one of the units, in nanoseconds; nil for anything else, and where 64 bits are
  /// not enough.
  public static func nanoseconds(_ text: some StringProtocol, _ units: Set<Unit>, mostDigits: Int) -> Int64? {
    let bytes = text.utf8
    let digits = bytes.prefix { isDigit($0) }
    guard !digits.isEmpty, digits.count <= min(mostDigits, 18),
      let unit = Unit(rawValue: String(text[digits.endIndex...])), units.contains(unit)
    else { return nil }
    let count = digits.reduce(Int64(0)) { $0 * 10 + Int64($1 - UInt8(ascii: "0")) }
    let (length, overflow) = count.multipliedReportingOverflow(by: unit.nanoseconds)
    return overflow ? nil : length
  }

  /// A sequence of decimal numbers with units from nanoseconds to hours, as in Go's `time.Duration` (`1m30.5s`) and
  /// protobuf (`46.5s`); or a single number without a unit, in seconds. In nanoseconds; nil for anything else, and for
  /// more than `most`.
  public static func nanoseconds(ofParts text: ArraySlice<UInt8>, most: Int64) -> Int64? {
    var rest = text
    guard !rest.isEmpty else { return nil }
    var total: Int64 = 0
    while !rest.isEmpty {
      let isNumber = { (byte: UInt8) in isDigit(byte) || byte == UInt8(ascii: ".") }
      let number = rest.prefix(while: isNumber)
      rest = rest.dropFirst(number.count)
      let name = rest.prefix { !isNumber($0) }
      rest = rest.dropFirst(name.count)
      // A number without a unit must be the only one.
      if name.isEmpty, total != 0 || !rest.isEmpty { return nil }
      guard let unit = partUnit(String(decoding: name, as: UTF8.self)) else { return nil }
      // Minutes and hours are whole numbers of seconds, so no precision below a nanosecond is lost.
      let seconds = max(1, unit.nanoseconds / Unit.seconds.nanoseconds)
      let power =
        unit.nanoseconds >= Unit.seconds.nanoseconds ? 9 : unit == .milliseconds ? 6 : unit == .microseconds ? 3 : 0
      guard let value = DecimalText.scaled(number, by: power), value <= most else { return nil }
      let (part, isTooLong) = value.multipliedReportingOverflow(by: seconds)
      guard !isTooLong, part <= most - total else { return nil }
      total += part
    }
    return total
  }

  private static func partUnit(_ name: String) -> Unit? {
    switch name {
    case "": .seconds
    case "µs", "μs": .microseconds
    case "d", "w": nil
    default: Unit(rawValue: name)
    }
  }

  private static func isDigit(_ byte: UInt8) -> Bool { byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") }
}
