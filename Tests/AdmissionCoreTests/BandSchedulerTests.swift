// Headroom for permits and buckets; the floor share to the token.
import Testing

@testable import AdmissionCore

@Suite struct BandSchedulerTests {
  static func bands(high: Reserve, normal: Reserve, share: Int = 500) -> [BandPolicy] {
    var bands = Priority.allCases.map(BandPolicy.standard)
    bands[0].reserve = high
    bands[1].reserve = normal
    bands[2].shareBasisPoints = share
    return bands
  }

  @Test func headroomIsWhatTheBandsAboveHaveNotUsed() {
    let scheduler = BandScheduler(bands: Self.bands(high: .share(basisPoints: 1000), normal: .permits(3)))
    #expect(scheduler.permits(for: 0, limit: 50) { _ in 0 } == 50)
    #expect(scheduler.permits(for: 1, limit: 50) { _ in 0 } == 45)
    #expect(scheduler.permits(for: 2, limit: 50) { _ in 0 } == 42)
    #expect(scheduler.permits(for: 2, limit: 50) { $0 == 0 ? 2 : 1 } == 45)
    #expect(scheduler.permits(for: 2, limit: 50) { _ in 9 } == 50)
    #expect(scheduler.permits(for: 1, limit: 4) { _ in 0 } == 4)
  }

  @Test func aShareKeepsUnitsAndAPermitCountDoesNot() {
    let scheduler = BandScheduler(bands: Self.bands(high: .share(basisPoints: 1000), normal: .permits(3)))
    #expect(scheduler.kept(from: 0, capacity: 1000) == 0)
    #expect(scheduler.kept(from: 1, capacity: 1000) == 100)
    #expect(scheduler.kept(from: 2, capacity: 1000) == 100)
  }

  @Test(arguments: [(500, 100, 100), (500, 10, 700), (1000, 333, 21), (1, 100, 100)] as [(Int, Int64, Int64)])
  func theFloorShareIsExact(share: Int, highCost: Int64, lowCost: Int64) {
    var scheduler = BandScheduler(bands: Self.bands(high: .permits(0), normal: .permits(0), share: share))
    var high: Int64 = 0
    var low: Int64 = 0
    for _ in 0..<50_000 {
      if scheduler.isCovered(2, cost: lowCost) {
        scheduler.granted(2, cost: lowCost, heads: SIMD4(-1, -1, -1, -1))
        low += lowCost
      } else {
        scheduler.granted(0, cost: highCost, heads: SIMD4(-1, -1, lowCost, -1))
        high += highCost
      }
    }
    let exact = Double(high + low) * Double(share) / 10_000
    #expect(abs(Double(low) - exact) <= Double(lowCost + highCost))
  }

  @Test func ordinaryTurnsSaveUpNothing() {
    var scheduler = BandScheduler(bands: Self.bands(high: .permits(0), normal: .permits(0)))
    for _ in 0..<1000 { scheduler.granted(2, cost: 100, heads: SIMD4(-1, -1, -1, -1)) }
    #expect(!scheduler.isCovered(2, cost: 100))
  }

  @Test func aBandThatCannotGoSavesUpNoBurst() {
    var scheduler = BandScheduler(bands: Self.bands(high: .permits(0), normal: .permits(0)))
    for _ in 0..<10_000 { scheduler.granted(0, cost: 100, heads: SIMD4(-1, -1, 100, -1), isFloorTurn: false) }
    #expect(scheduler.isCovered(2, cost: 100))
    scheduler.granted(2, cost: 100, heads: SIMD4(-1, -1, -1, -1))
    #expect(!scheduler.isCovered(2, cost: 100))
    // Nor beside floor turns of another band, where those take nothing that it waits for.
    for _ in 0..<10_000 { scheduler.granted(1, cost: 100, heads: SIMD4(-1, -1, 100, -1), beside: SIMD4(0, 0, 1, 0)) }
    #expect(scheduler.isCovered(2, cost: 100))
    scheduler.granted(2, cost: 100, heads: SIMD4(-1, -1, -1, -1))
    #expect(!scheduler.isCovered(2, cost: 100))
  }

  /// Floor turns at what its head waits for credit a band whatever that head is reckoned at: else it would lose its share where it is reckoned
  /// too low.
  @Test func floorTurnsAtWhatItWaitsForCreditABandBeyondItsHead() {
    var scheduler = BandScheduler(bands: Self.bands(high: .permits(0), normal: .permits(0), share: 500))
    for _ in 0..<100 { scheduler.granted(1, cost: 100, heads: SIMD4(-1, -1, 1, -1)) }
    #expect(scheduler.isCovered(2, cost: 500) && !scheduler.isCovered(2, cost: 501))
  }

  /// Before anything is learned calls count as dear; what is saved up then does not buy a burst of cheap ones, once it is known what they were.
  @Test func creditOfDearTimesBuysNoBurst() {
    var scheduler = BandScheduler(bands: Self.bands(high: .permits(0), normal: .permits(0), share: 500))
    for _ in 0..<15 {
      scheduler.settle(scheduler.granted(0, cost: 500, heads: SIMD4(-1, -1, 500, -1), isFloorTurn: false), real: 4)
    }
    // 5 % of 15 times 4.
    #expect(!scheduler.isCovered(2, cost: 4))
    #expect(scheduler.isCovered(2, cost: 3))
  }

  /// A band that is served in its ordinary turn saves up nothing: its floor must not eat what is kept for the bands above.
  @Test func ordinaryGrantsDoNotCreditTheirOwnBand() {
    var scheduler = BandScheduler(bands: Priority.allCases.map(BandPolicy.standard))
    for _ in 0..<1000 {
      scheduler.granted(2, cost: 5000, heads: SIMD4(repeating: -1), isFloorTurn: false)
      #expect(!scheduler.isCovered(2, cost: 10))
    }
  }

  /// While an old head waits the promoted share holds; two bands at once, each its own.
  @Test func anOldHeadRaisesTheShareAndNothingElse() {
    var bands = Self.bands(high: .permits(0), normal: .permits(0))
    bands[1].promotedShareBasisPoints = 2500
    bands[2].promotedShareBasisPoints = 1500
    for (old, shares) in [((0, 0), (1000, 500)), ((0, 1), (1000, 1500)), ((1, 0), (2500, 500)), ((1, 1), (2500, 1500))]
    {
      var scheduler = BandScheduler(bands: bands)
      var served: [Int64] = [0, 0, 0]
      for _ in 0..<20_000 {
        let band = scheduler.isCovered(1, cost: 100) ? 1 : scheduler.isCovered(2, cost: 100) ? 2 : 0
        scheduler.granted(
          band, cost: 100, heads: SIMD4(100, 100, 100, -1), old: SIMD4(0, Int8(old.0), Int8(old.1), 0),
          isFloorTurn: band > 0)
        served[band] += 100
      }
      #expect(abs(served[1] - Int64(200 * shares.0)) <= 300, "\(old): \(served)")
      #expect(abs(served[2] - Int64(200 * shares.1)) <= 300, "\(old): \(served)")
    }
  }

  /// Shares are of what calls really cost, ten times more or less than they were expected to.
  @Test(
    arguments: [(100, 1000, 100, 10), (1000, 100, 10, 100), (100, 10, 1000, 100), (512, 4000, 512, 5)]
      as [(Int64, Int64, Int64, Int64)])
  func theShareIsOfRealCosts(highExpected: Int64, highReal: Int64, lowExpected: Int64, lowReal: Int64) {
    var scheduler = BandScheduler(bands: Self.bands(high: .permits(0), normal: .permits(0), share: 1500))
    var running: [(entry: BandScheduler.Entry, real: Int64)] = []
    var high: Int64 = 0
    var low: Int64 = 0
    for _ in 0..<50_000 {
      if scheduler.isCovered(2, cost: lowExpected) {
        running.append((scheduler.granted(2, cost: lowExpected, heads: SIMD4(1, -1, lowExpected, -1)), lowReal))
        low += lowReal
      } else {
        running.append(
          (scheduler.granted(0, cost: highExpected, heads: SIMD4(1, -1, lowExpected, -1), isFloorTurn: false), highReal)
        )
        high += highReal
      }
      if running.count == 4 {
        let ended = running.removeFirst()
        scheduler.settle(ended.entry, real: ended.real)
      }
    }
    #expect(abs(Double(low) / Double(low + high) - 0.15) <= 0.005, "\(low) of \(low + high)")
  }

  @Test func absurdCostsAreBoundedAndForgivenWhenNobodyWaits() {
    var scheduler = BandScheduler(bands: Self.bands(high: .permits(0), normal: .permits(0)))
    for real in [Int64.max, .min, 1 << 53, 0] {
      let entry = scheduler.granted(2, cost: .max, heads: SIMD4(repeating: .max))
      scheduler.settle(entry, real: real)
    }
    scheduler.settle(scheduler.granted(2, cost: 1, heads: SIMD4(repeating: -1)), real: .max)
    #expect(!scheduler.hasCredit(2))
    scheduler.rest()
    for _ in 0..<20 { scheduler.granted(0, cost: 100, heads: SIMD4(-1, -1, 100, -1)) }
    #expect(scheduler.isCovered(2, cost: 100))
  }
}
