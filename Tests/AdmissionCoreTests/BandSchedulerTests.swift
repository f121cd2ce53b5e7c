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
    for _ in 0..<10_000 { scheduler.granted(0, cost: 100, heads: SIMD4(-1, -1, 100, -1)) }
    #expect(scheduler.isCovered(2, cost: 100))
    scheduler.granted(2, cost: 100, heads: SIMD4(-1, -1, -1, -1))
    #expect(!scheduler.isCovered(2, cost: 100))
  }

  /// Before anything is learned calls count as dear; what is saved up then must not buy a burst of cheap ones.
  @Test func creditOfDearTimesBuysNoBurst() {
    var scheduler = BandScheduler(bands: Self.bands(high: .permits(0), normal: .permits(0), share: 500))
    for _ in 0..<15 { scheduler.granted(0, cost: 500, heads: SIMD4(-1, -1, 500, -1)) }
    var burst = 0
    while scheduler.isCovered(2, cost: 4) {
      scheduler.granted(2, cost: 4, heads: SIMD4(repeating: -1))
      burst += 1
    }
    // The last addition was 25.
    #expect(burst <= 1 + 25 / 4 + 1)
  }

  /// A band that is served in its ordinary turn saves up nothing: its floor must not eat what is kept for the bands above.
  @Test func ordinaryGrantsDoNotCreditTheirOwnBand() {
    var scheduler = BandScheduler(bands: Priority.allCases.map(BandPolicy.standard))
    for _ in 0..<1000 {
      scheduler.granted(2, cost: 5000, heads: SIMD4(repeating: -1), isFloorTurn: false)
      #expect(!scheduler.isCovered(2, cost: 10))
    }
  }
}
