// Money as people read it, and what an operator did.
import Testing

@testable import TextForms

@Suite struct DollarTextTests {
  @Test(arguments: [
    ("20.500000000", "$20.50"), ("0.000130000", "$0.00013"), ("0.000000000", "$0.00"), ("5", "$5.00"), ("5.", "$5.00"),
    ("2.5", "$2.50"),
    ("100", "$100.00"), ("-1.230000000", "-$1.23"), ("0.123456789", "$0.123456789"), ("", "$.00"),
  ])
  func twoDecimalsAtLeastAndNoNeedlessZeros(_ amount: String, _ shown: String) {
    #expect(DollarText.text(amount) == shown)
  }

  @Test func whatAnOperatorDidIsByHand() {
    #expect(ByHand.text("operator") == "by hand")
    #expect(ByHand.text("5 failures") == "5 failures")
  }
}
