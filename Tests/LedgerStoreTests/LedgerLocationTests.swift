// Locations are told apart by their path.
import LedgerStore
import Testing

@Suite struct LedgerLocationTests {
  @Test func pathsAreTheirOwn() {
    #expect(LedgerLocation.file("a.db") != .file("b.db"))
    #expect(LedgerLocation.file("a.db") != .memory)
  }
}
