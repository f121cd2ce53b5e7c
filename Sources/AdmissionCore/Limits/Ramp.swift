// A careful start: after a long idle time, or with a new key, at first only a few concurrent calls, twice as many after
// each sixth of the policy's `ramp`, and no bound at its end. For vendors that refuse a sharp rise even below their
// limits (Anthropic's acceleration limits).
//
// Promise: off unless the policy sets it; the first calls always go at once; a refusal during the ramp goes one step
// back.

struct Ramp: Sendable {
  /// Zero means off.
  var length = Span.zero
  private var began: Instant?
  /// When the last call ended.
  private var lastEnd: Instant?

  static let first = 4
  static let steps: Int64 = 6
  static let idle = Span.seconds(60)

  /// The bound on concurrent calls now, and when the next step comes; nil where there is no bound.
  func bound(at now: Instant) -> (permits: Int, next: Instant)? {
    guard let began, length > .zero else { return nil }
    let elapsed = (now - began).nanoseconds
    guard elapsed < length.nanoseconds else { return nil }
    let step = Int64(Int128(max(0, elapsed)) * Int128(Self.steps) / Int128(length.nanoseconds))
    return (Self.first << Int(step), began + offset(of: step + 1))
  }

  /// When a step begins, counted from the beginning of the ramp.
  private func offset(of step: Int64) -> Span {
    Span(nanoseconds: (length.nanoseconds * step + Self.steps - 1) / Self.steps)
  }

  mutating func begin(at now: Instant) {
    if length > .zero { began = now }
  }

  /// A call begins; `isFirst` where no other call is running.
  mutating func take(isFirst: Bool, at now: Instant) {
    guard length > .zero, isFirst else { return }
    if let lastEnd, now - lastEnd < Self.idle { return }
    // A ramp begins with the first call ever, or the first after an idle time; one that has begun goes on.
    if lastEnd == nil, began != nil { return }
    began = now
  }

  mutating func release(at now: Instant) {
    if length > .zero { lastEnd = now }
  }

  /// The provider has refused a call: goes one step back.
  mutating func refused(at now: Instant) {
    guard let began, let bound = bound(at: now) else { return }
    var step: Int64 = 0
    while Self.first << Int(step) < bound.permits { step += 1 }
    self.began = now + Span(nanoseconds: -offset(of: max(0, step - 1)).nanoseconds)
    if self.began.map({ $0 < began }) == true { self.began = began }
  }
}
