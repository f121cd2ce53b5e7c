// What a starting broker is told of the past: sums by caller and window, and the attempts of the last minutes.
import AdmissionCore
import Foundation
import LedgerVocabulary
import Testing
import TextForms

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
    var hold = try #require(Scene.held(1, at: 0).hold)
    let end = try #require(Scene.settled(1, at: 0).end)
    hold.at = Scene.at(600)
    store.append(contentsOf: [.held(hold), .settled(end)])
    #expect(watcher.reached(2))
    #expect(
      try store.spending(since: [Scene.at(500)], now: Scene.at(10_000)).map { $0.spent } == [[Money(nanodollars: 4000)]]
    )
    #expect(try store.spending(since: [Scene.at(601)], now: Scene.at(10_000)).isEmpty)
  }

  /// In tenant, what was spent, used and called since each instant.
  private func sums(_ store: LedgerStore, since starts: [WallInstant], now: WallInstant) throws -> [[Int64]] {
    let callers = try store.spending(since: starts, now: now)
    return starts.indices.map { index in
      [
        callers.reduce(0) { $0 + $1.spent[index].nanodollars }, callers.reduce(0) { $0 + $1.tokens[index] },
        callers.reduce(0) { $0 + $1.requests[index] },
      ]
    }
  }

  @Test func pruningChangesNothingOfWhatAWindowKnows() throws {
    let place = Place()
    let watcher = Watcher()
    let store = try Scene.store(place.path(), watcher)
    var entries: [LedgerEntry] = []
    // Paid; used without a price; sent and free, as a refusal is; never sent.
    entries += Scene.call(1, at: 0, cost: 70) + Scene.call(2, at: 10, cost: nil)
    entries += [Scene.held(3, at: 20), Scene.settled(3, at: 20, cost: 0, usage: Usage()), Scene.concluded(3, at: 20)]
    entries += [Scene.held(4, at: 30), Scene.settled(4, at: 30, cost: 0, sent: false), Scene.concluded(4, at: 30)]
    // A batch of many calls, and what no call costs.
    entries += Scene.call(5, at: 40, tenant: "beta", cost: 5_000_000_000_000)
    entries += Scene.call(6, at: 50, tenant: "beta", cost: .max)
    #expect(watcher.reached(store.append(contentsOf: entries)))
    let hour: Double = 3600
    let begins = Scene.start.nanoseconds / UTCTime.hour * UTCTime.hour
    let starts = [WallInstant(nanoseconds: 0), WallInstant(nanoseconds: begins), Scene.at(2 * hour)]
    // The hour runs: its last moment is still to come.
    let now = Scene.at(60)
    #expect(now.nanoseconds < begins + UTCTime.hour - 60_000_000_000)
    let all: [Int64] = [
      70 + 5_000_000_000_000 + Money.mostPerAttempt.nanodollars, 4 * 130, 4,
    ]
    let expected = [all, all, [0, 0, 0]]
    try #expect(sums(store, since: starts, now: now) == expected)
    let query = UsageQuery(by: [.tenant], since: Scene.at(-1), until: Scene.at(hour))
    #expect(try store.usage(query).total.nanodollars == all[0])
    #expect(try LedgerCare.prune(place.path(), before: Scene.at(60)) == (6, 6))
    try #expect(sums(store, since: starts, now: now) == expected)
    // A window that began in the hour counts all of it.
    try #expect(sums(store, since: [Scene.at(45)], now: now) == [all])
    // A year later it is in the longest window, and two days after that in no window but the endless one.
    let day = 24 * hour
    for (later, isKnown) in [(366.0, true), (369.0, false)] {
      _ = try LedgerCare.prune(place.path(), before: Scene.at(later * day))
      try #expect(
        sums(store, since: [Scene.at(0), starts[0]], now: Scene.at(later * day)) == [isKnown ? all : [0, 0, 0], all])
    }
  }

  @Test func theDayKnowsWhatWasSentInItAndNothingLater() throws {
    let place = Place()
    let watcher = Watcher()
    let store = try Scene.store(place.path(), watcher)
    let (began, now) = (Scene.at(0), Scene.at(100))
    var entries: [LedgerEntry] = []
    for (number, at) in [-0.001, 0, 50, 159.999, 160, 90_000].enumerated() { entries += Scene.call(number, at: at) }
    entries += [Scene.held(10, at: 60)]
    #expect(watcher.reached(store.append(contentsOf: entries)))
    func requests(endedBefore cut: WallInstant? = nil) throws -> [Int64] {
      let past = cut.map { EndedBefore($0) { Scene.at(90_001) } }
      return try store.daySums(since: began, now: now, ended: past).map(\.requests)
    }
    // A minute ahead of the clock is its error, more is another day. What runs has not ended.
    try #expect(requests() == [3])
    // Each lasts a second.
    try #expect(requests(endedBefore: Scene.at(51)) == [1])
    try #expect(requests(endedBefore: Scene.at(51.001)) == [2])
  }

  @Test func whatHadNotEndedBeforeAPolicyCameIsNotTold() throws {
    let place = Place()
    let watcher = Watcher()
    let store = try Scene.store(place.path(), watcher)
    #expect(watcher.reached(store.append(contentsOf: Scene.call(1, at: 0, cost: 1) + Scene.call(2, at: 0.5, cost: 2))))
    func spent(_ cut: Double, read: Double = 2) throws -> [Int64] {
      let past = EndedBefore(Scene.at(cut)) { Scene.at(read) }
      return try store.spending(since: [Scene.at(-5)], now: Scene.at(60), ended: past).map { $0.spent[0].nanodollars }
    }
    try #expect([spent(1), spent(1.001), spent(1.5), spent(1.501)] == [[], [1], [1], [3]])
    // The clock was ahead when they ended: it has not come there again.
    try #expect([spent(0.5, read: 0.9), spent(0.5, read: 1), spent(0.5, read: 1.5)] == [[3], [2], []])
    let days = { try store.daySums(since: Scene.at(-5), now: Scene.at(60), ended: $0).map(\.requests) }
    try #expect(days(EndedBefore(Scene.at(0.5)) { Scene.at(0.9) }) == [2])
    try #expect(days(EndedBefore(Scene.at(0.5)) { Scene.at(1) }) == [1])
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
