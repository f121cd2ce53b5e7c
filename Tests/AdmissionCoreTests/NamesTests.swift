// Money as text.
import AdmissionCore
import Testing

@Suite struct NamesTests {
  @Test(
    arguments: [
      (0, "0.000000000"), (1, "0.000000001"), (999_999_999, "0.999999999"), (1_000_000_000, "1.000000000"),
      (-1, "-0.000000001"), (Int64.max, "9223372036.854775807"), (Int64.min, "-9223372036.854775808"),
    ] as [(Int64, String)])
  func moneyHasNinePlaces(amount: Int64, text: String) {
    #expect(Money(nanodollars: amount).text == text)
  }
}
