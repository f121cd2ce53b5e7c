// A count stays between its ends, whatever is done to it.
import Testing

@testable import AdmissionCore

@Suite struct TokenCountTests {
  static let most = Int64(1) << 40

  @Test(
    arguments: [
      (0, 0), (1, 1), (most - 1, most - 1), (most, most), (most + 1, most), (.max, most), (-1, 0), (.min, 0),
    ] as [(Int64, Int64)])
  func whatLiesOutsideStopsAtTheNearerEnd(_ number: Int64, _ count: Int64) {
    #expect(TokenCount(number).value == count)
    #expect(Int64(TokenCount(number)) == count)
    #expect(TokenCount.isPossible(number) == (number == count))
  }

  @Test func otherWidthsStopToo() {
    #expect(TokenCount(UInt64.max) == .most)
    #expect(TokenCount(Int128.max) == .most)
    #expect(TokenCount(Int128.min) == .zero)
    #expect(TokenCount(Int8(7)) == 7)
  }

  @Test func sumsAndDifferencesStop() {
    #expect(TokenCount(most: -1) + 1 == .most)
    #expect(TokenCount.most + 1 == .most)
    #expect(TokenCount.most + .most == .most)
    #expect(TokenCount(3) - 3 == 0)
    #expect(TokenCount(3) - 4 == 0)
    #expect(TokenCount.zero - .most == 0)
    #expect(TokenCount(5) - 2 == 3)
    var count: TokenCount = 1
    count += .most
    #expect(count == .most)
    count -= 1
    #expect(count == TokenCount(most: -1))
    count -= .most
    #expect(count == .zero)
  }

  @Test func scalingStops() {
    #expect(TokenCount(10).multiplied(by: 3) == 30)
    #expect(TokenCount(10).multiplied(by: 0) == 0)
    #expect(TokenCount(10).multiplied(by: -3) == 0)
    #expect(TokenCount.most.multiplied(by: .max) == .most)
    #expect(TokenCount(100).scaled(by: 1300, over: 1024) == 126)
    #expect(TokenCount.most.scaled(by: 1, over: 2).value == Self.most / 2)
    #expect(TokenCount.most.scaled(by: .max, over: .max) == .most)
    #expect(TokenCount.most.scaled(by: .max, over: 1) == .most)
    #expect(TokenCount.most.scaled(by: .max / 2, over: .max).value == Self.most / 2 - 1)
    #expect(TokenCount.most.scaled(by: .min, over: .min) == 0)
    #expect(TokenCount(7).scaled(by: 1, over: 0) == 7)
  }
}

extension TokenCount {
  fileprivate init(most difference: Int64) { self.init(TokenCountTests.most + difference) }
}
