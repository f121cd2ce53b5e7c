// How long a provider's calls last, per model: a moving average of the successful ones.
//
// Promises: a bounded number of models; one addition per call. A drain uses it to find the calls that cannot end in
// time.

struct CallDurations: Sendable {
  /// Nanoseconds, by the model's number; 0 is not known.
  private var averages: [Int64] = []
  /// A new call contributes an eighth.
  private static let weight: Int64 = 8

  mutating func learn(_ duration: Span, model: ModelNumber) {
    let index = model.position
    guard index <= OutputPredictor.models else { return }
    if index >= averages.count { averages.append(contentsOf: repeatElement(0, count: index + 1 - averages.count)) }
    let lasted = max(1, duration.nanoseconds)
    averages[index] =
      averages[index] == 0 ? lasted : max(1, averages[index] + (lasted - averages[index]) / Self.weight)
  }

  /// The middle of the models' average durations; zero where no call has succeeded yet.
  var typical: Span {
    let known = averages.filter { $0 > 0 }.sorted()
    return known.isEmpty ? .zero : Span(nanoseconds: known[known.count / 2])
  }

  /// The average duration; zero where no call of the model has succeeded yet.
  func expected(model: ModelNumber) -> Span {
    let index = model.position
    return index < averages.count ? Span(nanoseconds: averages[index]) : .zero
  }
}
