// Reads lengths of time and instants in the formats of providers. Each reader returns nil for implausible values.
import AdmissionCore
import TextForms

enum WireTimes {
  /// Waits longer than a day are implausible, or useless for a running process.
  static let longest = Span.seconds(86_400)

  /// Go's `time.Duration.String()` (`1m30.5s`, `20ms`), protobuf's form (`46.5s`), or a bare number of seconds (Azure).
  /// From 0 to a day.
  static func duration(_ text: some Collection<UInt8>) -> Span? {
    LengthText.nanoseconds(ofParts: trimmed(text), most: longest.nanoseconds).map { Span(nanoseconds: $0) }
  }

  /// Milliseconds as a decimal number, from 0 to a day.
  static func milliseconds(_ text: some Collection<UInt8>) -> Span? {
    guard let value = DecimalText.scaled(trimmed(text), by: 6), value <= longest.nanoseconds else { return nil }
    return Span(nanoseconds: value)
  }

  /// Seconds since 1970 of an RFC 3339 instant (`2026-11-20T21:00:00Z`); fractions are rounded up.
  static func rfc3339(_ text: some Collection<UInt8>) -> Int64? {
    RFC3339.read(trimmed(text)).map { $0.nanoseconds > 0 ? $0.seconds + 1 : $0.seconds }
  }

  /// Seconds since 1970 of an HTTP date in its preferred form: `Sun, 06 Nov 1994 08:49:37 GMT`.
  static func httpDate(_ text: some Collection<UInt8>) -> Int64? { HTTPDate.seconds(trimmed(text)) }

  /// A whole number of at most 16 digits.
  static func digits(_ text: some Collection<UInt8>) -> Int64? {
    guard !text.isEmpty, text.count <= 16 else { return nil }
    var value: Int64 = 0
    for byte in text {
      guard byte >= 0x30, byte <= 0x39 else { return nil }
      value = value * 10 + Int64(byte - 0x30)
    }
    return value
  }

  static func trimmed(_ text: some Collection<UInt8>) -> ArraySlice<UInt8> {
    var bytes = Array(text)[...]
    while let first = bytes.first, first == 0x20 || first == 0x09 { bytes.removeFirst() }
    while let last = bytes.last, last == 0x20 || last == 0x09 { bytes.removeLast() }
    return bytes
  }

  /// Days since 1970-01-01 in the proleptic Gregorian calendar; years 1970 to 9999.
  static func days(year: Int64, month: Int64, day: Int64) -> Int64? {
    guard (1970...9999).contains(year), (1...12).contains(month), day >= 1,
      day <= CivilDate.length(ofMonth: month, year)
    else { return nil }
    return CivilDate(year: year, month: month, day: day).daysSince1970
  }
}
