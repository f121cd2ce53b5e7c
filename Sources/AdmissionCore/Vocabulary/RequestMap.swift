// Values by request: each decision looks up, adds and removes a few.
//
// Why not a dictionary: its hash function resists clients who choose keys so that they collide, which costs most of a
// look-up's time, and a removal hashes the neighbouring keys once more. Here the broker draws the ids, whose low halves
// are random, so one multiplication spreads them well enough.
//
// Promises: adding, finding and removing are O(1) on average; at most two thirds of the places are taken; nothing is
// left where something was removed; a large table is given back when it becomes empty.

struct RequestMap<Value: Sendable>: Sendable {
  private struct Entry: Sendable {
    var id: RequestID
    var value: Value
  }

  /// An entry is at its home, or at the first place after it that was free (cyclically).
  private var places: [Entry?] = []
  private(set) var count = 0
  /// The places that an empty map may keep.
  private static var mostWhenEmpty: Int { 1024 }

  /// nil where there is none; setting nil removes it.
  subscript(id: RequestID) -> Value? {
    get { count == 0 ? nil : places[place(of: id)]?.value }
    set { if let newValue { set(id, newValue) } else { remove(id) } }
  }

  private mutating func set(_ id: RequestID, _ value: Value) {
    if 3 * (count + 1) > 2 * places.count { grow() }
    let place = place(of: id)
    if places[place] == nil { count += 1 }
    places[place] = Entry(id: id, value: value)
  }

  private mutating func remove(_ id: RequestID) {
    guard count > 0 else { return }
    var hole = place(of: id)
    guard places[hole] != nil else { return }
    count -= 1
    if count == 0, places.count > Self.mostWhenEmpty { return places = [] }
    // Entries after the hole move into it, unless that is before their home.
    let last = places.count - 1
    var next = (hole + 1) & last
    while let entry = places[next] {
      if (next &- home(of: entry.id)) & last >= (next &- hole) & last {
        places[hole] = entry
        hole = next
      }
      next = (next + 1) & last
    }
    places[hole] = nil
  }

  /// The place of the id's entry, or else the free place where it would be put.
  private func place(of id: RequestID) -> Int {
    var place = home(of: id)
    while let entry = places[place], entry.id != id { place = (place + 1) & (places.count - 1) }
    return place
  }

  /// Fibonacci hashing: the upper bits of the product depend on all bits of the id's random half.
  private func home(of id: RequestID) -> Int {
    Int(truncatingIfNeeded: (id.low &* 0x9E37_79B9_7F4A_7C15) >> 32) & (places.count - 1)
  }

  private mutating func grow() {
    let old = places
    // A power of two, so that a mask finds the place after the last one.
    places = Array(repeating: nil, count: max(16, 2 * old.count))
    for case let entry? in old { places[place(of: entry.id)] = entry }
  }
}
