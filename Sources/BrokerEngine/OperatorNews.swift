// What an operator is told: changes go into the books, notices to the log, and both to those who listen.
//
// Promises: a change that an operator asked for stands in the books with who asked; of a number that cannot be true only the first
// of its sort from each provider is told, the others are counted.
import AdmissionCore
import LedgerVocabulary
import TextForms

/// What those who listen hear.
public enum News {
  case notice(Notice)
  /// The broker or its policy changed: `draining`, `reloaded`.
  case change(LedgerChange.Subject, state: String)
}

final class OperatorNews {
  private let time: Timekeeper
  private let books: Books
  private let counters: Counters
  private let rules: RulesInForce
  private let noticed: (Notice, String?) -> Void
  private var listeners: [(News) -> Void] = []
  /// While an operator's command is carried out: who gave it.
  var asker: String?
  /// Who has been told of: a provider that counts wrong does so in each of its answers.
  private var toldNumbers: Set<ImpossibleSource> = []
  private struct ImpossibleSource: Hashable {
    var provider: ProviderID
    var number: ImpossibleNumber
  }

  init(
    time: Timekeeper, books: Books, counters: Counters, rules: RulesInForce,
    noticed: @escaping (Notice, String?) -> Void
  ) {
    self.time = time
    self.books = books
    self.counters = counters
    self.rules = rules
    self.noticed = noticed
  }

  func listen(_ listener: @escaping (News) -> Void) { listeners.append(listener) }

  /// What concerns more than one request.
  func note(_ notice: Notice) {
    switch notice {
    case .breakerChanged(let provider, let model, let state, let reason):
      writeDown(
        .breaker, name: model.map { "\(provider)/\($0)" } ?? provider.name, state: state.rawValue, reason: reason)
    case .keyChanged(let provider, let key, let state, let reason):
      writeDown(.key, name: "\(provider)/\(key)", state: state.rawValue, reason: reason)
    case .ourBug(let kind): if counters.ourBug(kind) > 1 { return }
    case .impossibleNumber(let provider, let number):
      counters.impossible(number)
      guard toldNumbers.insert(ImpossibleSource(provider: provider, number: number)).inserted else { return }
    default: break
    }
    tell(notice)
  }

  private func tell(_ notice: Notice) {
    var mark: String?
    if case .keyChanged(let provider, let key, _, _) = notice {
      mark = rules.now.secrets.mark(provider: provider.name, key: key.name)
    }
    noticed(notice, mark)
    for listener in listeners { listener(.notice(notice)) }
  }

  /// Notes in the books that something changed, with the operator who asked for it where one did.
  func writeDown(_ subject: LedgerChange.Subject, name: String, state: String, reason: String = "") {
    books.changed(
      LedgerChange(
        at: time.wallInstant(at: time.now), subject: subject, name: name, state: state, reason: reason, askedBy: asker))
  }

  /// The same for the broker itself and its policy; who listens hears of it.
  func changed(_ subject: LedgerChange.Subject, name: String, state: String) {
    for listener in listeners { listener(.change(subject, state: state)) }
    writeDown(subject, name: name, state: state)
  }
}
