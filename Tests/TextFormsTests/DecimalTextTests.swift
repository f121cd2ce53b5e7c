// Every text has a reading; none of them traps, whatever digits and exponents it has.
import Testing

@testable import TextForms

@Suite struct DecimalTextTests {
  static let digits5000 = String(repeating: "9", count: 5000)

  @Test(
    arguments: [
      ("0", .number(0, isExact: true)), ("-0", .number(0, isExact: true)), ("-0.0e9", .number(0, isExact: true)),
      ("1", .number(1_000_000_000, isExact: true)), ("0.0001234", .number(123_400, isExact: true)),
      ("1.2e-05", .number(12_000, isExact: true)),
      ("0.123456789012345678901", .number(123_456_789, isExact: false)), ("0e300", .number(0, isExact: true)),
      ("1.5", .number(1_500_000_000, isExact: true)),
      ("0.0000000004", .number(0, isExact: false)), ("0.0000000005", .number(1, isExact: false)),
      ("1e-9", .number(1, isExact: true)), ("1E-10", .number(0, isExact: false)),
      ("12e+2", .number(1_200_000_000_000, isExact: true)),
      ("4.62e9", .number(4_620_000_000_000_000_000, isExact: true)),
      ("9223372036", .number(9_223_372_036_000_000_000, isExact: true)),
      ("9223372037", .tooLarge), ("9223372036854775807", .tooLarge), ("18446744073709551615", .tooLarge),
      ("1e19", .tooLarge), ("1e400", .tooLarge), ("1e9223372036854775807", .tooLarge),
      ("1e99999999999999999999", .tooLarge),
      ("0e99999999999999999999", .number(0, isExact: true)), ("1e-9223372036854775808", .number(0, isExact: false)),
      ("1e-99999999999999999999999", .number(0, isExact: false)), ("-1", .negative), ("-1e400", .negative),
      ("-1e-400", .number(0, isExact: false)), ("", .malformed), ("-", .malformed), (".", .malformed),
      ("e", .malformed),
      ("1e", .malformed), ("1e-", .malformed), ("1.2.3", .malformed), ("NaN", .malformed), ("Infinity", .malformed),
      ("0x10", .malformed), ("+1", .malformed), (" 1", .malformed), ("1e5.5", .malformed), (digits5000, .tooLarge),
      ("0." + digits5000, .number(1_000_000_000, isExact: false)),
      (digits5000 + "e-5000", .number(1_000_000_000, isExact: false)),
    ] as [(String, DecimalText.Reading)])
  func readsWhatStrangersWrite(_ text: String, _ reading: DecimalText.Reading) {
    #expect(DecimalText.read(text.utf8, timesTenTo: 9) == reading)
  }

  @Test(
    arguments: [
      ("0", 0), ("12", 1200), ("12.5", 1250), ("12.50", 1250), ("12.500", 1250), ("12.505", nil), ("1e2", nil),
      (".5", nil), ("5.", nil), ("", nil), ("-1", nil), ("92233720368547758.07", .max), ("92233720368547758.08", nil),
      ("000000000000000000001", 100),
    ] as [(String, Int64?)])
  func whatAPersonWritesIsTakenExactly(_ text: String, _ hundredths: Int64?) {
    #expect(DecimalText.exact(text.utf8, places: 2) == hundredths)
  }

  @Test func anyBytesAndAnyPowerHaveAReading() {
    let alphabet = Array("0123456789.eE+-".utf8)
    var state: UInt64 = 7
    func next(_ bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % bound
    }
    var read = 0
    for _ in 0..<20_000 {
      let text = (0..<next(40)).map { _ in alphabet[next(alphabet.count)] }
      let power = next(20) - 5
      if case .number(let value, _) = DecimalText.read(text, timesTenTo: power) {
        #expect(value >= 0)
        read += 1
      }
      if let exact = DecimalText.exact(text, places: max(0, power)) {
        #expect(DecimalText.scaled(text, by: max(0, power)) == exact)
      }
    }
    #expect(read > 1000, "most of the texts are no numbers")
  }

  @Test(
    arguments: [
      (0, "0"), (1, "0.000001"), (2_500_000, "2.5"), (1_000_000, "1"), (-1_250_000, "-1.25"), (999_999, "0.999999"),
      (.max, "9223372036854.775807"), (.min, "-9223372036854.775808"),
    ] as [(Int64, String)])
  func writesWithoutNeedlessZeros(_ number: Int64, _ text: String) {
    #expect(DecimalText.text(number, places: 6) == text)
    if number >= 0 { #expect(DecimalText.exact(text.utf8, places: 6) == number) }
  }

  @Test func writesWholeNumbersWithZerosBefore() {
    var bytes: [UInt8] = []
    DecimalText.append(7, width: 3, to: &bytes)
    DecimalText.append(1234, width: 2, to: &bytes)
    #expect(String(decoding: bytes, as: UTF8.self) == "0071234")
    #expect(DecimalText.text(12, places: 0) == "12")
  }
}
