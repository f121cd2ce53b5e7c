// The calendar side of prices: calls that wait are reckoned anew when prices change, so that what is held for each is what it
// costs at the time at which it is sent.
//
// Promises: nothing is computed and no timer runs where no price has days or hours, or nobody waits; a change is noticed at its
// second while the clock is right, and within a minute of a clock that was set.
import EventLoop

final class PriceClock {
  /// When prices change next after a moment of the wall clock; nil where never.
  private let nextChange: (Int64) -> Int64?
  private let wall: () -> Int64
  private let isWaitedFor: () -> Bool
  private let tell: () -> Void
  private var timer: LoopTimer?
  /// While somebody waits: the moments between which the prices of now hold.
  private var valid: Range<Int64>?

  init(
    loop: EventLoop?, wall: @escaping () -> Int64, nextChange: @escaping (Int64) -> Int64?,
    isWaitedFor: @escaping () -> Bool, tell: @escaping () -> Void
  ) {
    self.nextChange = nextChange
    self.wall = wall
    self.isWaitedFor = isWaitedFor
    self.tell = tell
    if let loop { timer = LoopTimer(loop) { [unowned self] in check() } }
  }

  /// Somebody waits whose price is that of now.
  func somebodyWaits() {
    if valid == nil { arm() }
  }

  /// Other prices hold, and everybody who waits has them.
  func pricesChanged() {
    valid = nil
    if isWaitedFor() { arm() }
  }

  /// Looks at the clock.
  func check() {
    guard let valid else { return }
    if !valid.contains(wall()) { tell() }
    pricesChanged()
  }

  private func arm() {
    let now = wall()
    guard let change = nextChange(now), change > now else { return }
    valid = now..<change
    timer?.schedule(after: .nanoseconds(min(change - now, 60_000_000_000)))
  }
}
