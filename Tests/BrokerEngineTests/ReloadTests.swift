// A policy is replaced while calls wait and run: address, dialect and secret of a call are of one and the same policy.
import AdmissionCore
import HTTPMessage
import PolicyFile
import Testing

@testable import BrokerEngine

@Suite struct ReloadTests {
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
    Rig {
      $0.providers = providers
      $0.routes = [Route(models: ["*"], to: routes)]
    }
  }

  private func reload(_ rig: Rig, _ providers: [Provider], routes: [String], secret: String) {
    var policy = rig.broker.policy
    policy.providers = providers
    policy.routes = [Route(models: ["*"], to: routes)]
    var secrets = KeySecrets()
    for provider in providers {
      for key in provider.keys { secrets.set(Secret(secret), provider: provider.id, key: key.id) }
    }
    rig.broker.replacePolicy(policy, secrets: secrets)
  }

  private func wire(_ call: FakeUpstream.Call?) -> String {
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
    let rig = Rig(ledger: ledger) {
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
    var policy = rig.broker.policy
    policy.providers = [provider("q", at: "http://q/v1")]
    policy.routes = [Route(models: ["other"], to: ["q"])]
    var secrets = KeySecrets()
    secrets.set(Secret("sk-q"), provider: "q", key: "main")
    rig.broker.replacePolicy(policy, secrets: secrets)
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
    #expect(rig.broker.snapshot().providers[0].keys.map(\.id) == ["b"])
    #expect(rig.broker.snapshot().providers[0].keys[0].inFlight == 2)
  }
}
