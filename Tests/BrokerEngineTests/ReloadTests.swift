// A policy is replaced while calls wait and run: address, dialect and secret of a call are of one and the same policy.
import AdmissionCore
import HTTPDoubles
import HTTPMessage
import PolicyFile
import Pricing
import Testing
import TextForms

@testable import BrokerEngine

@Suite struct ReloadTests {
  private let rigs = RigKeeper()

  private func provider(
    _ id: String, at url: String, key: String = "main", dialect: DialectName = .openai, concurrency: Int? = 1
  ) -> Provider {
    var provider = Provider(id: id, dialect: dialect, baseURL: url)
    provider.keys = [ProviderKey(id: key, source: .text(Secret("unused")))]
    provider.limits.concurrency = concurrency
    provider.retry = RetryPolicy(base: .milliseconds(1), max: .milliseconds(1))
    return provider
  }

  private func rig(_ providers: [Provider], routes: [String]) -> Rig {
    rigs.rig {
      $0.providers = providers
      $0.routes = [Route(models: ["*"], to: routes)]
    }
  }

  private func reload(_ rig: Rig, _ providers: [Provider], routes: [String], secret: String) {
    var policy = rig.broker.operator.policy
    policy.providers = providers
    policy.routes = [Route(models: ["*"], to: routes)]
    var secrets = KeySecrets()
    for provider in providers {
      for key in provider.keys { secrets.set(Secret(secret), provider: provider.id, key: key.id) }
    }
    rig.broker.operator.replacePolicy(policy, secrets: secrets)
  }

  private func wire(_ call: ScriptedUpstream.Call?) -> String {
    "\(call?.request.url ?? "-") \(call?.request.fields.first("authorization") ?? call?.request.fields.first("x-api-key") ?? "-")"
  }

  @Test func waitingCallsGoToTheNewAddressWithTheNewSecret() {
    let rig = rig([provider("p", at: "http://old/v1")], routes: ["p"])
    rig.send()
    for _ in 0..<3 { rig.send() }
    #expect(wire(rig.upstream.last) == "http://old/v1/chat/completions Bearer sk-upstream")
    reload(rig, [provider("p", at: "http://new/v1")], routes: ["p"], secret: "sk-new")
    for index in 0..<3 {
      rig.upstream.calls[index].respond(200)
      #expect(wire(rig.upstream.last) == "http://new/v1/chat/completions Bearer sk-new")
    }
    #expect(rig.upstream.calls.count == 4)
  }

  @Test func aRetryAfterAReloadGoesToTheNewAddressWithTheNewSecret() {
    let rig = rig([provider("p", at: "http://old/v1")], routes: ["p"])
    rig.send()
    reload(rig, [provider("p", at: "http://new/v1")], routes: ["p"], secret: "sk-new")
    rig.upstream.calls[0].respond(500)
    rig.advance(.seconds(1))
    #expect(rig.upstream.calls.count == 2)
    #expect(wire(rig.upstream.last) == "http://new/v1/chat/completions Bearer sk-new")
  }

  @Test func aGrantThatWaitsForItsHoldKeepsTheRulesOfTheGrant() {
    let ledger = FakeLedger()
    let rig = rigs.rig(ledger: ledger) {
      $0.providers = [provider("p", at: "http://old/v1")]
      $0.routes = [Route(models: ["*"], to: ["p"])]
    }
    rig.send()
    reload(rig, [provider("p", at: "http://new/v1")], routes: ["p"], secret: "sk-new")
    ledger.commit()
    #expect(wire(rig.upstream.last) == "http://old/v1/chat/completions Bearer sk-upstream")
  }

  @Test func callsWhoseProviderIsGoneAreRoutedAnew() {
    let rig = rig([provider("p", at: "http://old/v1")], routes: ["p"])
    rig.send()
    let waiting = rig.send()
    reload(rig, [provider("q", at: "http://q/v1")], routes: ["q"], secret: "sk-q")
    #expect(waiting.answer == nil)
    #expect(wire(rig.upstream.last) == "http://q/v1/chat/completions Bearer sk-q")
    // And the one that runs, when it fails.
    rig.upstream.calls[0].respond(500)
    rig.advance(.seconds(1))
    rig.upstream.calls[1].respond(200)
    #expect(rig.upstream.calls.count == 3)
    #expect(wire(rig.upstream.last) == "http://q/v1/chat/completions Bearer sk-q")
  }

  @Test func withoutANewRouteTheyGet404() {
    let rig = rig([provider("p", at: "http://old/v1")], routes: ["p"])
    rig.send()
    let waiting = rig.send()
    var policy = rig.broker.operator.policy
    policy.providers = [provider("q", at: "http://q/v1")]
    policy.routes = [Route(models: ["other"], to: ["q"])]
    var secrets = KeySecrets()
    secrets.set(Secret("sk-q"), provider: "q", key: "main")
    rig.broker.operator.replacePolicy(policy, secrets: secrets)
    #expect(waiting.answer?.status == 404)
    #expect(waiting.field("x-tollgate-outcome") == "rejected_model")
  }

  @Test func aProviderThatChangesItsDialectGetsNoBodyOfTheOther() {
    let rig = rig([provider("p", at: "http://old/v1")], routes: ["p"])
    rig.send()
    rig.send()
    reload(rig, [provider("p", at: "http://new", key: "other", dialect: .anthropic)], routes: ["p"], secret: "sk-new")
    rig.upstream.calls[0].respond(200)
    #expect(wire(rig.upstream.last) == "http://old/v1/chat/completions Bearer sk-upstream")
    let anthropic = rig.send("/v1/messages", body: #"{"model":"m","max_tokens":1,"messages":[]}"#)
    rig.upstream.calls[1].respond(200)
    #expect(anthropic.answer == nil)
    #expect(wire(rig.upstream.last) == "http://new/v1/messages sk-new")
  }

  @Test func aRouteToAnotherDialectIsNoneForCallsThatWait() {
    let rig = rig([provider("p", at: "http://old/v1")], routes: ["p"])
    rig.send()
    let waiting = rig.send()
    let q = provider("q", at: "http://q", dialect: .anthropic)
    reload(rig, [q, provider("r", at: "http://r/v1")], routes: ["q", "r"], secret: "sk-new")
    #expect(waiting.answer == nil)
    #expect(wire(rig.upstream.last) == "http://r/v1/chat/completions Bearer sk-new")
  }

  @Test func aRenamedKeyKeepsItsCount() {
    var old = provider("p", at: "http://p/v1", key: "a", concurrency: nil)
    old.keys[0].limits.concurrency = 2
    let rig = rig([old], routes: ["p"])
    for _ in 0..<3 { rig.send() }
    #expect(rig.upstream.calls.count == 2)
    var new = provider("p", at: "http://p/v1", key: "b", concurrency: nil)
    new.keys[0].limits.concurrency = 2
    reload(rig, [new], routes: ["p"], secret: "sk-upstream")
    #expect(rig.upstream.calls.count == 2)
    rig.upstream.calls[0].respond(200)
    #expect(rig.upstream.calls.count == 3)
    #expect(rig.broker.operator.snapshot().providers[0].keys.map(\.id) == ["b"])
    #expect(rig.broker.operator.snapshot().providers[0].keys[0].inFlight == 2)
  }

  private func reload(_ rig: Rig, keys: [(String, String)], _ change: (inout ProviderKey) -> Void = { _ in }) {
    var policy = rig.broker.operator.policy
    var secrets = KeySecrets()
    policy.providers[0].keys = keys.map { id, secret in
      var key = ProviderKey(id: id, source: .text(Secret(secret)))
      key.limits.concurrency = 2
      change(&key)
      secrets.set(Secret(secret), provider: policy.providers[0].id, key: id)
      return key
    }
    rig.broker.operator.replacePolicy(policy, secrets: secrets)
  }

  @Test func aRenamedKeyIsNotRenamedAgainWhenDatesAreLookedAt() {
    let rig = rigs.rig {
      $0.providers[0].keys[0].limits.concurrency = 2
      $0.providers[0].limits.concurrency = nil
    }
    rig.send()
    rig.send()
    let far = WallInstant(nanoseconds: rig.wall + 30 * 86_400_000_000_000)
    reload(rig, keys: [("old", "sk-upstream"), ("main", "sk-next")]) { if $0.id == "old" { $0.expires = far } }
    func inFlight() -> [String] {
      rig.broker.operator.snapshot().providers[0].keys.map { "\($0.id) \($0.inFlight)" }
    }
    #expect(inFlight() == ["old 2", "main 0"])
    // The calendar's first look, the end of a day, other secrets: all of them tell the core of the keys again.
    rig.broker.services.calendars.keys.check()
    #expect(inFlight() == ["old 2", "main 0"])
    rig.wall = far.nanoseconds - 86_400_000_000_000
    rig.broker.services.calendars.keys.check()
    #expect(inFlight() == ["old 2", "main 0"])
    rig.send()
    #expect(wire(rig.upstream.last).hasSuffix("Bearer sk-next"))
    #expect(inFlight() == ["old 2", "main 1"])
  }

  @Test func swappedNamesAreSwappedOnce() {
    let rig = rigs.rig {
      $0.providers[0].keys = ["a", "b"].map { ProviderKey(id: $0, source: .text(Secret("unused"))) }
    }
    reload(rig, keys: [("a", "sk-one-one"), ("b", "sk-two-two")])
    rig.broker.operator.command(.disableKey("sim", "a"))
    let far = WallInstant(nanoseconds: rig.wall + 30 * 86_400_000_000_000)
    reload(rig, keys: [("a", "sk-two-two"), ("b", "sk-one-one")]) { $0.expires = far }
    rig.broker.services.calendars.keys.check()
    #expect(
      rig.broker.operator.snapshot().providers[0].keys.map { "\($0.id) \($0.state)" } == ["a usable", "b disabled"])
  }

  @Test func whatIsSaidOfASecretThatIsGoneIsNotKept() throws {
    let rig = rigs.rig()
    let first = rig.send()
    let second = rig.send()
    reload(rig, keys: [("main", "sk-brand-new")])
    let words = #"{"error":{"message":"Incorrect API key provided: sk-upstream","code":"invalid_api_key"}}"#
    rig.upstream.calls[0].respond(401, [], [words])
    rig.upstream.calls[1].respond(401, [], [words])
    let key = RefusedKey(provider: "sim", key: "main")
    #expect(rig.broker.services.providers.keyRefusals.last(of: key, in: rig.broker.services.rules.now.secrets) == nil)
    for client in [first, second] { #expect(!client.text.contains("sk-upstream")) }
    // What is said of the present one is, and what comes late does not take its place.
    let third = rig.send()
    let late = rig.send()
    rig.upstream.calls[rig.upstream.calls.count - 2].respond(
      401, [], [#"{"error":{"message":"Incorrect API key provided: sk-brand-new","code":"invalid_api_key"}}"#])
    let kept = try #require(
      rig.broker.services.providers.keyRefusals.last(of: key, in: rig.broker.services.rules.now.secrets))
    #expect(String(decoding: kept.body, as: UTF8.self).contains("provided: ***"))
    rig.leave(third)
    rig.leave(late)
  }

  // MARK: Prices

  /// A dollar amount for each call, whatever its tokens.
  private func price(_ cents: Int64, from: String? = nil, until: String? = nil) throws -> ModelPrice {
    var price = ModelPrice(models: "m", rates: PriceRates())
    price.perRequest = Money(nanodollars: cents * 10_000_000)
    price.validFrom = try from.map { try #require(CalendarDay($0)) }
    price.validUntil = try until.map { try #require(CalendarDay($0)) }
    return price
  }

  private func rig(budget cents: Int64, _ prices: [ModelPrice], wall: Int64) -> Rig {
    rigs.rig(prices: PriceList(version: "old", entries: prices), wall: wall) { policy in
      policy.providers[0].limits.concurrency = 1
      var budget = Budget(limit: Money(nanodollars: cents * 10_000_000), per: .total)
      budget.scope = .broker
      policy.budgets = [budget]
    }
  }

  private static let answer = #"{"usage":{"prompt_tokens":1,"completion_tokens":1}}"#

  @Test(arguments: ["m", "/p/sim"]) func waitingCallsHoldThePriceOfANewList(_ way: String) throws {
    let rig = rig(budget: 60, [try price(1)], wall: 1_763_720_000_000_000_000)
    let target = (way == "m" ? "" : way) + "/v1/chat/completions"
    let first = rig.send(target)
    let waiting = rig.send(target)
    let last = rig.send(target)
    rig.broker.operator.replacePolicy(
      rig.broker.operator.policy, secrets: rig.broker.services.rules.now.secrets,
      prices: PriceBook(PriceList(version: "new", entries: [try price(50)])))
    rig.upstream.calls[0].respond(200, [("content-type", "application/json")], [Self.answer])
    // The one that ran when the list came was held at the old price and is charged at it.
    #expect(first.isFinished && rig.ended.first?.cost == Money(nanodollars: 10_000_000))
    #expect(rig.upstream.calls.count == 2)
    rig.upstream.calls[1].respond(200, [("content-type", "application/json")], [Self.answer])
    #expect(waiting.isFinished && rig.ended.first { $0.cost == Money(nanodollars: 500_000_000) } != nil)
    #expect(rig.ended.compactMap { $0.attempts.first?.held } == [1, 50].map { Money(nanodollars: $0 * 10_000_000) })
    #expect(last.answer?.status == 429 && last.field("x-tollgate-outcome") == "rejected_budget")
    #expect(rig.upstream.calls.count == 2)
    #expect(rig.broker.operator.budgetReadings.first?.spent == Money(nanodollars: 510_000_000))
  }

  @Test func waitingCallsHoldThePriceOfTheNewDay() throws {
    let day: Int64 = 86_400_000_000_000
    let midnight = 20_417 * day
    let rig = rig(
      budget: 60, [try price(1, until: "2025-11-24"), try price(50, from: "2025-11-25")], wall: midnight - 5_000_000_000
    )
    rig.send()
    let waiting = rig.send()
    let last = rig.send()
    rig.broker.services.calendars.prices.check()
    #expect(rig.ended.isEmpty)
    rig.wall = midnight - 2_000_000_000
    rig.broker.services.calendars.prices.check()
    rig.upstream.calls[0].respond(200, [("content-type", "application/json")], [Self.answer])
    #expect(rig.ended.map(\.cost) == [Money(nanodollars: 10_000_000)])
    #expect(rig.upstream.calls.count == 2)
    rig.wall = midnight
    rig.broker.services.calendars.prices.check()
    rig.upstream.calls[1].respond(200, [("content-type", "application/json")], [Self.answer])
    #expect(waiting.isFinished)
    // It was sent the day before. The one that goes now is not.
    #expect(rig.upstream.calls.count == 3)
    rig.upstream.calls[2].respond(200, [("content-type", "application/json")], [Self.answer])
    #expect(last.isFinished)
    #expect(rig.ended.map(\.cost?.nanodollars) == [10_000_000, 10_000_000, 500_000_000])
    #expect(rig.ended.map { $0.attempts.first?.held?.nanodollars } == [10_000_000, 10_000_000, 500_000_000])
    // And where two of that price do not fit, the second is refused.
    #expect(rig.send().answer?.status == 429)
  }
}
