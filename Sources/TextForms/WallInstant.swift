// An instant of the wall clock, as in files, the ledger and the API. The core has no wall clock: it counts from its own
// start (`Instant`).

/// Nanoseconds since 1970, UTC.
public struct WallInstant: Hashable, Comparable, Sendable {
  public var nanoseconds: Int64
  public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }
  public static func < (left: WallInstant, right: WallInstant) -> Bool { left.nanoseconds < right.nanoseconds }
}
