// A binary min-heap of small element numbers that knows where each element stands, so that any of them can be re-keyed
// or removed in O(log n). Positions live in an array that the owner keeps, indexed by element, because one element may
// move between heaps (a lane between the routes of its head) and because a lookup by dictionary would cost more than
// the sift.

struct IndexedHeap: Sendable {
  struct Entry: Sendable {
    var key: Int64
    /// Breaks ties: the smaller goes first.
    var stamp: UInt64
    var element: Int32

    @inline(__always) static func < (left: Entry, right: Entry) -> Bool {
      left.key != right.key ? left.key < right.key : left.stamp < right.stamp
    }
  }

  private(set) var entries: [Entry] = []

  var isEmpty: Bool { entries.isEmpty }
  var count: Int { entries.count }
  var first: Entry? { entries.first }

  mutating func insert(_ element: Int32, key: Int64, stamp: UInt64, positions: inout [Int32]) {
    entries.append(Entry(key: key, stamp: stamp, element: element))
    siftUp(entries.count - 1, positions: &positions)
  }

  /// Takes the element out; its position becomes -1. Nothing happens where it is not in the heap.
  mutating func remove(_ element: Int32, positions: inout [Int32]) {
    let index = Int(positions[Int(element)])
    guard index >= 0 else { return }
    positions[Int(element)] = -1
    let last = entries.removeLast()
    if index < entries.count {
      entries[index] = last
      if index > 0, last < entries[(index - 1) / 2] {
        siftUp(index, positions: &positions)
      } else {
        siftDown(index, positions: &positions)
      }
    } else if entries.isEmpty, entries.capacity > 64 {
      entries = []
    }
  }

  /// Gives an element that is in the heap another key.
  mutating func update(_ element: Int32, key: Int64, stamp: UInt64, positions: inout [Int32]) {
    let index = Int(positions[Int(element)])
    let old = entries[index]
    let new = Entry(key: key, stamp: stamp, element: element)
    entries[index] = new
    if new < old { siftUp(index, positions: &positions) } else { siftDown(index, positions: &positions) }
  }

  /// The element at its position is called `new` from now on.
  mutating func rename(_ old: Int32, to new: Int32, positions: inout [Int32]) {
    let index = positions[Int(old)]
    positions[Int(old)] = -1
    positions[Int(new)] = index
    if index >= 0 { entries[Int(index)].element = new }
  }

  private mutating func siftUp(_ start: Int, positions: inout [Int32]) {
    let entry = entries[start]
    var index = start
    while index > 0 {
      let parent = (index - 1) / 2
      guard entry < entries[parent] else { break }
      entries[index] = entries[parent]
      positions[Int(entries[index].element)] = Int32(truncatingIfNeeded: index)
      index = parent
    }
    entries[index] = entry
    positions[Int(entry.element)] = Int32(truncatingIfNeeded: index)
  }

  private mutating func siftDown(_ start: Int, positions: inout [Int32]) {
    let entry = entries[start]
    var index = start
    while true {
      var child = 2 * index + 1
      guard child < entries.count else { break }
      if child + 1 < entries.count, entries[child + 1] < entries[child] { child += 1 }
      guard entries[child] < entry else { break }
      entries[index] = entries[child]
      positions[Int(entries[index].element)] = Int32(truncatingIfNeeded: index)
      index = child
    }
    entries[index] = entry
    positions[Int(entry.element)] = Int32(truncatingIfNeeded: index)
  }
}
