// A request's body while it arrives. With a known length the bytes are received in place: the array is made without
// being zeroed, so that untouched pages cost nothing. It grows once, when a client has sent enough of what it announced: each growth
// leaves free heap behind that stays in memory, and many bodies that grow together would hold much of what they have twice.

struct BodyBuffer {
  /// The first allocation for a body of known length is at most this; the next is the whole body, of which only what is touched takes
  /// memory.
  private static let firstStep = 256 << 10
  /// Bytes that are reserved at most for what is only announced.
  private static let mostAtOnce = 64 << 20

  private var storage: [UInt8] = []
  private var filled = 0

  var count: Int { filled }

  /// What came so far.
  var bytes: [UInt8] {
    filled == storage.count ? storage : Array(storage[..<filled])
  }

  mutating func append(_ bytes: ArraySlice<UInt8>, expecting left: Int) {
    if filled == 0, storage.isEmpty, bytes.count >= left {
      storage = Array(bytes)
      filled = bytes.count
      return
    }
    withSpace(expecting: left, atLeast: bytes.count) { space in
      bytes.withUnsafeBytes { space.copyMemory(from: $0) }
      return bytes.count
    }
  }

  /// Appends bytes of a C library; `left` nil where the body's length is unknown.
  mutating func append(_ bytes: UnsafeBufferPointer<UInt8>, expecting left: Int?) {
    guard let left, left >= bytes.count else {
      if filled < storage.count { storage.removeLast(storage.count - filled) }
      reserve(bytes.count)
      storage.append(contentsOf: bytes)
      filled = storage.count
      return
    }
    withSpace(expecting: left, atLeast: bytes.count) { space in
      space.copyMemory(from: UnsafeRawBufferPointer(bytes))
      return bytes.count
    }
  }

  /// Lets `decode` append to the array itself, for a body of unknown length.
  mutating func appendInPlace<Failure: Error>(_ decode: (inout [UInt8]) throws(Failure) -> Int) throws(Failure) -> Int {
    reserve(64 << 10)
    defer { filled = storage.count }
    return try decode(&storage)
  }

  /// Room for a body of unknown length to grow by `count`, in the same steps.
  private mutating func reserve(_ count: Int) {
    guard storage.count >= Self.firstStep, storage.capacity - storage.count < count else { return }
    storage.reserveCapacity(
      max(storage.count + count, storage.count < Self.mostAtOnce / 2 ? Self.mostAtOnce : 2 * storage.count))
  }

  /// Calls `fill` with free space of at most `left` bytes and no more than `most`; `fill` returns how many it put there.
  mutating func withSpace(
    expecting left: Int, atLeast minimum: Int = 1, atMost most: Int = .max,
    _ fill: (UnsafeMutableRawBufferPointer) -> Int
  ) {
    if storage.count - filled < minimum {
      let step = storage.count < Self.firstStep ? Self.firstStep : max(Self.mostAtOnce, filled * 2)
      let capacity = min(filled + left, max(step, filled + minimum))
      let old = storage
      let count = filled
      storage = Array(unsafeUninitializedCapacity: capacity) { buffer, initialized in
        old.withUnsafeBufferPointer { source in
          if let from = source.baseAddress, let to = buffer.baseAddress, count > 0 {
            to.update(from: from, count: count)
          }
        }
        // The rest is never read before it is written: `bytes` shows the first `filled` only.
        initialized = capacity
      }
    }
    let start = filled
    let taken = storage.withUnsafeMutableBytes { all in
      fill(UnsafeMutableRawBufferPointer(rebasing: all[start..<min(all.count, start + min(left, most))]))
    }
    filled += taken
  }

  mutating func release() { self = BodyBuffer() }
}
