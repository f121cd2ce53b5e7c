// The bands (rules 1 to 1c): a strict order, softened by headroom and by the floor share.
//
// Headroom keeps permits and units for the bands above. Floor share: each grant made while a band waits credits the
// band with share × cost; when the credit covers the cost of its head, that head goes next. What a band gets in its
// ordinary turn is taken from its credit, never below zero, so that a band that already has more than its share saves
// up nothing. While an old head waits (longer than `promote_after`), the band's `promoted_share` replaces its share: a
// promotion raises a share, it never jumps the line.
//
// Costs are expectations until a call has ended; then every credit that the call has changed is corrected by the
// difference. Without that, a band whose calls cost more than expected would get more than its share, and so would a
// band beside calls that cost less.
//
// Each cluster of providers has its own credits: what one provider serves gives no band an advantage at a provider that
// no route connects with it.
//
// Promise: with endless traffic in the bands above, a band's part of all real cost is exactly its share, except for
// running calls and one request. Credits are whole numbers (basis points × tokens), so nothing is lost to rounding.

struct BandScheduler: Sendable {
  /// A grant whose real cost is not known yet.
  struct Entry: Sendable {
    var cluster = ClusterIndex.unconnected
    var band: Int8 = 0
    var cost: Int64 = 0
    /// The basis points of the cost with which each band was credited.
    fileprivate var shares = SIMD4<Int32>(repeating: 0)
    /// What the band's credit paid in an ordinary turn; -1 for a floor turn, in which the credit pays everything.
    fileprivate var paid: Int64 = -1
  }

  private var bands: [BandPolicy]
  /// Credits by band, in basis points × cost. Below zero where a call cost more than expected.
  private var credits = Column<ProviderCluster, SIMD4<Int64>>(.zero)
  private var hasDebt = false

  init(bands: [BandPolicy]) { self.bands = bands }

  /// Takes over new rules; credits stay.
  mutating func replace(bands: [BandPolicy]) { self.bands = bands }

  func policy(_ band: Int) -> BandPolicy { bands[band] }

  // MARK: Headroom

  /// The permits of a limit that are reserved for a band.
  private func reserve(_ band: Int, of limit: Int) -> Int {
    switch bands[band].reserve {
    case .share(let basisPoints): limit * basisPoints / 10_000
    case .permits(let count): min(count, limit)
    }
  }

  /// The number of permits that may be in use for this band to take one more.
  /// - Parameter inUse: permits in use by each band above.
  func permits(for band: Int, limit: Int, inUse: (Int) -> Int) -> Int {
    var allowed = limit
    for above in 0..<band { allowed -= max(0, reserve(above, of: limit) - inUse(above)) }
    return allowed
  }

  /// The permits of a limit that are kept for the band now.
  func keptPermits(for band: Int, limit: Int, running: Int) -> Int {
    band == 2 ? 0 : max(0, reserve(band, of: limit) - running)
  }

  /// The units of a bucket of this capacity that are kept for the band.
  func keptUnits(for band: Int, capacity: Int64) -> Int64 {
    guard band < 2, case .share(let basisPoints) = bands[band].reserve else { return 0 }
    return min(Self.part(basisPoints, of: capacity), capacity)
  }

  /// The units that must stay in a bucket of this capacity when the band takes some.
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

  private func share(_ band: Int, isOld: Bool) -> Int {
    isOld ? max(bands[band].shareBasisPoints, bands[band].promotedShareBasisPoints) : bands[band].shareBasisPoints
  }

  func hasShare(_ band: Int) -> Bool { share(band, isOld: true) > 0 }

  func hasCredit(_ band: Int, in cluster: ClusterIndex = .unconnected) -> Bool {
    credits[cluster][band] > 0
  }

  /// What the band has saved up, in tokens.
  func credit(_ band: Int, in cluster: ClusterIndex = .unconnected) -> Double {
    Double(credits[cluster][band]) / 10_000
  }

  /// The part of everything served that the band gets, however much waits in the bands above.
  func part(_ band: Int, isOld: Bool) -> Double { Double(share(band, isOld: isOld)) / 10_000 }

  /// True where the band's credit covers a head of this cost.
  func isCovered(_ band: Int, in cluster: ClusterIndex = .unconnected, cost: Int64) -> Bool {
    hasCredit(band, in: cluster) && credits[cluster][band] >= Self.price(cost)
  }

  /// Counts a grant, and credits the waiting bands.
  /// - Parameters:
  ///   - cost: the expected cost in tokens. `settle` must follow.
  ///   - heads: by band, the cost of the head that waited during this grant; negative where none did. The granted
  ///     band's own entry is not read.
  ///   - old: by band, true where an old head waits.
  ///   - beside: by band, true where the grant takes nothing that the band's heads wait for.
  ///   - isFloorTurn: true where the grant is due to the floor share. Only then the band's own grant credits it: so its
  ///     part of everything served is exactly its share, and a band that is served in order anyway saves up nothing.
  @discardableResult
  mutating func granted(
    _ band: Int, in cluster: ClusterIndex = .unconnected, cost: Int64, heads: SIMD4<Int64>,
    old: SIMD4<Int8> = SIMD4(repeating: 0),
    beside: SIMD4<Int8> = SIMD4(repeating: 0), isFloorTurn: Bool = true
  ) -> Entry {
    var entry = Entry(cluster: cluster, band: Int8(band), cost: FairCost.clamped(cost))
    if isFloorTurn {
      move(band, in: cluster, by: -Self.price(cost))
    } else {
      entry.paid = min(max(0, credits[cluster][band]), Self.price(cost))
      credits[cluster][band] -= entry.paid
    }
    for waiting in 0..<3 {
      let share = Int64(share(waiting, isOld: old[waiting] != 0))
      guard share > 0 else { continue }
      if waiting == band {
        guard isFloorTurn else { continue }
        credits[cluster][waiting] += share * entry.cost
      } else {
        // A covered head goes next, or after the floor turns of other bands, which credit it while it waits for the
        // same things. If it cannot go, its band saves up no burst.
        let mayExceed = isFloorTurn && beside[waiting] == 0
        guard heads[waiting] >= 0, mayExceed || credits[cluster][waiting] < Self.price(heads[waiting]) else { continue }
        credits[cluster][waiting] += share * entry.cost
      }
      entry.shares[waiting] = Int32(share)
    }
    return entry
  }

  /// The real cost of a grant is known: corrects all credits that the grant has changed.
  mutating func settle(_ entry: Entry, real: Int64) {
    let (cluster, own) = (entry.cluster, Int(entry.band))
    let difference = FairCost.clamped(real) - entry.cost
    guard difference != 0 else { return }
    for band in 0..<3 where entry.shares[band] > 0 {
      move(band, in: cluster, by: Int64(entry.shares[band]) * difference)
    }
    if entry.paid < 0 {
      move(own, in: cluster, by: -10_000 * difference)
    } else {
      // In an ordinary turn the credit pays at most what it has.
      let due = Self.price(real)
      if entry.paid >= due {
        move(own, in: cluster, by: entry.paid - due)
      } else if entry.paid == Self.price(entry.cost) {
        move(own, in: cluster, by: -min(max(0, credits[cluster][own]), due - entry.paid))
      }
    }
  }

  /// No request waits any more: debts are forgiven.
  mutating func rest() {
    guard hasDebt else { return }
    hasDebt = false
    for cluster in credits.indices { credits[cluster] = pointwiseMax(.zero, credits[cluster]) }
  }

  private mutating func move(_ band: Int, in cluster: ClusterIndex, by amount: Int64) {
    // A few calls of the largest cost: a larger credit cannot be true.
    let most = 4 * Self.price(FairCost.most)
    credits[cluster][band] = min(max(credits[cluster][band] + amount, -most), most)
    if credits[cluster][band] < 0 { hasDebt = true }
  }

  private static func price(_ cost: Int64) -> Int64 { 10_000 * FairCost.clamped(cost) }
}
