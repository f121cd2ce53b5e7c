// The calendar side of prices: when prices change, waiting calls are priced again, so that the hold of each call
// follows the price at the time of sending.
//
// Promises: where no price changes by date or hour, or no request waits, nothing is computed and no timer runs; a
// change is noticed at its second while the clock is right, and within a minute after a clock was set.
import EventLoop

final class PriceClock {
  /// When prices change next after an instant of the wall clock; nil where they do not change.
  private let nextChange: (Int64) -> Int64?
  private let wall: () -> Int64
  private let isWaitedFor: () -> Bool
  private let tell: () -> Void
  private var timer: LoopTimer?
  /// While a request waits: the wall times between which the current prices are valid.
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

  /// A request waits with the current price.
  func somebodyWaits() {
    if valid == nil { arm() }
  }

  /// New prices are in force, and all waiting requests have them.
  func pricesChanged() {
    valid = nil
    if isWaitedFor() { arm() }
  }

  /// Reads the clock, and reports a change of prices.
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
