// Observers of a run, and their findings. The simulation reports everything in the order in which it happens, and uses
// nothing from the observer: a run with an observer is exactly the same as one without.
import AdmissionCore

/// A broken rule.
public struct Violation: Sendable, CustomStringConvertible {
  /// The name of the rule, as its checker reports it.
  public var checker: String
  public var at: Instant
  public var text: String
  public var description: String { "\(checker) at \(at.nanoseconds / 1000) us: \(text)" }
}

/// The broken rules that were found in a run: only the first 20, since one bug shows up at many places.
public final class Findings {
  public private(set) var violations: [Violation] = []

  public init() {}

  public func report(_ checker: String, at now: Instant, _ text: @autoclosure () -> String) {
    guard violations.count < 20 else { return }
    violations.append(Violation(checker: checker, at: now, text: text()))
  }
}

/// Sees every event before the subject does, and every action before it is carried out. Actions that cannot be carried
/// out (a grant of an unknown request, or a second one) are reported by the simulation itself and not shown.
public protocol SimulationObserver: AnyObject {
  /// The findings, to which the simulation adds its own.
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
  /// All actions that the subject ordered upon `event` have been carried out. `snapshot` is nil where none was taken.
  func didHandle(_ event: AdmissionEvent, _ snapshot: AdmissionSnapshot?)
  /// Everything has ended; `refusals` are the calls that each provider's own limits refused.
  func didFinish(_ snapshot: AdmissionSnapshot, refusals: [(provider: ProviderID, count: Int)])
}
