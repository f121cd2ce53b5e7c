// The words of the closed sets: verdicts, and the reasons for pauses and for the states of keys.
import AdmissionCore
import Testing

/// The words that the API, the metrics, the log and the ledger show: whoever reads them relies on each.
@Suite struct ConditionsTests {
  @Test func aVerdictHasOneWord() {
    #expect(
      Verdict.Kind.allCases.map(\.rawValue) == [
        "success", "throttled", "failed", "key_refused", "quota_exhausted", "model_refused", "client_left",
        "client_error", "truncated", "own_fault",
      ])
    let verdicts: [Verdict] = [
      .success, .throttled(retryAfter: .seconds(1)), .failed(), .keyRefused, .quotaExhausted, .modelRefused(),
      .clientLeft, .clientError, .truncated, .ownFault,
    ]
    #expect(verdicts.map(\.kind) == Verdict.Kind.allCases)
  }

  @Test func aPauseHasItsReason() {
    #expect(
      PauseReason.allCases.map(\.rawValue) == [
        "told to slow down", "unavailable, as the provider said", "the provider refused it to this key",
      ])
  }

  @Test(arguments: [
    (KeyReason.usable, "usable"), (.paused(.slowDown), "told to slow down"),
    (.perhapsUnpaid, "one request was refused as unpaid; other keys go first"),
    (.perhapsRefused, "refused once, and being checked; other keys go first"),
    (.refusedInCheck, "refused when it was checked; other keys go first"), (.unpaid, "unpaid"),
    (.refused, "refused by the provider"), (.byOperator, "operator"), (.notInForce, "not valid now"),
    (.dates("valid now"), "valid now"),
  ])
  func aKeyHasItsReason(reason: KeyReason, text: String) {
    #expect(reason.text == text)
  }
}
