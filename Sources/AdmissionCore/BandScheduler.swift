// The bands: strict order, softened by headroom and by the floor share. (Promotion is in `PromotionQueue`.)
//
// Headroom: permits and units that are kept for the bands above. Floor share: each grant made while a band waits
// credits it with share × cost; when the credit covers the cost of its head, that head goes next. What a band gets in
// its ordinary turn is taken from its credit, never below zero, so that a band that already has more than its share
// saves up nothing.
//
// Promise: with bands above that never end, a band's part of all served cost is its share exactly, to within one
// request. Credits are whole numbers (basis points × tokens): nothing is lost to rounding.

struct BandScheduler: Sendable {
  private var bands: [BandPolicy]
  /// Basis points × cost.
  private var credits: [Int64] = [0, 0, 0]
  /// What a grant of another band last added to each credit.
  private var additions: [Int64] = [0, 0, 0]

  init(bands: [BandPolicy]) { self.bands = bands }

  /// New rules; the credits stay.
  mutating func replace(bands: [BandPolicy]) { self.bands = bands }

  func policy(_ band: Int) -> BandPolicy { bands[band] }

  // MARK: Headroom

  /// Permits kept for a band out of a limit.
  private func reserve(_ band: Int, of limit: Int) -> Int {
    switch bands[band].reserve {
    case .share(let basisPoints): limit * basisPoints / 10_000
    case .permits(let count): min(count, limit)
    }
  }

  /// How many permits may be in use in all for this band to take one more.
  /// - Parameter inUse: permits in use by each band above.
  func permits(for band: Int, limit: Int, inUse: (Int) -> Int) -> Int {
    var allowed = limit
    for above in 0..<band { allowed -= max(0, reserve(above, of: limit) - inUse(above)) }
    return allowed
  }

  /// Units that must stay in a bucket of this capacity when the band takes some.
  func kept(from band: Int, capacity: Int64) -> Int64 {
    var kept: Int64 = 0
    for above in 0..<band {
      if case .share(let basisPoints) = bands[above].reserve { kept += Self.part(basisPoints, of: capacity) }
    }
    return min(kept, capacity)
  }

  private static func part(_ basisPoints: Int, of capacity: Int64) -> Int64 {
    capacity < 1 << 49 ? capacity * Int64(basisPoints) / 10_000 : capacity / 10_000 * Int64(basisPoints)
  }

  // MARK: Floor share

  func hasShare(_ band: Int) -> Bool { bands[band].shareBasisPoints > 0 }

  func hasCredit(_ band: Int) -> Bool { credits[band] > 0 && hasShare(band) }

  /// True where the band's credit covers a head of this cost.
  func isCovered(_ band: Int, cost: Int64) -> Bool {
    bands[band].shareBasisPoints > 0 && credits[band] >= Self.price(cost)
  }

  /// Counts a grant.
  /// - Parameters:
  ///   - heads: by band, the cost of the head that waited beside this grant; negative where none did. The granted band's
  ///     own entry is not read.
  ///   - isFloorTurn: true where the floor share brought it about. Only then does the band's own grant credit it: so its
  ///     part of everything served is the share exactly, and a band that is served in order anyway saves up nothing.
  mutating func granted(_ band: Int, cost: Int64, heads: SIMD4<Int64>, isFloorTurn: Bool = true) {
    credits[band] = max(0, credits[band] - Self.price(cost))
    // A head is covered by the last addition at the latest, so no more than that can be left. What is beyond was saved up for a dearer
    // head, or while estimates were higher: no reason for a burst of cheap ones.
    if isFloorTurn { credits[band] = min(credits[band], additions[band]) }
    for waiting in 0..<3 where bands[waiting].shareBasisPoints > 0 {
      let addition = Int64(bands[waiting].shareBasisPoints) * Self.clamped(cost)
      if waiting == band {
        if isFloorTurn { credits[waiting] += addition }
      } else if heads[waiting] >= 0, credits[waiting] < Self.price(heads[waiting]) {
        // A head that is covered goes next; if it cannot, its band does not save up for a burst.
        credits[waiting] += addition
        additions[waiting] = addition
      }
    }
  }

  private static func clamped(_ cost: Int64) -> Int64 { min(max(0, cost), 1 << 40) }
  private static func price(_ cost: Int64) -> Int64 { 10_000 * clamped(cost) }
}
