// Lengths of time, with each unit, at their ends, and what is none.
import Testing

@testable import TextForms

@Suite struct LengthTextTests {
  private func read(_ text: String, _ units: Set<LengthText.Unit> = Set(LengthText.Unit.allCases), digits: Int = 18)
    -> Int64?
  {
    LengthText.nanoseconds(text, units, mostDigits: digits)
  }
  private func parts(_ text: String, most: Int64 = 86_400_000_000_000) -> Int64? {
    LengthText.nanoseconds(ofParts: Array(text.utf8)[...], most: most)
  }

  @Test func eachUnitIsRead() {
    #expect(
      ["1ns", "1us", "1ms", "1s", "1m", "1h", "1d", "1w"].map { read($0) }
        == LengthText.Unit.allCases.map(\.nanoseconds))
    #expect(read("0s") == 0 && read("007d") == 7 * 86_400_000_000_000)
    for unit in LengthText.Unit.allCases { #expect(read("2" + unit.rawValue, [unit]) == 2 * unit.nanoseconds) }
  }

  @Test(arguments: [
    "", "s", "5", "5 s", " 5s", "5s ", "-5s", "+5s", "1.5s", "5S", "5min", "5ss", "٣s", "5µs", "1m30s", "0x5s",
  ])
  func whatIsNoLengthIsNone(_ text: String) {
    #expect(read(text) == nil)
  }

  @Test func onlyTheCallersUnitsAndDigitsCount() {
    #expect(read("5w", [.seconds, .days]) == nil)
    #expect(read("12345s", digits: 5) == 12_345_000_000_000 && read("123456s", digits: 5) == nil)
    #expect(read("999999999999999999ns") == 999_999_999_999_999_999 && read("1000000000000000000ns", digits: 99) == nil)
  }

  @Test func sixtyFourBitsAreTheEnd() {
    #expect(read("9223372036s") == 9_223_372_036_000_000_000)
    #expect(read("9223372037s") == nil)
    #expect(read("15250w") == 15_250 * 604_800_000_000_000 && read("15251w") == nil)
  }

  @Test func partsAddUp() {
    #expect(parts("1m30.5s") == 90_500_000_000 && parts("46.5s") == 46_500_000_000 && parts("20ms") == 20_000_000)
    #expect(parts("1h0m0s") == 3_600_000_000_000 && parts("7") == 7_000_000_000 && parts("0") == 0)
    #expect(parts("5us") == 5000 && parts("5µs") == 5000 && parts("5μs") == 5000 && parts("5ns") == 5)
    #expect(parts("24h") == 86_400_000_000_000 && parts("24h1ns") == nil && parts("23h59m60s") == 86_400_000_000_000)
  }

  @Test(arguments: [
    "", "h", "5x", "5 5", "1m30", "305", "5d", "5w", "-5s", "1.2.3s", "s5", "99999999999999999999s", "1e3s",
  ])
  func partsThatMakeNoSense(_ text: String) {
    #expect(parts(text, most: 300_000_000_000) == nil)
    #expect(parts(text, most: .max) == nil || text == "305")
  }
}
