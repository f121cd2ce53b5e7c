// A request's body while it arrives. With a known length, bytes are received in place: room is reserved without being
// touched, and pages that nothing was written to take no memory. The buffer grows only once, when a client has sent
// enough of what it announced: each growth leaves free heap behind that stays in memory, so that many bodies that grow
// at once would take up to twice their size.

struct BodyBuffer {
  /// The first allocation for a body of known length is at most this; the second is the whole body, of which only
  /// touched pages take memory.
  private static let firstStep = 256 << 10
  /// The most bytes that are reserved for announced bytes.
  private static let mostAtOnce = 64 << 20

  /// The bytes that have come so far.
  private(set) var bytes: [UInt8] = []

  var count: Int { bytes.count }

  /// - Parameter left: bytes that are still to come, these included; nil where the body's length is unknown.
  mutating func append(_ part: ArraySlice<UInt8>, expecting left: Int?) {
    if bytes.isEmpty, bytes.capacity == 0, part.count == left {
      bytes = Array(part)
      return
    }
    reserve(part.count, expecting: left)
    bytes.append(contentsOf: part)
  }

  /// Appends at most `count` bytes, which `fill` writes into the space that it gets.
  mutating func append(_ count: Int, expecting left: Int?, _ fill: (inout OutputSpan<UInt8>) -> Void) {
    reserve(count, expecting: left)
    bytes.append(addingCapacity: count) { fill(&$0) }
  }

  /// Lets `decode` append to the array itself, for a body of unknown length.
  mutating func appendInPlace<Failure: Error>(_ decode: (inout [UInt8]) throws(Failure) -> Int) throws(Failure) -> Int {
    reserve(64 << 10)
    return try decode(&bytes)
  }

  /// Calls `fill` with free space of at most `left` bytes and no more than `most`.
  mutating func withSpace(
    expecting left: Int, atLeast minimum: Int = 1, atMost most: Int = .max, _ fill: (inout OutputSpan<UInt8>) -> Void
  ) {
    reserve(minimum, of: left)
    bytes.append(addingCapacity: min(bytes.capacity - bytes.count, left, most)) { fill(&$0) }
  }

  private mutating func reserve(_ count: Int, expecting left: Int?) {
    if let left, left >= count { reserve(count, of: left) } else { reserve(count) }
  }

  /// Reserves room for `count` more bytes of a body of known length, of which `left` are still to come.
  private mutating func reserve(_ count: Int, of left: Int) {
    guard bytes.capacity - bytes.count < count else { return }
    let step = bytes.capacity < Self.firstStep ? Self.firstStep : max(Self.mostAtOnce, bytes.count * 2)
    bytes.reserveCapacity(min(bytes.count + left, max(step, bytes.count + count)))
  }

  /// Reserves room for `count` more bytes of a body of unknown length, in the same steps.
  private mutating func reserve(_ count: Int) {
    guard bytes.count >= Self.firstStep, bytes.capacity - bytes.count < count else { return }
    bytes.reserveCapacity(
      max(bytes.count + count, bytes.count < Self.mostAtOnce / 2 ? Self.mostAtOnce : 2 * bytes.count))
  }

  mutating func release() { self = BodyBuffer() }
}
