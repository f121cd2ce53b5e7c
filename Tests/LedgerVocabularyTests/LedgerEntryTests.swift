// The names that stand in users' ledgers: a changed one would make old files unreadable.
import LedgerVocabulary
import Testing

@Suite struct LedgerEntryTests {
  @Test func theNamesInFilesAreWhatTheyWere() {
    #expect(
      LedgerChange.Subject.allCases.map(\.rawValue)
        == ["key", "breaker", "budget", "policy", "broker", "limit", "log", "tenant", "webhook", "alert"])
    #expect(LedgerMemo.Kind.allCases.map(\.rawValue) == ["work", "learned", "limits"])
  }

  @Test func everyKindOfMemoIsBounded() {
    for kind in LedgerMemo.Kind.allCases { #expect((1...65_536).contains(kind.most)) }
  }
}
