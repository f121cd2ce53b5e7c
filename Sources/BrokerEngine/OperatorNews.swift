// What an operator is told: changes go to the ledger, notices to the log, and both to the listeners.
//
// Promises: a change that an operator asked for is written to the ledger with the operator's name; of numbers that
// cannot be true, the first of each kind from each provider is reported, the others are only counted.
import AdmissionCore
import LedgerVocabulary
import TextForms

/// What listeners are told.
public enum News {
  case notice(Notice)
  /// The broker or its policy changed: `draining`, `reloaded`.
  case change(LedgerChange.Subject, state: LedgerChange.State)
  /// An alert has changed; nil where it fires no more.
  case alert(FiringAlert?, before: FiringAlert?)
  /// A provider has no key left, or has one again.
  case keys(KeyReport)
}

final class OperatorNews {
  private let time: Timekeeper
  private let clerk: LedgerClerk
  private let counters: Counters
  private let rules: RulesInForce
  private let noticed: (Notice, String?) -> Void
  private var listeners: [(News) -> Void] = []
  /// The operator whose command is being carried out; nil at other times.
  var asker: String?
  /// The sources that have been reported: a provider that counts wrong does so in each of its answers.
  private var toldNumbers: Set<ImpossibleSource> = []
  /// The states that were written last, by what they are of: what the next change tells as the state before it.
  private var states: [String: LedgerChange.State] = [:]
  /// The learned limits that were written last, and when, in monotonic nanoseconds.
  private var learned: [String: (value: Int64, at: UInt64)] = [:]
  private static let learnedPause: UInt64 = 60_000_000_000
  private static let mostLearned = 1000
  private struct ImpossibleSource: Hashable {
    var provider: ProviderID
    var number: ImpossibleNumber
  }

  init(
    time: Timekeeper, clerk: LedgerClerk, counters: Counters, rules: RulesInForce,
    noticed: @escaping (Notice, String?) -> Void
  ) {
    self.time = time
    self.clerk = clerk
    self.counters = counters
    self.rules = rules
    self.noticed = noticed
  }

  func listen(_ listener: @escaping (News) -> Void) { listeners.append(listener) }

  /// Reports a notice that concerns more than one request.
  func note(_ notice: Notice) {
    switch notice {
    case .breakerChanged(let provider, let model, let state, let reason):
      writeDown(
        .breaker, name: model.map { "\(provider)/\($0)" } ?? provider.name, from: .closed, to: .init(state),
        reason: reason)
    case .keyChanged(let provider, let key, let state, let reason):
      writeDown(.key, name: "\(provider)/\(key)", from: .usable, to: .init(state), reason: reason.text)
    case .limitLearned(let provider, let model, let key, let dimension, let perMinute):
      writeDownLearned(provider, model, key, dimension.name + "_per_minute", Int64(perMinute))
    case .concurrencyChanged(let provider, let model, let key, let limit):
      writeDownLearned(provider, model, key, "concurrency", Int64(limit))
    case .ourBug(let kind): if counters.ourBug(kind) > 1 { return }
    case .impossibleNumber(let provider, let number):
      counters.impossible(number)
      guard toldNumbers.insert(ImpossibleSource(provider: provider, number: number)).inserted else { return }
    default: break
    }
    tell(notice)
  }

  func alert(_ alert: FiringAlert?, before: FiringAlert?) {
    if let one = alert ?? before {
      writeDown(
        .alert, name: one.name, state: alert == nil ? .resolved : .firing, reason: alert?.text ?? "",
        before: before?.severity.rawValue, after: alert?.severity.rawValue)
    }
    for listener in listeners { listener(.alert(alert, before: before)) }
  }

  func report(_ report: KeyReport) { for listener in listeners { listener(.keys(report)) } }

  private func tell(_ notice: Notice) {
    var mark: String?
    if case .keyChanged(let provider, let key, _, _) = notice {
      mark = rules.now.secrets.mark(provider: provider.name, key: key.name)
    }
    for listener in listeners { listener(.notice(notice)) }
    // What follows from it is told after it.
    noticed(notice, mark)
  }

  /// Writes down that a limit was learned, once a minute at most: while a provider refuses, it changes with each answer.
  private func writeDownLearned(
    _ provider: ProviderID, _ model: String?, _ key: KeyID?, _ what: String, _ value: Int64
  ) {
    let name = ([provider.name] + [key?.name, model, what].compactMap(\.self)).joined(separator: "/")
    let now = time.now
    let known = learned[name]
    if let known, known.value == value || now &- known.at < Self.learnedPause { return }
    if known == nil, learned.count >= Self.mostLearned {
      // Clients choose the names of models: those written long ago make room, so that no name keeps others out.
      guard let oldest = learned.min(by: { $0.value.at < $1.value.at }), now &- oldest.value.at >= Self.learnedPause
      else { return }
      learned[oldest.key] = nil
    }
    learned[name] = (value, now)
    writeDown(
      .limit, name: name, state: .changed, reason: "learned", before: known.map { "\($0.value)" }, after: "\(value)")
  }

  /// Writes a change to the ledger, with the operator who asked for it where there is one.
  func writeDown(
    _ subject: LedgerChange.Subject, name: String, state: LedgerChange.State, reason: String = "",
    before: String? = nil, after: String? = nil
  ) {
    clerk.changed(
      LedgerChange(
        at: time.wallInstant(at: time.now), subject: subject, name: name, state: state, reason: reason, askedBy: asker,
        before: before, after: after))
  }

  /// The same for something that is always in one of some states.
  /// - Parameter usual: the state in which a start finds it.
  private func writeDown(
    _ subject: LedgerChange.Subject, name: String, from usual: LedgerChange.State, to state: LedgerChange.State,
    reason: String
  ) {
    let before = states.updateValue(state, forKey: "\(subject) \(name)") ?? usual
    writeDown(subject, name: name, state: state, reason: reason, before: before.rawValue, after: state.rawValue)
  }

  /// The same for a change of the broker itself or its policy, which is also reported to the listeners.
  func changed(
    _ subject: LedgerChange.Subject, name: String, state: LedgerChange.State, reason: String, before: String?,
    after: String?
  ) {
    for listener in listeners { listener(.change(subject, state: state)) }
    writeDown(subject, name: name, state: state, reason: reason, before: before, after: after)
  }
}
