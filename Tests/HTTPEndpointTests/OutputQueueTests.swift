// The output queue keeps the order and the count of its bytes, whatever is appended, moved and taken.
import AdmissionCore
import Testing

@testable import HTTPEndpoint

@Suite struct OutputQueueTests {
  private func contents(_ queue: OutputQueue) -> [UInt8] {
    var all: [UInt8] = []
    queue.withPieces(upTo: .max) { all.append(contentsOf: $0) }
    return all
  }

  @Test func keepsTheOrderOfSmallAndLargePieces() {
    var random = SeededRandom(seed: 7)
    let queue = OutputQueue()
    let other = OutputQueue()
    var expected: [UInt8] = []
    var moved: [UInt8] = []
    for step in 0..<2_000 {
      switch Int.random(in: 0..<5, using: &random) {
      case 0:
        let large = [UInt8](repeating: UInt8(truncatingIfNeeded: step), count: 8 * 1024 + step)
        queue.append(large[...])
        expected += large
      case 1, 2:
        let small = Array("step \(step) ".utf8)
        queue.append(small[...])
        expected += small
      case 3:
        let count = Int.random(in: 0...min(expected.count, 20_000), using: &random)
        queue.consume(count)
        expected.removeFirst(count)
      default:
        let count = Int.random(in: 0...min(expected.count, 20_000), using: &random)
        queue.move(count, to: other)
        moved += expected.prefix(count)
        expected.removeFirst(count)
      }
      #expect(queue.pending == expected.count)
      #expect(queue.isEmpty == expected.isEmpty)
    }
    #expect(contents(queue) == expected)
    #expect(contents(other) == moved)
  }

  @Test func countsWhatWentInAndOut() {
    let queue = OutputQueue()
    queue.append("abc")
    queue.appendInPlace { $0.append(contentsOf: [1, 2]) }
    #expect(queue.enqueued == 5)
    queue.consume(4)
    #expect(queue.flushed == 4)
    #expect(contents(queue) == [2])
    queue.discardAll()
    #expect(queue.isEmpty)
    #expect(queue.flushed == 5)
  }

  @Test func smallPiecesLieTogether() {
    let queue = OutputQueue()
    queue.append("head")
    queue.append([UInt8](repeating: 0, count: 8 * 1024 - 1)[...])
    #expect(queue.isContiguous)
    queue.append([UInt8](repeating: 0, count: 8 * 1024)[...])
    #expect(!queue.isContiguous)
  }

  @Test func showsAtMostAsManyPiecesAsAsked() {
    let queue = OutputQueue()
    for _ in 0..<5 { queue.append([UInt8](repeating: 0, count: 8 * 1024)[...]) }
    var pieces = 0
    queue.withPieces(upTo: 3) { _ in pieces += 1 }
    #expect(pieces == 3)
  }
}
