// A dictionary that forgets what was not set lately: of bounded size, without a timer.
//
// Promises: looking up and setting take constant time; at most twice `most` values are kept, those that were set last.
// What is forgotten goes in generations: when the newer one is full, it becomes the older one, whose values go unless
// they are set again.

struct RecentMap<Key: Hashable & Sendable, Value: Sendable>: Sendable {
  /// The values of a generation, at least 1.
  let most: Int
  private var newer: [Key: Value] = [:]
  private var older: [Key: Value] = [:]

  init(most: Int) { self.most = most }

  var count: Int { newer.count + older.count }

  /// The value that was set last; nil where there is none, or it was forgotten.
  subscript(key: Key) -> Value? { newer[key] ?? older[key] }

  mutating func set(_ value: Value, for key: Key) {
    if newer[key] == nil {
      if newer.count >= most {
        older = newer
        newer = [:]
      }
      older[key] = nil
    }
    newer[key] = value
  }
}
