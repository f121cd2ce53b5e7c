// Time and chance for the engine, handed in by the composition root so that tests can set both.
import AdmissionCore

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

  /// Now, as the core counts it.
  var instant: Instant { Instant(nanoseconds: Int64(truncatingIfNeeded: monotonic())) }
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
