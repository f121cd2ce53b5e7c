// What a provider's prompt cache holds of each conversation, as far as its answers have told: the size of the last calls,
// and when they began.
//
// A coding agent sends its whole conversation with each call: 138,000 tokens in the median, of which 700 are new. Where
// the provider counts only what it has not cached, the call after a recent one is counted as what has come since, and the
// call after a long pause as the whole. No ratio tells one from the other; the clock does. Vendors count a prefix' life
// from the beginning of the call that wrote or read it.
//
// Promises: constant time; at most `most` calls are remembered, about 3 MB, and none beyond its life, whatever number of
// sessions comes; the same events give the same memory. Why four calls of one conversation: an agent's small calls (a
// title, a summary) come between the large ones, and a client that names no agents mixes several conversations. A new
// call continues the largest one that is not larger than itself: prompts grow at their end.

struct PromptMemory: Sendable {
  /// A call that is over, or whose input is known.
  struct Call: Sendable {
    fileprivate var key: UInt64
    /// Nanoseconds.
    fileprivate var began: Int64
    fileprivate var end: Int64
    /// As the shell estimated it, before any learned ratio.
    private(set) var estimated: UInt32
    /// As the provider counted it, cached input included, and how much of it is in the cache now.
    private(set) var size: UInt32
    private(set) var cached: UInt32

    fileprivate static let none = Call(key: 0, began: .min, end: .min, estimated: 0, size: 0, cached: 0)

    fileprivate init(key: UInt64, began: Int64, end: Int64, estimated: UInt32, size: UInt32, cached: UInt32) {
      self.key = key
      self.began = began
      self.end = end
      self.estimated = estimated
      self.size = size
      self.cached = cached
    }

    /// What a call that continues this one is expected to be counted as.
    /// - Parameter ratio: counted tokens per estimated one, in 1/1024.
    func rest(of estimate: TokenCount, ratio: Int64) -> TokenCount {
      let grown = (estimate - TokenCount(estimated)).scaled(by: ratio, over: 1024)
      return max(PromptMemory.least, TokenCount(size) + grown - TokenCount(cached))
    }
  }

  /// No call is counted as nothing.
  static let least: TokenCount = 16
  private static let ways = 8
  private static let callsOfOne = 4
  static let most = 1 << 16

  /// Sets of `ways` places; a call is in the set that its key names.
  private var places: [Call] = []
  private var sets: Int { places.count / Self.ways }

  /// The number of places that take memory.
  var capacity: Int { places.count }

  private func first(of key: UInt64) -> Int {
    // The low bits of a hash that is mixed once more, since names that differ in their end have alike hashes.
    Int(truncatingIfNeeded: (key &* 0x9E37_79B9_7F4A_7C15) >> 40) & (sets - 1)
  }

  /// The call that a new one of this size continues; nil where none is, or nothing of it is cached any more.
  func find(_ key: UInt64, estimate: TokenCount, at now: Instant) -> Call? {
    guard !places.isEmpty else { return nil }
    let start = first(of: key) * Self.ways
    var found: Call?
    for place in start..<start + Self.ways
    where places[place].key == key && places[place].end >= now.nanoseconds
      && Int64(places[place].estimated) <= estimate.value
    {
      if let known = found, (known.estimated, known.began) >= (places[place].estimated, places[place].began) {
        continue
      }
      found = places[place]
    }
    return found.flatMap { $0.cached > 0 ? $0 : nil }
  }

  /// Notes a call whose input is known now. The same call may be noted again, with better numbers.
  mutating func note(
    _ key: UInt64, estimated: TokenCount, size: TokenCount, cached: TokenCount, began: Instant, life: Span,
    at now: Instant
  ) {
    func narrow(_ tokens: TokenCount) -> UInt32 { UInt32(clamping: tokens.value) }
    let call = Call(
      key: key, began: began.nanoseconds, end: began.nanoseconds.saturatingAdding(life.nanoseconds),
      estimated: narrow(estimated), size: narrow(size), cached: narrow(min(cached, size)))
    if places.isEmpty { places = Array(repeating: .none, count: Self.ways) }
    while true {
      if let place = place(for: call, at: now) {
        places[place] = call
        return
      }
      grow(at: now)
    }
  }

  /// Where to put the call; nil where the set is full of others' living calls, and more memory may be taken.
  private func place(for call: Call, at now: Instant) -> Int? {
    let start = first(of: call.key) * Self.ways
    var (own, ownOldest, oldest, free) = (0, start, start, Int?.none)
    for place in start..<start + Self.ways {
      let known = places[place]
      if known.end < now.nanoseconds { free = free ?? place }
      if known.began < places[oldest].began { oldest = place }
      guard known.key == call.key else { continue }
      if known.began == call.began, known.estimated == call.estimated { return place }
      if own == 0 || known.began < places[ownOldest].began { ownOldest = place }
      own += 1
    }
    if own >= Self.callsOfOne { return ownOldest }
    if let free { return free }
    return places.count < Self.most ? nil : oldest
  }

  /// Doubles the memory, and forgets what is over.
  private mutating func grow(at now: Instant) {
    let known = places
    places = Array(repeating: .none, count: known.count * 2)
    for call in known where call.end >= now.nanoseconds {
      // Calls of one set go to two: there is room.
      let start = first(of: call.key) * Self.ways
      if let free = (start..<start + Self.ways).first(where: { places[$0].end == .min }) { places[free] = call }
    }
  }
}
