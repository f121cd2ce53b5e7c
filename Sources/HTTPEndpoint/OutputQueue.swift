// The bytes that wait for one socket. Small pieces are copied together so that head and body leave in one call; large
// pieces are kept as they came and never copied. An empty queue keeps at most `keptCapacity` bytes of memory.
import HTTP1Codec

final class OutputQueue {
  /// Pieces of this size or more are not copied.
  private static let segmentBytes = 8 * 1024
  private static let keptCapacity = 4 * 1024

  private var segments: [ArraySlice<UInt8>] = []
  private var firstSegment = 0
  private var tail: [UInt8] = []
  private var tailStart = 0
  /// Bytes ever appended, and ever handed to the socket.
  private(set) var enqueued: UInt64 = 0
  private(set) var flushed: UInt64 = 0

  var pending: Int { Int(enqueued &- flushed) }
  var isEmpty: Bool { enqueued == flushed }

  func append(_ bytes: ArraySlice<UInt8>) {
    guard !bytes.isEmpty else { return }
    enqueued &+= UInt64(bytes.count)
    if bytes.count < Self.segmentBytes {
      tail.append(contentsOf: bytes)
    } else {
      sealTail()
      segments.append(bytes)
    }
  }

  func append(_ text: StaticString) {
    appendInPlace { $0.append(text) }
  }

  /// Lets `write` append to the last piece in place.
  func appendInPlace(_ write: (inout [UInt8]) -> Void) {
    let before = tail.count
    write(&tail)
    enqueued &+= UInt64(tail.count - before)
  }

  /// Closes the last piece, so that its bytes stay before what follows.
  private func sealTail() {
    guard tailStart < tail.count else { return }
    segments.append(tail[tailStart...])
    tail = []
    tailStart = 0
  }

  /// Calls `body` with the pieces in order, at most `limit` of them.
  func withPieces(upTo limit: Int, _ body: (ArraySlice<UInt8>) -> Void) {
    var left = limit
    var index = firstSegment
    while index < segments.count, left > 0 {
      body(segments[index])
      index += 1
      left -= 1
    }
    if left > 0, tailStart < tail.count { body(tail[tailStart...]) }
  }

  /// True where all pending bytes are in one piece.
  var isContiguous: Bool { firstSegment == segments.count }

  /// Removes the bytes that the socket took.
  func consume(_ count: Int) {
    var left = count
    flushed &+= UInt64(count)
    while left > 0, firstSegment < segments.count {
      let size = segments[firstSegment].count
      if left < size {
        segments[firstSegment] = segments[firstSegment].dropFirst(left)
        return
      }
      left -= size
      segments[firstSegment] = []
      firstSegment += 1
    }
    if firstSegment == segments.count, firstSegment > 0 {
      segments = []
      firstSegment = 0
    }
    tailStart += left
    if tailStart == tail.count {
      tailStart = 0
      if tail.capacity <= Self.keptCapacity { tail.removeAll(keepingCapacity: true) } else { tail = [] }
    } else if tailStart > 64 * 1024 {
      tail.removeFirst(tailStart)
      tailStart = 0
    }
  }

  /// Moves the first `count` bytes to the end of another queue; large pieces are not copied.
  func move(_ count: Int, to other: OutputQueue) {
    var left = count
    while left > 0 {
      if firstSegment < segments.count {
        let piece = segments[firstSegment].prefix(left)
        other.append(piece)
        left -= piece.count
        consume(piece.count)
      } else {
        other.append(tail[tailStart..<tailStart + left])
        consume(left)
        left = 0
      }
    }
  }

  /// Frees the memory that an empty queue keeps for the next answer.
  func releaseMemory() {
    if isEmpty {
      tail = []
      tailStart = 0
    }
  }

  /// Drops everything; counts as flushed.
  func discardAll() {
    segments = []
    firstSegment = 0
    tail = []
    tailStart = 0
    flushed = enqueued
  }
}
