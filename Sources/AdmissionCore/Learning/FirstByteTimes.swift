// How long calls of a provider wait for the first byte of their answer, per model, and apart for streams and for whole
// answers: the time within which nine of ten have it.
//
// Learned from the last calls that were answered, and from calls whose client left before that and after longer than
// was expected. A call counts for an hour; fewer than ten say nothing.
//
// Promises: a bounded number of models; two stores per call, and a pass over 32 numbers where a call took long.

struct FirstByteTimes: Sendable {
  /// The number of calls that are remembered.
  static let window = 32
  /// The least number of calls that say something.
  static let least = 10
  static let life = Span.seconds(3600)

  private struct Sample {
    /// Nanoseconds; below zero where the place is empty.
    var lasted: Int64
    var at: Instant
    static let none = Sample(lasted: -1, at: Instant(nanoseconds: 0))
  }

  /// `window` places for each slot.
  private var samples: [Sample] = []
  /// The place of the next sample, by slot.
  private var next: [UInt8] = []
  /// What `learn` has last told of, by slot: nanoseconds.
  private var told: [Int64] = []

  /// Notes how long a call waited for its first byte.
  /// - Returns: true where the time for nine of ten has risen by more than an eighth since this was last true.
  mutating func learn(_ time: Span, isStream: Bool, model: ModelNumber, at now: Instant) -> Bool {
    guard let slot = Self.slot(model, isStream) else { return false }
    if slot >= next.count {
      let missing = slot + 1 - next.count
      samples.append(contentsOf: repeatElement(.none, count: missing * Self.window))
      next.append(contentsOf: repeatElement(0, count: missing))
      told.append(contentsOf: repeatElement(0, count: missing))
    }
    let lasted = max(0, time.nanoseconds)
    samples[slot * Self.window + Int(next[slot])] = Sample(lasted: lasted, at: now)
    next[slot] = (next[slot] + 1) % UInt8(Self.window)
    let isRoundOver = next[slot] == 0
    // Only a longer time can raise it.
    guard lasted > told[slot] || isRoundOver else { return false }
    let current = nineOfTen(slot, at: now)?.nanoseconds ?? 0
    let hasRisen = current > told[slot] + told[slot] / 8
    if hasRisen || isRoundOver { told[slot] = current }
    return hasRisen
  }

  /// Notes that a call had no first byte when its client left. That says something only where the call had waited longer
  /// than is expected.
  mutating func noteNone(within time: Span, isStream: Bool, model: ModelNumber, at now: Instant) -> Bool {
    guard let expected = nineOfTen(isStream: isStream, model: model, at: now), time > expected else { return false }
    return learn(time, isStream: isStream, model: model, at: now)
  }

  /// The time within which nine of ten calls have their first byte; nil where too few are known.
  func nineOfTen(isStream: Bool, model: ModelNumber, at now: Instant) -> Span? {
    guard let slot = Self.slot(model, isStream), slot < next.count else { return nil }
    return nineOfTen(slot, at: now)
  }

  private func nineOfTen(_ slot: Int, at now: Instant) -> Span? {
    var count = 0
    // Of at most 32 calls, at most three may be longer: so it is one of the four longest.
    var (first, second, third, fourth): (Int64, Int64, Int64, Int64) = (-1, -1, -1, -1)
    for place in slot * Self.window..<(slot + 1) * Self.window {
      let sample = samples[place]
      guard sample.lasted >= 0, now - sample.at < Self.life else { continue }
      count += 1
      let lasted = sample.lasted
      if lasted > first {
        (first, second, third, fourth) = (lasted, first, second, third)
      } else if lasted > second {
        (second, third, fourth) = (lasted, second, third)
      } else if lasted > third {
        (third, fourth) = (lasted, third)
      } else if lasted > fourth {
        fourth = lasted
      }
    }
    guard count >= Self.least else { return nil }
    return Span(nanoseconds: count < 20 ? second : count < 30 ? third : fourth)
  }

  private static func slot(_ model: ModelNumber, _ isStream: Bool) -> Int? {
    model.position <= OutputPredictor.models ? model.position * 2 + (isStream ? 1 : 0) : nil
  }
}
