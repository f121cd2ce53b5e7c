// What an operator is told where a provider takes none of its keys: one report, one end, and nothing while keys are checked.
import AdmissionCore
import HTTPDoubles
import HTTPMessage
import PolicyFile
import Testing

@testable import BrokerEngine

@Suite final class KeyWatchTests {
  private let rigs = RigKeeper()
  private static let refusal = #"{"error":{"message":"Incorrect API key provided","code":"invalid_api_key"}}"#

  /// A provider with two keys, of which one comes from a variable, and perhaps a second provider.
  private func rig(others: [String] = []) -> Rig {
    rigs.rig {
      var main = ProviderKey(id: "main", source: .text(Secret("sk-upstream")))
      main.variable = "SIM_KEY"
      $0.providers[0].keys = [main, ProviderKey(id: "spare", source: .file(path: "/run/spare"))]
      for name in others {
        var other = Provider(id: name, dialect: .openai, baseURL: "http://\(name)/v1")
        other.keys = [ProviderKey(id: "only", source: .text(Secret("sk-upstream")))]
        $0.providers.append(other)
      }
    }
  }

  private func refuse(_ call: ScriptedUpstream.Call) { call.respond(401, [], [Self.refusal]) }

  private func changes(_ rig: Rig) -> [KeyReason] {
    rig.notices.compactMap { if case .keyChanged(_, _, _, let reason) = $0 { reason } else { nil } }
  }

  @Test func allKeysRefusedInTheCheckAreOneReport() throws {
    let rig = rig()
    rig.broker.operator.checkKeys()
    #expect(rig.upstream.calls.map(\.request.timeouts.total) == [.seconds(5), .seconds(5)])
    refuse(rig.upstream.calls[0])
    #expect(rig.reports.isEmpty && changes(rig).isEmpty)
    refuse(rig.upstream.calls[1])
    #expect(changes(rig).isEmpty)
    let refused = rig.broker.operator.refusedProviders
    #expect(rig.reports == [.allRefused(refused, isAll: true)])
    let provider = try #require(refused.first)
    #expect(provider.keys.map(\.text) == ["main (SIM_KEY)", "spare (/run/spare)"])
    #expect(
      provider.text == "'sim' refuses every key: main (SIM_KEY), spare (/run/spare). "
        + "Set SIM_KEY to a valid key and start tollgate again. Write a valid key into /run/spare: it is read when it changes."
    )
  }

  @Test func aKeyThatIsLeftMakesItALineOfTheOther() {
    let rig = rig()
    rig.broker.operator.checkKeys()
    refuse(rig.upstream.calls[0])
    #expect(changes(rig).isEmpty)
    rig.upstream.calls[1].respond(200, [], ["{}"])
    #expect(changes(rig) == [.refusedInCheck] && rig.reports.isEmpty)
  }

  @Test(arguments: [UpstreamFailure.Kind.firstByteTimedOut, .connectRefused]) func noAnswerSaysNothing(
    _ failure: UpstreamFailure.Kind
  ) {
    let rig = rig()
    rig.broker.operator.checkKeys()
    for call in rig.upstream.calls { call.fail(failure) }
    #expect(changes(rig).isEmpty && rig.reports.isEmpty && rig.broker.operator.refusedProviders.isEmpty)
  }

  @Test func oneProviderOfTwoIsNamedAlone() {
    let rig = rig(others: ["other"])
    rig.broker.operator.checkKeys()
    rig.upstream.calls[2].respond(200, [], ["{}"])
    for call in rig.upstream.calls[..<2] { refuse(call) }
    #expect(rig.reports == [.allRefused(rig.broker.operator.refusedProviders, isAll: false)])
  }

  @Test func providersThatAreFoundOutTogetherAreOneReport() {
    let rig = rig(others: ["other"])
    rig.broker.operator.checkKeys()
    for call in rig.upstream.calls { refuse(call) }
    #expect(rig.reports == [.allRefused(rig.broker.operator.refusedProviders, isAll: true)])
    #expect(rig.broker.operator.refusedProviders.map(\.provider) == ["sim", "other"])
  }

  /// The first doubt of a check fades after ten minutes; what a provider takes or does not take is known only by a call.
  @Test func itIsOverWhenACallSucceedsHoweverLateThatIs() throws {
    let rig = rig()
    rig.broker.operator.checkKeys()
    for call in rig.upstream.calls { refuse(call) }
    rig.advance(.seconds(3600))
    #expect(rig.broker.operator.refusedProviders.count == 1)
    rig.send()
    try #require(rig.upstream.last).respond(200, [], [#"{"choices":[]}"#])
    #expect(rig.reports.count == 2 && rig.reports.last == .recovered(provider: "sim"))
    #expect(rig.broker.operator.refusedProviders.isEmpty)
    rig.send()
    try #require(rig.upstream.last).respond(200, [], [#"{"choices":[]}"#])
    #expect(rig.reports.count == 2)
  }

  @Test func callsThatAreRefusedLaterRepeatNothing() throws {
    let rig = rig()
    rig.broker.operator.checkKeys()
    for call in rig.upstream.calls { refuse(call) }
    // Each key is tried by the call once more, and put out.
    let client = rig.send()
    refuse(try #require(rig.upstream.last))
    rig.advance(.seconds(10))
    if client.answer == nil { refuse(try #require(rig.upstream.last)) }
    rig.advance(.seconds(10))
    #expect(rig.reports.count == 1 && changes(rig).isEmpty)
    let again = rig.send()
    #expect(again.answer?.status == 401 && again.text == Self.refusal)
    #expect(["sim/main (SIM_KEY)", "sim/spare (/run/spare)"].contains(again.field("x-tollgate-refused-key")))
  }

  @Test func anotherSecretEndsIt() {
    let rig = rig()
    rig.broker.operator.checkKeys()
    for call in rig.upstream.calls { refuse(call) }
    var secrets = KeySecrets()
    secrets.set(Secret("sk-upstream"), provider: "sim", key: "main")
    secrets.set(Secret("sk-new"), provider: "sim", key: "spare")
    rig.broker.operator.replaceSecrets(secrets)
    #expect(rig.reports.count == 2 && rig.reports.last == .recovered(provider: "sim"))
  }

  @Test func aKeyThatTheOperatorDisabledIsNotWaitedFor() {
    let rig = rig()
    rig.broker.operator.command(.disableKey("sim", "spare"))
    rig.broker.operator.checkKeys()
    refuse(rig.upstream.calls[0])
    rig.upstream.calls[1].respond(200, [], ["{}"])
    #expect(rig.broker.operator.refusedProviders.first?.keys.map(\.id) == ["main"])
    rig.broker.operator.command(.enableKey("sim", "spare"))
    #expect(rig.reports.last == .recovered(provider: "sim"))
  }

  /// What helps at once is said too.
  @Test func aKeyThatIsOnlyDisabledIsOfferedBesideTheRefusedOnes() throws {
    let rig = rig()
    rig.broker.operator.command(.disableKey("sim", "spare"), askedBy: "admin")
    rig.broker.operator.checkKeys()
    refuse(rig.upstream.calls[0])
    rig.upstream.calls[1].respond(200, [], ["{}"])
    let provider = try #require(rig.broker.operator.refusedProviders.first)
    #expect(provider.keys.map(\.id) == ["main"] && provider.disabled == ["spare"])
    #expect(
      provider.text == "'sim' refuses every key: main (SIM_KEY). Set SIM_KEY to a valid key and start tollgate again. "
        + "Or use 'spare' again, which is disabled by hand: tollgate keys enable sim/spare.")
  }

  /// None is refused, and no call can be served all the same.
  @Test func allKeysDisabledByHandAreOneReportAndItsEnd() throws {
    let rig = rig(others: ["fine"])
    rig.broker.operator.command(.disableKey("sim", "main"))
    #expect(rig.reports.isEmpty && rig.broker.operator.refusedProviders.isEmpty)
    rig.broker.operator.command(.disableKey("sim", "spare"))
    let provider = try #require(rig.broker.operator.refusedProviders.first)
    #expect(rig.reports == [.allRefused([provider], isAll: false)])
    #expect(provider.keys.isEmpty && provider.disabled == ["main", "spare"])
    #expect(
      provider.text == "'sim' gets no calls: all its keys are disabled by hand: main, spare. "
        + "To use 'main' again: tollgate keys enable sim/main. To use 'spare' again: tollgate keys enable sim/spare.")
    rig.broker.operator.command(.disableKey("sim", "main"))
    #expect(rig.reports.count == 1)
    rig.broker.operator.command(.enableKey("sim", "spare"))
    #expect(rig.reports.count == 2 && rig.reports.last == .recovered(provider: "sim", wasRefused: false))
    #expect(rig.broker.operator.refusedProviders.isEmpty)
  }

  @Test func withoutItsOwnKeysAProviderIsNeverRefused() {
    let rig = rigs.rig {
      $0.providers[0].passThrough = true
      $0.providers[0].keys = []
    }
    rig.broker.operator.checkKeys()
    #expect(rig.upstream.calls.isEmpty && rig.broker.operator.refusedProviders.isEmpty)
  }
}
