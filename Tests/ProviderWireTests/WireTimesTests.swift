// Times as providers write them.
import AdmissionCore
import Testing

@testable import ProviderWire

@Suite struct WireTimesTests {
  @Test(
    arguments: [
      ("20ms", 20_000_000), ("1s", 1_000_000_000), ("6m0s", 360_000_000_000), ("1m30.5s", 90_500_000_000),
      ("2m59.56s", 179_560_000_000),
      ("1h0m0s", 3_600_000_000_000), ("37", 37_000_000_000), ("0", 0), ("46.5s", 46_500_000_000), ("12µs", 12_000),
      ("12us", 12_000),
      ("3ns", 3), (" 5s ", 5_000_000_000), ("24h", 86_400_000_000_000), ("7.66s", 7_660_000_000),
      ("", nil), ("s", nil), ("-1s", nil), ("1x", nil), ("1s2", nil), ("25h", nil), ("1e9s", nil),
      ("999999999999999999999h", nil),
      ("1.2.3s", nil), (".", nil), ("soon", nil), ("24h1ns", nil),
    ] as [(String, Int64?)])
  func readsDurations(_ text: String, _ nanoseconds: Int64?) {
    #expect(WireTimes.duration(Array(text.utf8))?.nanoseconds == nanoseconds)
  }

  @Test(
    arguments: [
      ("1970-01-01T00:00:00Z", 0), ("2026-11-20T21:00:00Z", 1_795_208_400), ("2026-11-20T21:00:00.000Z", 1_795_208_400),
      ("2026-11-20T21:00:00.1Z", 1_795_208_401), ("2026-11-20t22:30:00+01:30", 1_795_208_400),
      ("2026-11-20T20:00:00-01:00", 1_795_208_400),
      ("2024-02-29T00:00:00Z", 1_709_164_800), ("2023-02-29T00:00:00Z", nil), ("2026-13-01T00:00:00Z", nil),
      ("2026-11-20T24:00:00Z", nil),
      ("2026-11-20 21:00:00", nil), ("", nil), ("2026-11-20T21:00:00", nil), ("2026-11-20T21:00:00.Z", nil),
      ("2026-11-20T21:00:00Zx", nil),
      ("0001-01-01T00:00:00Z", nil), ("2026-11-20T21:00:00+99:00", nil),
    ] as [(String, Int64?)])
  func readsInstants(_ text: String, _ seconds: Int64?) {
    #expect(WireTimes.rfc3339(Array(text.utf8)) == seconds)
  }

  @Test(
    arguments: [
      ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777), ("Fri, 20 Nov 2026 21:00:00 GMT", 1_795_208_400),
      ("Sun, 06 Nov 1994 08:49:37", nil),
      ("Sun, 32 Nov 1994 08:49:37 GMT", nil), ("Sun, 06 Foo 1994 08:49:37 GMT", nil), ("30", nil), ("", nil),
      ("Sun, 06 Nov 1994 08:49 GMT", nil),
    ] as [(String, Int64?)])
  func readsHTTPDates(_ text: String, _ seconds: Int64?) {
    #expect(WireTimes.httpDate(Array(text.utf8)) == seconds)
  }
}
