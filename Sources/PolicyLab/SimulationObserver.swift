// Who watches a run, and what is found wrong in it. The simulation tells everything that happens in the order in which it happens, and
// asks for nothing in return: a run with an observer is the same to the last bit as one without.
import AdmissionCore

/// A broken rule.
public struct Violation: Sendable, CustomStringConvertible {
  /// The name of the rule, as its checker reports it.
  public var checker: String
  public var at: Instant
  public var text: String
  public var description: String { "\(checker) at \(at.nanoseconds / 1000) us: \(text)" }
}

/// What was found wrong in a run: the first 20, for one bug shows up in many places.
public final class Findings {
  public private(set) var violations: [Violation] = []

  public init() {}

  public func report(_ checker: String, at now: Instant, _ text: @autoclosure () -> String) {
    guard violations.count < 20 else { return }
    violations.append(Violation(checker: checker, at: now, text: text()))
  }
}

/// Sees every event before the subject does, and every order before it is carried out. What cannot be carried out (a grant of something
/// unknown or for the second time) the simulation reports itself and does not show.
public protocol SimulationObserver: AnyObject {
  /// Where the simulation's own reports go beside the observer's.
  var findings: Findings { get }
  /// `event` is about to be handed to the subject.
  func willHandle(_ event: AdmissionEvent, at now: Instant)
  /// A rightful grant is about to be sent to its provider.
  /// - Parameter request: its place among the requests, from 0, in the order in which they were submitted.
  func willGrant(_ grant: Grant, request: Int)
  /// An open request is about to be told its outcome.
  func willConclude(_ conclusion: Conclusion, request: Int)
  func didNotice(_ notice: Notice)
  /// The subject said that nothing is left after a drain.
  func didDrain()
  /// Everything that the subject ordered upon `event` has been carried out. `snapshot` is there where one was taken.
  func didHandle(_ event: AdmissionEvent, _ snapshot: AdmissionSnapshot?)
  /// Everything has ended; `refusals` are the calls that each provider's own limits refused.
  func didFinish(_ snapshot: AdmissionSnapshot, refusals: [(provider: ProviderID, count: Int)])
}
