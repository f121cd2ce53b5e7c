// How long calls of a provider last, per model: a moving average of those that went well.
//
// Promises: a fixed number of models at most; one addition per call. A drain asks it which calls cannot be over in time.

struct CallDurations: Sendable {
  /// Nanoseconds, by the model's number; 0 is not known.
  private var averages: [Int64] = []
  /// A new call counts for an eighth.
  private static let weight: Int64 = 8

  mutating func learn(_ duration: Span, model: ModelNumber) {
    let index = model.position
    guard index <= OutputPredictor.models else { return }
    if index >= averages.count { averages.append(contentsOf: repeatElement(0, count: index + 1 - averages.count)) }
    let lasted = max(1, duration.nanoseconds)
    averages[index] =
      averages[index] == 0 ? lasted : max(1, averages[index] + (lasted - averages[index]) / Self.weight)
  }

  /// Zero where no call of the model went well yet.
  func expected(model: ModelNumber) -> Span {
    let index = model.position
    return index < averages.count ? Span(nanoseconds: averages[index]) : .zero
  }
}
