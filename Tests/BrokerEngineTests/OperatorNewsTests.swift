// What an operator is told: the books have who asked, the log has the key's mark, and who listens hears both kinds of news.
import AdmissionCore
import LedgerVocabulary
import PolicyFile
import Testing

@testable import BrokerEngine

@Suite struct OperatorNewsTests {
  private final class Ear {
    var heard: [String] = []
    func hear(_ news: News) {
      switch news {
      case .notice(.keyChanged(let provider, let key, let state, _)): heard.append("\(provider)/\(key) \(state)")
      case .notice: heard.append("notice")
      case .change(let subject, let state): heard.append("\(subject) \(state)")
      case .alert(let alert, _): heard.append("alert \(alert?.severity.rawValue ?? "over")")
      case .keys(.allRefused(let providers, _)):
        heard.append("no key of \(providers.map(\.provider).joined(separator: ", "))")
      case .keys(.recovered(let provider, let wasRefused)): heard.append("a key of \(provider) \(wasRefused)")
      }
    }
  }

  private func changes(_ ledger: FakeLedger) -> [LedgerChange] {
    ledger.entries.compactMap { if case .changed(let change) = $0 { change } else { nil } }
  }

  @Test func theBooksHaveWhoAsked() {
    let ledger = FakeLedger()
    let rig = Rig(ledger: ledger)
    rig.broker.operator.command(.disableKey("sim", "main"), askedBy: "admin")
    rig.broker.operator.changed(.policy, name: "p.yaml", state: .reloaded)
    #expect(changes(ledger).map(\.subject) == [.key, .policy])
    #expect(changes(ledger).map(\.askedBy) == ["admin", nil])
  }

  @Test func theBooksHaveWhatWasBeforeAndAfter() {
    let ledger = FakeLedger()
    let rig = Rig(ledger: ledger)
    let broker = rig.broker.operator
    broker.command(.disableKey("sim", "main"), askedBy: "admin")
    broker.command(.enableKey("sim", "main"), askedBy: "admin")
    broker.command(.openBreaker("sim"))
    broker.changed(.log, name: "level", state: .changed, before: "info", after: "debug", askedBy: "admin")
    let told = changes(ledger).map { "\($0.name) \($0.before ?? "-") \($0.after ?? "-") \($0.askedBy ?? "-")" }
    #expect(
      told == [
        "sim/main usable disabled admin", "sim/main disabled usable admin", "sim closed open -",
        "level info debug admin",
      ])
  }

  /// Clients choose the names of models. Whatever they choose, what is learned of others is written.
  @Test func namesOfModelsKeepNobodyOutOfTheBooks() {
    let ledger = FakeLedger()
    let rig = Rig(ledger: ledger)
    let news = rig.broker.services.news
    func learn(_ model: String?) { news.note(.concurrencyChanged("sim", model: model, key: nil, limit: 3)) }
    for number in 0..<1000 { learn("m\(number)") }
    #expect(changes(ledger).count == 1000 && changes(ledger).first?.name == "sim/m0/concurrency")
    learn(nil)
    #expect(changes(ledger).count == 1000)
    rig.advance(.seconds(60))
    learn(nil)
    learn("new")
    #expect(changes(ledger).count == 1002)
    #expect(changes(ledger).suffix(2).map(\.name) == ["sim/concurrency", "sim/new/concurrency"])
  }

  @Test func thoseWhoListenHearNoticesAndChanges() {
    let rig = Rig()
    let (first, second) = (Ear(), Ear())
    rig.broker.operator.listen { first.hear($0) }
    rig.broker.operator.changed(.broker, name: "1.0", state: .draining)
    rig.broker.operator.listen { second.hear($0) }
    rig.broker.operator.command(.disableKey("sim", "main"))
    // It was the provider's only key.
    #expect(first.heard == ["broker draining", "sim/main disabled", "no key of sim"])
    #expect(second.heard == ["sim/main disabled", "no key of sim"])
    rig.broker.operator.command(.enableKey("sim", "main"))
    #expect(second.heard.suffix(2) == ["sim/main usable", "a key of sim false"])
  }

  @Test func aKeysMarkGoesWithItsNoticeAndWithNoOther() {
    let rig = Rig()
    rig.broker.operator.command(.disableKey("sim", "main"))
    rig.broker.operator.command(.openBreaker("sim"))
    #expect(rig.marks == [Secret("sk-upstream").description, nil])
    #expect(rig.notices.count == 2)
  }

  @Test func aNumberThatCannotBeTrueIsToldOnceAndCountedEachTime() {
    let rig = Rig()
    for _ in 1...3 { rig.broker.services.news.note(.impossibleNumber("sim", .usage)) }
    rig.broker.services.news.note(.impossibleNumber("other", .usage))
    #expect(rig.notices.count == 2)
    #expect(rig.broker.operator.metrics.impossibleNumbers[.usage] == 4)
  }
}
