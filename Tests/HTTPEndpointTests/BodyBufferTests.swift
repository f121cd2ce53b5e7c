// A body comes out as it went in, whatever the pieces, and shows only what came.
import Testing

@testable import HTTPEndpoint

@Suite struct BodyBufferTests {
  private func bytes(_ count: Int, from: Int = 0) -> [UInt8] { (from..<from + count).map { UInt8($0 & 255) } }

  @Test func takesABodyWhole() {
    var buffer = BodyBuffer()
    buffer.append(bytes(10)[...], expecting: 10)
    #expect(buffer.bytes == bytes(10))
  }

  @Test(arguments: [1, 1000, 1 << 20, (1 << 20) + 1, 3 << 20])
  func growsToTheAnnouncedLength(length: Int) {
    let all = bytes(length)
    var buffer = BodyBuffer()
    var at = 0
    var step = 1
    while at < length {
      let count = min(step, length - at)
      if step % 2 == 0 {
        buffer.append(all[at..<at + count], expecting: length - at)
      } else {
        buffer.withSpace(expecting: length - at) { space in
          for byte in all[at..<at + min(count, space.freeCapacity)] { space.append(byte) }
        }
      }
      at = buffer.count
      step = step * 3 + 1
    }
    #expect(buffer.bytes == all)
  }

  /// Each move leaves free heap behind: a large body moves once, whatever its pieces.
  @Test(arguments: [256 << 10, (256 << 10) + 1, 1 << 20, 9 << 20], [1000, 16_384, 300_000])
  func movesOnceAtMost(length: Int, piece: Int) {
    let part = bytes(piece)
    var buffer = BodyBuffer()
    var places: Set<Int> = []
    func note() { buffer.bytes.withUnsafeBufferPointer { _ = places.insert(Int(bitPattern: $0.baseAddress)) } }
    while buffer.count < length {
      let (at, count) = (buffer.count, min(piece, length - buffer.count))
      buffer.withSpace(expecting: length - at, atLeast: count) { space in
        for byte in part[..<count] { space.append(byte) }
      }
      note()
    }
    #expect(buffer.bytes.count == length)
    #expect(places.count <= (length <= 256 << 10 ? 1 : 2))
  }

  @Test func showsOnlyWhatCame() {
    var buffer = BodyBuffer()
    #expect(buffer.bytes == [])
    buffer.append([1, 2, 3][...], expecting: 100)
    #expect(buffer.bytes == [1, 2, 3])
    #expect(buffer.count == 3)
    buffer.release()
    #expect(buffer.bytes == [])
  }

  @Test func takesBodiesOfUnknownLength() {
    var buffer = BodyBuffer()
    for part in [[1, 2], [3], [] as [UInt8]] { buffer.append(part[...], expecting: nil) }
    #expect(buffer.bytes == [1, 2, 3])
    let taken = buffer.appendInPlace { body in
      body.append(4)
      return 7
    }
    #expect(taken == 7)
    #expect(buffer.bytes == [1, 2, 3, 4])
  }
}
