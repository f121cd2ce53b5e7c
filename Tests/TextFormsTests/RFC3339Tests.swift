// Instants at the borders of days, offsets and years, and everything that is none.
import Testing

@testable import TextForms

@Suite struct RFC3339Tests {
  @Test(
    arguments: [
      ("1970-01-01T00:00:00Z", 0, 0), ("2026-11-20T21:00:00Z", 1_795_208_400, 0),
      ("2026-11-20t21:00:00.5z", 1_795_208_400, 500_000_000),
      ("2026-11-20 22:00:00.123456789999+01:00", 1_795_208_400, 123_456_789),
      ("2026-11-20T20:30:00-00:30", 1_795_208_400, 0),
      ("1970-01-01T00:00:00+23:59", -86_340, 0), ("2028-02-29T23:59:60Z", 1_835_481_600, 0),
      ("9999-12-31T23:59:59Z", 253_402_300_799, 0),
    ] as [(String, Int64, Int64)])
  func readsInstants(_ text: String, _ seconds: Int64, _ nanoseconds: Int64) throws {
    let found = try #require(RFC3339.read(text.utf8))
    #expect(found.seconds == seconds)
    #expect(found.nanoseconds == nanoseconds)
  }

  @Test(
    arguments: [
      "", "2026", "2026-11-20", "2026-11-20T21:00Z", "2026-11-20T21:00:00", "2026-11-20T24:00:00Z",
      "2026-11-20T21:60:00Z",
      "2026-11-20T21:00:61Z", "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z",
      "2026-01-00T00:00:00Z",
      "1969-12-31T23:59:59Z", "2026-11-20T21:00:00.Z", "2026-11-20T21:00:00+24:00", "2026-11-20T21:00:00+1:00",
      "2026-11-20T21:00:00Zx", "99999-01-01T00:00:00Z", "2026-11-20T21:00:00.\(String(repeating: "9", count: 5000))Z",
    ])
  func refusesWhatIsNone(_ text: String) { #expect(RFC3339.read(text.utf8) == nil) }

  @Test func lenientlyADateAndMinutesWillDo() throws {
    #expect(try #require(RFC3339.read("2026-11-20".utf8, isLenient: true)).seconds == 1_795_132_800)
    #expect(try #require(RFC3339.read("2026-11-20T21:00Z".utf8, isLenient: true)).seconds == 1_795_208_400)
    #expect(RFC3339.read("2026-11-20T21:00".utf8, isLenient: true) == nil)
  }
}

@Suite struct RFC3339WriterTests {
  @Test(
    arguments: [
      (0, "1970-01-01T00:00:00.000Z"), (1_709_164_799_999_999_999, "2024-02-28T23:59:59.999Z"),
      (-1, "1969-12-31T23:59:59.999Z"), (4_102_444_800_000_000_000, "2100-01-01T00:00:00.000Z"),
      (.min, "1677-09-21T00:12:43.145Z"), (.max, "2262-04-11T23:47:16.854Z"),
    ] as [(Int64, String)])
  func writes(_ nanoseconds: Int64, _ text: String) { #expect(RFC3339.text(nanoseconds) == text) }

  @Test func writesAsMuchOfASecondAsIsWanted() {
    #expect(RFC3339.text(1_999_999_999, .none) == "1970-01-01T00:00:01Z")
    #expect(RFC3339.text(1_000_999_999, .millisecondsIfAny) == "1970-01-01T00:00:01Z")
    #expect(RFC3339.text(1_001_000_000, .millisecondsIfAny) == "1970-01-01T00:00:01.001Z")
  }

  @Test func readsWhatItWrites() {
    for seconds in stride(from: Int64(0), to: 7_289_654_400, by: 86_400 * 97 + 12_345) {
      #expect(RFC3339.nanoseconds(RFC3339.text(seconds * 1_000_000_000)) == seconds * 1_000_000_000)
    }
  }
}

@Suite struct RFC3339NanosecondsTests {
  @Test(
    arguments: [
      ("1970-01-01", 0), ("1970-01-01T00:00:01Z", 1), ("2026-11-29", 1_795_910_400),
      ("2026-11-29T12:30:00Z", 1_795_955_400),
      ("2026-11-29t12:30:00z", 1_795_955_400), ("2026-11-29T12:30:00+02:00", 1_795_948_200),
      ("2026-11-29T12:30:00-01:30", 1_795_960_800), ("2026-11-29T12:30Z", 1_795_955_400),
      ("2024-02-29", 1_709_164_800), ("2200-12-31", 7_289_568_000),
    ] as [(String, Int64)])
  func reads(_ text: String, _ seconds: Int64) {
    #expect(RFC3339.nanoseconds(text) == seconds * 1_000_000_000)
  }

  @Test func readsFractions() {
    #expect(RFC3339.nanoseconds("1970-01-01T00:00:00.5Z") == 500_000_000)
    #expect(RFC3339.nanoseconds("1970-01-01T00:00:00.1234567891Z") == 123_456_789)
  }

  @Test(arguments: [
    "", "soon", "2026", "2026-13-01", "2026-02-29", "2026-00-10", "2026-11-31", "1969-12-31", "2201-01-01",
    "2026-11-29T", "2026-11-29T24:00:00Z",
    "2026-11-29T12:60:00Z", "2026-11-29T12:00:00", "2026-11-29T12:00:00+24:00", "2026-11-29T12:00:00Zx", "2026-11-29 ",
    "-026-11-29", "9999999999999999999",
  ])
  func refuses(_ text: String) {
    #expect(RFC3339.nanoseconds(text) == nil)
  }

  @Test func strictlyADateAloneIsNone() {
    #expect(RFC3339.nanoseconds("2026-11-29", isLenient: false) == nil)
    #expect(RFC3339.nanoseconds("2026-11-29T12:30Z", isLenient: false) == nil)
    #expect(RFC3339.nanoseconds("1970-01-01T00:00:01Z", isLenient: false) == 1_000_000_000)
  }
}
