// Texts of durations, sizes, shares, decimals and names: right, wrong, at the edge.
import Testing
import TextForms

@testable import PolicyFile

@Suite struct FieldReaderTests {
  @Test(arguments: [
    ("500ms", Duration.milliseconds(500)), ("5s", .seconds(5)), ("2m", .seconds(120)), ("1h", .seconds(3600)),
    ("7d", .seconds(604800)), ("0s", .zero), ("007s", .seconds(7)), ("999999999999ms", .milliseconds(999_999_999_999)),
  ])
  func durations(_ text: String, _ expected: Duration) { #expect(durationValue(text) == expected) }

  @Test(arguments: [
    "", "s", "5", "5 s", " 5s", "5S", "5sec", "1.5s", "-5s", "+5s", "5s ", "1h30m", "9999999999999ms", "５s",
  ])
  func notDurations(_ text: String) { #expect(durationValue(text) == nil) }

  @Test(arguments: [("1KiB", 1024), ("32MiB", 32 << 20), ("2GiB", 2 << 30), ("0KiB", 0)])
  func sizes(_ text: String, _ expected: Int) { #expect(sizeValue(text) == expected) }

  @Test(arguments: ["", "1", "1KB", "1kib", "1 KiB", "1.5MiB", "-1KiB", "1TiB", "9999999999KiB", "KiB"])
  func notSizes(_ text: String) { #expect(sizeValue(text) == nil) }

  @Test(arguments: [
    ("0%", 0), ("10%", 1000), ("12.5%", 1250), ("0.01%", 1), ("100%", 10_000), ("1.00%", 100), ("5.500%", 550),
  ])
  func shares(_ text: String, _ expected: Int) { #expect(shareValue(text) == expected) }

  @Test(arguments: ["", "%", "10", "10 %", "-1%", "0.001%", ".5%", "5.%", "1e1%", "10%%"])
  func notShares(_ text: String) { #expect(shareValue(text) == nil) }

  @Test(arguments: [
    ("0", Int64(0)), ("50", 50_000_000_000), ("0.000000001", 1), ("1.000000001", 1_000_000_001), ("0.1", 100_000_000),
    ("0.30", 300_000_000), ("9223372036.854775807", .max), ("1.0000000000000000000000", 1_000_000_000),
  ])
  func decimals(_ text: String, _ expected: Int64) { #expect(DecimalText.exact(text.utf8, places: 9) == expected) }

  @Test(arguments: [
    "", ".", "1.", ".1", "-1", "+1", "1e3", "1,5", "1 ", "0.0000000001", "9223372036.854775808", "99999999999999999999",
    "1.2.3", "٣", "0x1",
  ])
  func notDecimals(_ text: String) { #expect(DecimalText.exact(text.utf8, places: 9) == nil) }

  @Test func namesForPathsAndMetrics() {
    let reader = FieldReader(file: "")
    for good in ["a", "A-1", "9", "a.b_c", String(repeating: "a", count: 64)] {
      #expect(reader.isName(good), "\(good)")
    }
    for bad in ["", "-a", ".a", "_a", "a b", "a/b", "é", "*", String(repeating: "a", count: 65)] {
      #expect(!reader.isName(bad), "\(bad)")
    }
  }

  @Test func pathsQuoteWhatIsNoWord() {
    #expect(fieldPath("", "listen") == "listen")
    #expect(fieldPath("a.b", "c-d_1") == "a.b.c-d_1")
    #expect(fieldPath("a", "claude-*") == "a.\"claude-*\"")
    #expect(fieldPath("a", "") == "a.\"\"")
  }

  @Test func diagnosticsAreInTheFilesOrder() {
    let reader = FieldReader(file: "f")
    for (line, column, field) in [(2, 1, "c"), (1, 9, "b"), (1, 2, "a"), (2, 1, "d")] {
      reader.report(Position(line: line, column: column), field, "m")
    }
    #expect(reader.diagnostics.map(\.field) == ["a", "b", "c", "d"])
  }
}
