// A key's days: each border at, under and over; announcements; a clock that is set; waiting calls when a key's days begin.
import AdmissionCore
import HTTPMessage
import PolicyFile
import Testing
import TextForms

@testable import BrokerEngine

@Suite struct KeyCalendarTests {
  private static let day: Int64 = 86_400_000_000_000
  private static let second: Int64 = 1_000_000_000

  private func key(_ id: String = "k", from: Int64? = nil, until: Int64? = nil) -> ProviderKey {
    var key = ProviderKey(id: id, source: .text(Secret("sk-upstream")))
    key.validFrom = from.map { WallInstant(nanoseconds: $0) }
    key.expires = until.map { WallInstant(nanoseconds: $0) }
    return key
  }

  @Test func bordersAreExact() {
    let both = key(from: 100 * Self.day, until: 200 * Self.day)
    #expect(KeyStanding(both, at: 100 * Self.day - 1) == .notYet(WallInstant(nanoseconds: 100 * Self.day)))
    #expect(KeyStanding(both, at: 100 * Self.day) == .inForce)
    let end = WallInstant(nanoseconds: 200 * Self.day)
    for (days, standing) in [(14, 14), (3, 3), (1, 1)] as [(Int64, Int64)] {
      let over = KeyStanding(both, at: 200 * Self.day - days * Self.day - 1)
      let at = KeyStanding(both, at: 200 * Self.day - days * Self.day)
      #expect(at == .ending(withinDays: standing, at: end))
      #expect(over == (days == 14 ? .inForce : .ending(withinDays: days == 3 ? 14 : 3, at: end)))
    }
    #expect(KeyStanding(both, at: 200 * Self.day - 1) == .ending(withinDays: 1, at: end))
    #expect(KeyStanding(both, at: 200 * Self.day) == .expired(end))
    #expect(KeyStanding(both, at: .min) == .notYet(WallInstant(nanoseconds: 100 * Self.day)))
    #expect(KeyStanding(both, at: .max) == .expired(end))
    #expect(KeyStanding(key(), at: 0) == .inForce)
  }

  /// A broker with two keys: one that ends when the other has been valid for a while, and a wall clock to turn.
  private final class Bench {
    let rig: Rig
    init(_ keys: [ProviderKey], at wall: Int64) {
      rig = Rig(wall: wall) { $0.providers[0].keys = keys }
      rig.broker.services.calendars.keys.check()
    }
    func look(at wall: Int64) {
      rig.wall = wall
      rig.broker.services.calendars.keys.check()
    }
    var told: [String] {
      rig.notices.compactMap { notice in
        if case .keyChanged(_, let key, let state, let reason) = notice {
          "\(key) \(state): \(reason.text)"
        } else {
          nil
        }
      }
    }
    /// The key that the next call is sent with, or its refusal.
    func call() -> String {
      let exchange = rig.send()
      if let key = exchange.field("x-tollgate-key") { return key }
      guard exchange.answer == nil else { return "\(exchange.answer?.status ?? 0)" }
      rig.upstream.last?.respond(200, [("content-type", "application/json")], ["{}"])
      return exchange.field("x-tollgate-key") ?? "\(exchange.answer?.status ?? 0)"
    }
  }

  @Test func aPlannedChangeLosesNoCall() {
    let start = 20_000 * Self.day
    let bench = Bench([key("old", until: start + 30 * Self.day), key("new", from: start + 20 * Self.day)], at: start)
    #expect(bench.told == ["new disabled: not valid before 2024-10-24T00:00:00.000Z"])
    #expect((0..<4).map { _ in bench.call() } == Array(repeating: "old", count: 4))
    bench.look(at: start + 20 * Self.day)
    #expect(
      bench.told.dropFirst() == [
        "old usable: expires at 2024-11-03T00:00:00.000Z, in less than 14 days", "new usable: valid now",
      ])
    bench.look(at: start + 29 * Self.day)
    bench.look(at: start + 29 * Self.day + 1)
    #expect(bench.told.last == "old usable: expires at 2024-11-03T00:00:00.000Z, in less than a day")
    #expect(bench.told.count == 4)
    bench.look(at: start + 30 * Self.day)
    #expect(bench.told.last == "old disabled: expired at 2024-11-03T00:00:00.000Z")
    #expect((0..<4).map { _ in bench.call() } == Array(repeating: "new", count: 4))
    let states = bench.rig.broker.operator.snapshot().providers[0].keys.map { "\($0.id) \($0.state)" }
    #expect(states == ["old disabled", "new usable"])
    // A clock that was set back: what it says now holds.
    bench.look(at: start)
    #expect(bench.call() == "old")
  }

  @Test func withoutAKeyInForceCallsAreRefusedAtOnce() {
    let start = 20_000 * Self.day
    let bench = Bench([key("only", until: start)], at: start)
    #expect(bench.call() == "503")
    #expect(bench.told == ["only disabled: expired at 2024-10-04T00:00:00.000Z"])
  }

  @Test func keysWithoutDatesAreNeverToldOf() {
    let bench = Bench([key("a"), key("b")], at: 20_000 * Self.day)
    bench.look(at: 30_000 * Self.day)
    #expect(bench.told.isEmpty)
  }

  /// The calendar alone: what it tells whom.
  private final class Told {
    var wall: Int64
    var changes: [KeyCalendar.Change] = []
    var replacements = 0
    private(set) lazy var calendar = KeyCalendar(loop: nil, wall: { [unowned self] in wall }) { [unowned self] in
      changes += $0
      if $1 { replacements += 1 }
    }
    init(_ wall: Int64) { self.wall = wall }
    func policy(_ keys: [ProviderKey], told: Int64) {
      var policy = Policy()
      var provider = Provider(id: "p", dialect: .openai, baseURL: "http://p")
      provider.keys = keys
      policy.providers = [provider]
      calendar.policyChanged(policy, told: told)
      calendar.check()
    }
  }

  @Test func theCoreIsToldAgainOnlyWhereItWasToldOtherwise() {
    let start = 20_000 * Self.day
    let told = Told(start)
    let keys = [key("old", until: start + 5 * Self.day), key("new", from: start + Self.day), key("gone", until: start)]
    told.policy(keys, told: start)
    #expect(told.changes.map(\.key) == ["old", "new", "gone"] && told.replacements == 0)
    told.policy(keys, told: start)
    #expect(told.changes.count == 3 && told.replacements == 0)
    told.wall = start + Self.day
    told.calendar.check()
    #expect(told.replacements == 1)
    told.calendar.check()
    #expect(told.replacements == 1)
    #expect(told.changes.filter(\.begins).map(\.key) == ["new"])
    // What was told a moment before a key's days began is told anew.
    let late = Told(start)
    late.policy([key("new", from: start)], told: start - 1)
    #expect(late.replacements == 1 && late.changes.map(\.begins) == [true])
  }

  @Test func keysAreTriedWhenTheirDaysBegin() {
    let start = 20_000 * Self.day
    let rig = Rig(wall: start) {
      $0.providers[0].checkKeys = true
      $0.providers[0].keys = [
        key("next", from: start + 30 * Self.day), key("now"), key("ends", until: start + Self.day),
        key("over", until: start),
      ]
    }
    rig.broker.services.calendars.keys.check()
    rig.broker.operator.checkKeys()
    #expect(rig.upstream.calls.count == 2)
    rig.upstream.calls.forEach { $0.respond(200) }
    rig.wall = start + 30 * Self.day - Self.second
    rig.broker.services.calendars.keys.check()
    #expect(rig.upstream.calls.count == 2)
    rig.wall = start + 30 * Self.day
    rig.broker.services.calendars.keys.check()
    #expect(rig.upstream.calls.count == 3)
    #expect(rig.upstream.last?.request.method == "GET")
  }
}
