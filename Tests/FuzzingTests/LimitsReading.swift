// Rate-limit fields. No figure is negative, none remains above its limit, and no time lies in the past.
import AdmissionCore
import HTTPMessage

@testable import ProviderWire

enum LimitsReading {
  /// Each line is a field.
  static func flaw(in bytes: [UInt8]) -> String? {
    var fields = HeaderFields()
    for line in bytes.split(separator: 0x0A, omittingEmptySubsequences: true).prefix(64) {
      guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else { continue }
      fields.append(nameBytes: line[..<colon], valueBytes: FieldSyntax.trimmed(line[(colon + 1)...]))
    }
    for now: Int64 in [0, 1_795_953_600] {
      if let wait = RateLimitHeaders.retryAfter(fields, epochSeconds: now), wait.inSeconds < 0 {
        return "retry-after is \(wait)"
      }
      for reading in RateLimitHeaders.read(fields, epochSeconds: now)?.readings ?? [] {
        let figures = [reading.limit, reading.remaining, reading.told].compactMap { $0 }
        if figures.contains(where: { $0 < 0 }) { return "a figure is negative: \(reading)" }
        if let fullIn = reading.fullIn, fullIn.inSeconds < 0 { return "a time lies in the past: \(reading)" }
        if let told = reading.told, let remaining = reading.remaining, remaining > told {
          return "more than all: \(reading)"
        }
      }
    }
    return nil
  }
}
