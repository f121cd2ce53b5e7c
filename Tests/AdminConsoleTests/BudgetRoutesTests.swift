// Parameters of raises: amounts, times, escapes.
import AdmissionCore
import Testing

@testable import AdminConsole

@Suite struct BudgetRoutesTests {
  @Test(
    arguments: [
      ("20", 20_000_000_000), ("0.5", 500_000_000), ("0.000000001", 1), ("1000000000", 1_000_000_000_000_000_000),
      ("1000000000.000000001", nil), ("0", nil), ("", nil), (".5", nil), ("5.", nil), ("-1", nil), ("1e3", nil),
      ("0.0000000001", nil), ("99999999999", nil),
    ] as [(String, Int64?)])
  func amounts(_ text: String, _ nanodollars: Int64?) {
    #expect(BudgetRoutes.money(text)?.nanodollars == nanodollars)
  }

  @Test(
    arguments: [
      ("1970-01-01T00:00:00Z", 0), ("2026-11-22T00:00:00Z", 1_795_305_600), ("2028-02-29T23:59:59Z", 1_835_481_599),
      ("2000-03-01t00:00:00Z", 951_868_800), ("1795305600", 1_795_305_600), ("2026-11-22", nil),
      ("2026-11-22T00:00:00+01:00", 1_795_302_000), ("2026-13-01T00:00:00Z", nil), ("2026-02-29T00:00:00Z", nil),
      ("2026-04-31T00:00:00Z", nil), ("2026-11-22T24:00:00Z", nil), ("soon", nil),
      ("2026x11-22T00:00:00Z", nil), ("99999999999", nil),
    ] as [(String, Int64?)])
  func times(_ text: String, _ seconds: Int64?) {
    #expect(BudgetRoutes.instant(text)?.nanoseconds == seconds.map { $0 * 1_000_000_000 })
  }
}
