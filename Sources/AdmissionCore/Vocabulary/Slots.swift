// Numbered places for things that come and go, with a type of number for each kind of thing.
//
// A provider, a lane, a waiting request and a lease are all found by a small number. `Slots<Element>.Index` is that
// number with its kind in the type: a tenant's index does not compile where a lane's is wanted. `nil` means no place.
//
// Promises: an index stays valid until its element is taken out; free places are reused, the last freed one first;
// every operation is O(1). Why not a dictionary: each decision looks up some fifty indices. Why `get` and not `_read`:
// in debug builds, with elements as large as these, the compiler (6.3.1) reads from the coroutine's frame after its
// end; the address sanitizer finds it.

/// An element whose place can be reused.
protocol SlotElement: Sendable {
  /// Called when the element has been taken out: the value that stays in its place frees all memory.
  mutating func vacate()
}

extension SlotElement {
  mutating func vacate() {}
}

/// Elements by index.
struct Slots<Element: SlotElement>: Sendable {
  /// The place of one element. Valid only for the store that gave it, and for columns beside that store.
  struct Index: Hashable, Comparable, Sendable {
    /// From 0, in the order in which places were made.
    let number: Int32

    init(number: Int) { self.number = Int32(truncatingIfNeeded: number) }

    @inline(__always) var position: Int { Int(number) }
    static func < (left: Index, right: Index) -> Bool { left.number < right.number }
  }

  private var elements: [Element] = []
  private var isUsed: [Bool] = []
  private var free: [Index] = []
  /// The number of elements in use.
  private(set) var count = 0

  var isEmpty: Bool { count == 0 }
  /// The number of places that take memory, free ones included.
  var capacity: Int { elements.count }

  /// The element at an index that is in use.
  subscript(index: Index) -> Element {
    @inline(__always) get { elements[index.position] }
    @inline(__always) _modify { yield &elements[index.position] }
  }

  /// A copy of the element; nil where the place is free, or was given back.
  func find(_ index: Index) -> Element? { contains(index) ? elements[index.position] : nil }

  func contains(_ index: Index) -> Bool { index.position < isUsed.count && isUsed[index.position] }

  mutating func insert(_ element: consuming Element) -> Index {
    count += 1
    while let index = free.popLast() {
      // Places beyond the end have been given back since.
      guard index.position < elements.count, !isUsed[index.position] else { continue }
      elements[index.position] = element
      isUsed[index.position] = true
      return index
    }
    elements.append(element)
    isUsed.append(true)
    return Index(number: elements.count - 1)
  }

  /// Replaces the first element for which `isFree` is true; where there is none, inserts as `insert` does.
  mutating func insert(_ element: Element, over isFree: (Element) -> Bool) -> Index {
    guard let index = indices.first(where: { isFree(self[$0]) }) else { return insert(element) }
    self[index] = element
    return index
  }

  /// Takes out elements from the end, as long as `isFree` is true for them.
  mutating func removeLast(while isFree: (Element) -> Bool) {
    while !isEmpty {
      trim()
      let last = Index(number: elements.count - 1)
      guard isFree(self[last]) else { return }
      remove(last)
    }
  }

  /// Takes the element out; nil where there is none.
  @discardableResult
  mutating func remove(_ index: Index) -> Element? {
    guard let element = find(index) else { return nil }
    drop(index)
    return element
  }

  /// Takes out the element at an index that is in use, for those who do not need it any more: large elements are not
  /// moved.
  @inline(__always) mutating func drop(_ index: Index) {
    isUsed[index.position] = false
    count -= 1
    free.append(index)
    elements[index.position].vacate()
  }

  mutating func removeAll() {
    elements = []
    isUsed = []
    free = []
    count = 0
  }

  /// The indices in use, in order, as they are now.
  var indices: SlotIndices<Element> { SlotIndices(isUsed: isUsed) }

  // MARK: Memory

  /// Gives back the free places at the end.
  mutating func trim() {
    while let last = isUsed.last, !last {
      isUsed.removeLast()
      elements.removeLast()
    }
    if free.count > 2 * elements.count + 64 { free.removeAll { $0.position >= elements.count } }
    guard elements.isEmpty else { return }
    free.removeAll(keepingCapacity: free.capacity <= 256)
    if elements.capacity > 256 { removeAll() }
  }

  /// Where more than half of the places, and more than 64, are free: moves the last element to a free place further
  /// down. nil where nothing had to be moved. The owner replaces the old index by the new one wherever it is stored.
  mutating func moveLastDown() -> (old: Index, new: Index)? {
    trim()
    while elements.count > 2 * count + 64, let index = free.popLast() {
      guard index.position < elements.count, !isUsed[index.position] else { continue }
      let old = Index(number: elements.count - 1)
      elements.swapAt(index.position, old.position)
      isUsed.swapAt(index.position, old.position)
      trim()
      return (old, index)
    }
    return nil
  }
}

/// The indices of a store that were in use at one moment, in ascending order.
struct SlotIndices<Element: SlotElement>: Sequence, IteratorProtocol, Sendable {
  private let isUsed: [Bool]
  private var position = 0

  fileprivate init(isUsed: [Bool]) { self.isUsed = isUsed }

  mutating func next() -> Slots<Element>.Index? {
    while position < isUsed.count {
      position += 1
      if isUsed[position - 1] { return Slots<Element>.Index(number: position - 1) }
    }
    return nil
  }
}

/// A value for each index of a store. An index that was never set has the initial value.
struct Column<Key: SlotElement, Value: Sendable>: Sendable {
  /// The initial value comes first, then the values by index, so that a look-up reads one array.
  private var values: [Value]

  init(_ initial: Value) { values = [initial] }

  subscript(index: Slots<Key>.Index) -> Value {
    @inline(__always) get { values[index.position + 1 < values.count ? index.position + 1 : 0] }
    @inline(__always) _modify {
      if index.position + 1 >= values.count { grow(to: index.position + 1) }
      yield &values[index.position + 1]
    }
  }

  /// Sets the value of an index that has one of its own.
  @inline(__always) mutating func replace(_ index: Slots<Key>.Index, by value: Value) {
    values[index.position + 1] = value
  }

  private mutating func grow(to count: Int) {
    let initial = values[0]
    values.append(contentsOf: repeatElement(initial, count: count - self.count))
  }

  /// The number of indices with a value of their own.
  var count: Int { values.count - 1 }
  /// The indices that have a value of their own, in ascending order.
  var indices: ColumnIndices<Key> { ColumnIndices(end: count) }

  /// Forgets the values from index `count` on.
  mutating func trim(to count: Int) {
    guard self.count > count else { return }
    if count == 0 { values = [values[0]] } else { values.removeLast(self.count - count) }
  }

  mutating func removeAll() { trim(to: 0) }
}

/// The first indices of a store, in order.
struct ColumnIndices<Key: SlotElement>: Sequence, IteratorProtocol, Sendable {
  private let end: Int
  private var position = 0

  fileprivate init(end: Int) { self.end = end }

  mutating func next() -> Slots<Key>.Index? {
    guard position < end else { return nil }
    position += 1
    return Slots<Key>.Index(number: position - 1)
  }
}
