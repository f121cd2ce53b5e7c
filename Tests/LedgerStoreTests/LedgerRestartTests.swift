// What a starting broker is told of the past: sums by caller and window, and the attempts of the last minutes.
import AdmissionCore
import Foundation
import Testing

@testable import LedgerStore

@Suite struct LedgerRestartTests {
  @Test func spendingIsCountedByTheTimeOfTheHold() throws {
    let place = Place()
    let watcher = Watcher()
    let store = try Scene.store(place.path(), watcher)
    store.append(
      contentsOf: Scene.call(1, at: 0) + Scene.call(2, at: 10, cost: 1) + Scene.call(3, at: 20, tenant: "beta"))
    // Void costs nothing, unknown costs nothing, open holds are not spent yet.
    store.append(contentsOf: [Scene.held(4), Scene.settled(4, cost: 0, sent: false), Scene.held(5)])
    let last = store.append(contentsOf: Scene.call(6, cost: nil))
    #expect(watcher.reached(last))
    let spending = try store.spending(since: [Scene.at(0), Scene.at(10), Scene.at(20.5)], now: Scene.at(10_000)).sorted
    {
      $0.tenant.name < $1.tenant.name
    }
    #expect(spending.map(\.tenant) == ["acme", "beta"])
    #expect(spending.map { $0.spent.map(\.nanodollars) } == [[4001, 1, 0], [4000, 4000, 0]])
    #expect(spending[0].session == "s1")
    #expect(spending[0].clientKey == nil)
    #expect(try store.spending(since: [], now: Scene.at(10_000)).isEmpty)
  }

  @Test func aLongWaitBeforeTheHoldStillCounts() throws {
    let place = Place()
    let watcher = Watcher()
    let store = try Scene.store(place.path(), watcher)
    guard case .held(var hold) = Scene.held(1, at: 0), case .settled(let end) = Scene.settled(1, at: 0) else {
      Issue.record("the scene's entries are others")
      return
    }
    hold.at = Scene.at(600)
    store.append(contentsOf: [.held(hold), .settled(end)])
    #expect(watcher.reached(2))
    #expect(
      try store.spending(since: [Scene.at(500)], now: Scene.at(10_000)).map { $0.spent } == [[Money(nanodollars: 4000)]]
    )
    #expect(try store.spending(since: [Scene.at(601)], now: Scene.at(10_000)).isEmpty)
  }

  @Test func pastAttemptsTellAgeAndUse() throws {
    let place = Place()
    let watcher = Watcher()
    let store = try Scene.store(place.path(), watcher)
    let last = store.append(
      contentsOf: Scene.call(1, at: 0) + Scene.call(2, at: 100) + [Scene.held(3, at: 110), Scene.held(4, at: 90)]
        + [Scene.settled(4, at: 90, sent: false)])
    #expect(watcher.reached(last))
    store.close()
    let again = try Scene.store(place.path(), Watcher(), now: Scene.at(120.5))
    let past = try again.pastAttempts(now: Scene.at(120.5))
    // The open one was presumed at its reservation; the void one was never sent.
    #expect(past.map(\.request) == [Scene.request(2, at: 100), Scene.request(3, at: 110)])
    #expect(past.map(\.age) == [.milliseconds(20_500), .milliseconds(10_500)])
    #expect(past.map(\.usage.inputTokens) == [90, 100])
    #expect(past.map(\.usage.isEstimated) == [false, true])
    #expect(past[0].provider == "openai" && past[0].key == "main" && past[0].model == "gpt-6-sol")
    #expect(try again.pastAttempts(now: Scene.at(120.5), within: .seconds(5)).isEmpty)
  }
}
