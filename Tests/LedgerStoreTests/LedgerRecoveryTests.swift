// After a crash: open holds are presumed at their estimate, once; ended calls are left alone; requests get their row.
import AdmissionCore
import Foundation
import LedgerVocabulary
import Testing
import TextForms

@testable import LedgerStore

@Suite struct LedgerRecoveryTests {
  /// Leaves a file as a crash would: the entries are in it, nothing else was done.
  private func crashed(_ place: Place, _ entries: [LedgerEntry]) throws {
    let watcher = Watcher()
    let store = try Scene.store(place.path(), watcher, now: Scene.start)
    let last = store.append(contentsOf: entries)
    #expect(watcher.reached(last))
    store.close()
  }

  @Test func openHoldsArePresumedOnce() throws {
    let place = Place()
    try crashed(place, Scene.call(1) + [Scene.held(2, held: 7_000), Scene.held(3, held: nil)])
    let second = try Scene.store(place.path(), Watcher())
    #expect(
      second.recovered
        == LedgerRecovery(presumedAttempts: 2, presumedCost: Money(nanodollars: 7_000), concludedRequests: 2))
    #expect(
      try Scene.query(
        place.path(),
        "SELECT state || ' ' || coalesce(cost_nanousd, '-') || ' ' || input_tokens || ' ' || cost_source FROM attempt_log ORDER BY input_tokens, 1",
        as: String.self) == ["posted 4000 90 prices", "presumed - 100 unknown", "presumed 7000 100 prices"])
    #expect(
      try Scene.query(place.path(), "SELECT outcome FROM request_log ORDER BY outcome", as: String.self) == [
        "completed", "truncated", "truncated",
      ])
    second.close()
    let third = try Scene.store(place.path(), Watcher())
    #expect(third.recovered == LedgerRecovery())
  }

  /// Books of an earlier version held whatever a provider named.
  @Test func holdsThatCannotBeTrueStopNoStart() throws {
    let place = Place()
    try crashed(place, (1...10).map { Scene.held($0, held: .max) })
    let store = try Scene.store(place.path(), Watcher())
    let presumed = Money(nanodollars: 10 * Money.mostPerAttempt.nanodollars)
    #expect(
      store.recovered == LedgerRecovery(presumedAttempts: 10, presumedCost: presumed, concludedRequests: 10))
    let most = try Scene.query(place.path(), "SELECT max(cost) FROM attempts", as: Int64.self)
    #expect(most == [Money.mostPerAttempt.nanodollars])
    #expect(
      try store.spending(since: [WallInstant(nanoseconds: 0)], now: Scene.at(60)).map { $0.spent[0] } == [presumed])
  }

  @Test func aRequestBetweenTwoAttemptsGetsItsRow() throws {
    let place = Place()
    try crashed(place, [Scene.held(1, attempt: 1), Scene.settled(1, attempt: 1), Scene.held(2), Scene.settled(2)])
    let store = try Scene.store(place.path(), Watcher())
    #expect(store.recovered == LedgerRecovery(presumedAttempts: 0, presumedCost: .zero, concludedRequests: 2))
    #expect(try Scene.query(place.path(), "SELECT attempts FROM requests", as: Int.self) == [1, 1])
  }

  @Test func aRequestOlderThanTheMarkIsFound() throws {
    let place = Place()
    // The first start leaves its mark at the newest request; one that arrived before is held only then.
    try crashed(place, Scene.call(1, at: 50))
    try crashed(place, [Scene.held(2, at: 10)])
    let store = try Scene.store(place.path(), Watcher())
    #expect(store.recovered.presumedAttempts == 1)
  }

  @Test func endsAfterARestartDoNotTouchWhatWasPresumed() throws {
    let place = Place()
    try crashed(place, [Scene.held(1)])
    let watcher = Watcher()
    let store = try Scene.store(place.path(), watcher)
    store.append(Scene.settled(1, cost: 1))
    #expect(watcher.reached(1))
    #expect(try Scene.query(place.path(), "SELECT state || ' ' || cost FROM attempts", as: String.self) == ["3 5000"])
  }
}
