// Time and randomness for the engine, handed in by the composition root so that tests can set both.
import AdmissionCore
import TextForms

/// Where the engine gets time and random bits from.
public struct BrokerClock {
  /// Nanoseconds of a monotonic clock.
  public var monotonic: () -> UInt64
  /// Nanoseconds since 1970-01-01T00:00:00Z. Read once a second at most.
  public var wall: () -> Int64
  /// A seed for request ids and for the core's jitter.
  public var seed: UInt64

  public init(monotonic: @escaping () -> UInt64, wall: @escaping () -> Int64, seed: UInt64) {
    self.monotonic = monotonic
    self.wall = wall
    self.seed = seed
  }
}

/// The engine's time: one object for the whole engine, so that the wall clock is read once a second.
final class Timekeeper {
  let seed: UInt64
  private let clock: BrokerClock
  private var wallClock: WallClock

  init(_ clock: BrokerClock) {
    self.clock = clock
    seed = clock.seed
    wallClock = WallClock(clock)
  }

  /// Monotonic nanoseconds, read from the clock.
  var now: UInt64 { clock.monotonic() }
  /// The same as the core's type.
  var instant: Instant { Instant(nanoseconds: Int64(truncatingIfNeeded: clock.monotonic())) }
  /// Nanoseconds since 1970 for a monotonic instant.
  func wall(at instant: UInt64) -> Int64 { wallClock.nanoseconds(at: instant) }
  func wallInstant(at instant: UInt64) -> WallInstant { WallInstant(nanoseconds: wall(at: instant)) }
  /// Nanoseconds since 1970, now.
  var wallNow: Int64 { wall(at: now) }
  /// Whole seconds since 1970 for a monotonic instant.
  func epochSeconds(at instant: UInt64) -> Int64 { wall(at: instant) / 1_000_000_000 }
}

/// Turns monotonic instants into wall-clock time without a system call for each request.
struct WallClock {
  private let clock: BrokerClock
  private var offset: Int64
  private var readAt: UInt64

  init(_ clock: BrokerClock) {
    self.clock = clock
    readAt = clock.monotonic()
    offset = clock.wall() &- Int64(truncatingIfNeeded: readAt)
  }

  /// Nanoseconds since 1970 at `instant`; follows steps of the system's clock within a second.
  mutating func nanoseconds(at instant: UInt64) -> Int64 {
    if instant &- readAt > 1_000_000_000, instant > readAt {
      readAt = clock.monotonic()
      offset = clock.wall() &- Int64(truncatingIfNeeded: readAt)
    }
    return Int64(truncatingIfNeeded: instant) &+ offset
  }
}
