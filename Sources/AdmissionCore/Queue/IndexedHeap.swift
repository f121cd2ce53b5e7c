// A binary min-heap of indices that knows the position of each of them, so that any can be re-keyed or removed in O(log
// n). The positions are in a `Positions` that the owner keeps, because one element may move between heaps (a lane
// between the routes of its head) and because a dictionary lookup would cost more than the sift.

struct IndexedHeap<Element: SlotElement>: Sendable {
  typealias Index = Slots<Element>.Index

  struct Entry: Sendable {
    var key: Int64
    /// Breaks ties: the smaller goes first.
    var stamp: UInt64
    var element: Index

    @inline(__always) static func < (left: Entry, right: Entry) -> Bool {
      left.key != right.key ? left.key < right.key : left.stamp < right.stamp
    }
  }

  /// The positions of elements, for any number of heaps; each element is in at most one of them.
  struct Positions: Sendable {
    /// One more than the position in the heap; 0 for an element in no heap.
    private var places = Column<Element, UInt32>(0)

    init() {}

    func contains(_ element: Index) -> Bool { places[element] != 0 }

    fileprivate subscript(element: Index) -> Int? {
      @inline(__always) get {
        let place = places[element]
        return place == 0 ? nil : Int(place) - 1
      }
      @inline(__always) set { places[element] = newValue.map { UInt32(truncatingIfNeeded: $0 + 1) } ?? 0 }
    }

    /// Moves an element that is in a heap.
    @inline(__always) fileprivate mutating func move(_ element: Index, to position: Int) {
      places.replace(element, by: UInt32(truncatingIfNeeded: position + 1))
    }

    /// Forgets the elements from `count` on, which are in no heap.
    mutating func trim(to count: Int) { places.trim(to: count) }
  }

  private(set) var entries: [Entry] = []

  var isEmpty: Bool { entries.isEmpty }
  var count: Int { entries.count }
  var first: Entry? { entries.first }

  /// nil where the element is in no heap.
  func key(of element: Index, positions: Positions) -> Int64? { positions[element].map { entries[$0].key } }

  mutating func insert(_ element: Index, key: Int64, stamp: UInt64, positions: inout Positions) {
    entries.append(Entry(key: key, stamp: stamp, element: element))
    siftUp(entries.count - 1, positions: &positions)
  }

  /// Removes the element. Does nothing where it is in no heap.
  mutating func remove(_ element: Index, positions: inout Positions) {
    guard let index = positions[element] else { return }
    positions[element] = nil
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

  /// Gives an element another key; one that is in no heap stays out.
  mutating func update(_ element: Index, key: Int64, stamp: UInt64, positions: inout Positions) {
    guard let index = positions[element] else { return }
    let old = entries[index]
    let new = Entry(key: key, stamp: stamp, element: element)
    entries[index] = new
    if new < old { siftUp(index, positions: &positions) } else { siftDown(index, positions: &positions) }
  }

  /// Gives an element another key, or inserts one that is in no heap.
  mutating func set(_ element: Index, key: Int64, stamp: UInt64, positions: inout Positions) {
    if positions.contains(element) {
      update(element, key: key, stamp: stamp, positions: &positions)
    } else {
      insert(element, key: key, stamp: stamp, positions: &positions)
    }
  }

  /// Renames the element `old` to `new`, at the same position.
  mutating func rename(_ old: Index, to new: Index, positions: inout Positions) {
    let index = positions[old]
    positions[old] = nil
    positions[new] = index
    if let index { entries[index].element = new }
  }

  private mutating func siftUp(_ start: Int, positions: inout Positions) {
    let entry = entries[start]
    var index = start
    while index > 0 {
      let parent = (index - 1) / 2
      let other = entries[parent]
      guard entry < other else { break }
      entries[index] = other
      positions.move(other.element, to: index)
      index = parent
    }
    entries[index] = entry
    positions[entry.element] = index
  }

  private mutating func siftDown(_ start: Int, positions: inout Positions) {
    let entry = entries[start]
    var index = start
    while true {
      var child = 2 * index + 1
      guard child < entries.count else { break }
      var least = entries[child]
      if child + 1 < entries.count, entries[child + 1] < least {
        child += 1
        least = entries[child]
      }
      guard least < entry else { break }
      entries[index] = least
      positions.move(least.element, to: index)
      index = child
    }
    entries[index] = entry
    positions[entry.element] = index
  }
}
