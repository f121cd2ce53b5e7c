// Raises of budgets that still hold are found again.
import AdmissionCore
import LedgerVocabulary
import Testing

@testable import LedgerStore

@Suite struct LedgerRaisesTests {
  @Test func onlyRaisesThatStillHold() throws {
    let place = Place()
    let watcher = Watcher()
    let store = try Scene.store(place.path(), watcher)
    func raise(_ name: String, until: Double, state: LedgerChange.State = .raised) -> LedgerEntry {
      .changed(
        LedgerChange(
          at: Scene.at(1), subject: .budget, name: name, state: state, askedBy: "admin",
          amount: Money(nanodollars: 5), until: Scene.at(until)))
    }
    let last = store.append(contentsOf: [
      raise("acme/*", until: 100), raise("beta/day", until: 50), raise("acme/*", until: 200),
      raise("acme/*", until: 200, state: .reloaded),
    ])
    #expect(watcher.reached(last))
    let held = try store.budgetRaises(now: Scene.at(50))
    #expect(held.map(\.name) == ["acme/*", "acme/*"])
    #expect(held.map(\.until) == [Scene.at(100), Scene.at(200)])
    #expect(held.first?.amount == Money(nanodollars: 5))
    #expect(held.first?.askedBy == "admin")
  }
}
