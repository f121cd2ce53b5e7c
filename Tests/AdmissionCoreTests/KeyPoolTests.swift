// Rendezvous: shares by weight, sessions stay, a key that leaves moves only its own.
import Testing

@testable import AdmissionCore

@Suite struct KeyPoolTests {
  static func winner(_ session: String, _ keys: [(String, Int)]) -> String {
    keys.min {
      KeyPool.score(session: KeyPool.hash(session), key: KeyPool.hash($0.0), weight: $0.1)
        < KeyPool.score(session: KeyPool.hash(session), key: KeyPool.hash($1.0), weight: $1.1)
    }?.0 ?? ""
  }

  @Test func sharesFollowTheWeights() {
    var counts: [String: Int] = [:]
    for number in 0..<20_000 {
      counts[Self.winner("session-\(number)", [("main", 2), ("spare", 1), ("third", 1)]), default: 0] += 1
    }
    #expect(abs((counts["main"] ?? 0) - 10_000) < 300)
    #expect(abs((counts["spare"] ?? 0) - 5_000) < 300)
  }

  @Test func aKeyThatLeavesMovesOnlyItsOwnSessions() {
    let all = [("a", 1), ("b", 3), ("c", 1)]
    for number in 0..<2000 {
      let before = Self.winner("s\(number)", all)
      let after = Self.winner("s\(number)", all.filter { $0.0 != "c" })
      #expect(before == "c" || before == after)
    }
  }
}
