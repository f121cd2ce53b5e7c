// What a provider's prompt cache holds of each conversation, as far as its answers have told: the size of the last calls,
// and when they began.
//
// A coding agent sends its whole conversation with each call: 138,000 tokens in the median, of which 700 are new. Where
// the provider counts only what it has not cached, the call after a recent one is counted as what has come since, and the
// call after a long pause as the whole. No ratio tells one from the other; the clock does. Vendors count a prefix' life
// from the beginning of the call that wrote or read it.
//
// It also tells why a prompt was not read from the cache, since users want to know what that costs, and whose fault it is.
//
// Promises: constant time; at most `most` calls are remembered, about 7 MB, and none beyond its life but to say so, whatever number of
// sessions comes; the same events give the same memory. Why four calls of one conversation: an agent's small calls (a
// title, a summary) come between the large ones, and a client that names no agents mixes several conversations. A new
// call continues the largest one that is not larger than itself: prompts grow at their end.

struct PromptMemory: Sendable {
  /// A call that is over, or whose input is known.
  struct Call: Sendable {
    /// Nanoseconds.
    fileprivate var began: Int64
    fileprivate var end: Int64
    /// As the shell estimated it, before any learned ratio.
    private(set) var estimated: UInt32
    /// As the provider counted it, cached input included, and how much of it is in the cache now.
    private(set) var size: UInt32
    private(set) var cached: UInt32
    /// When its input was told, so that its answer had begun.
    fileprivate(set) var noted: Int64
    /// The serial of the API key that sent it; 0 where none did.
    private(set) var holder: Int64

    fileprivate static let none = Call(began: .min, end: .min, estimated: 0, size: 0, cached: 0, noted: .min, holder: 0)

    fileprivate init(
      began: Int64, end: Int64, estimated: UInt32, size: UInt32, cached: UInt32, noted: Int64, holder: Int64
    ) {
      self.began = began
      self.end = end
      self.estimated = estimated
      self.size = size
      self.cached = cached
      self.noted = noted
      self.holder = holder
    }

    /// The last instant at which its prefix is kept.
    var expiry: Instant { Instant(nanoseconds: end) }
    fileprivate func isSame(as other: Call) -> Bool { began == other.began && estimated == other.estimated }
    fileprivate func ends(before other: Call) -> Bool { (began, estimated) < (other.began, other.estimated) }

    /// True where its prefix was still kept then.
    func lived(at instant: Instant) -> Bool { end >= instant.nanoseconds }

    /// What a call that continues this one is expected to be counted as.
    /// - Parameter ratio: counted tokens per estimated one, in 1/1024.
    func rest(of estimate: TokenCount, ratio: Int64) -> TokenCount {
      let grown = (estimate - TokenCount(estimated)).scaled(by: ratio, over: 1024)
      return max(PromptMemory.least, TokenCount(size) + grown - TokenCount(cached))
    }
  }

  /// No call is counted as nothing.
  static let least: TokenCount = 16
  /// Vendors cache no prefix that is shorter.
  static let leastCached: TokenCount = 1024
  private static let ways = 8
  private static let callsOfOne = 4
  static let most = 1 << 16
  /// Up to this size, expired calls are kept for this long.
  private static let roomy = 1 << 12
  private static let afterlife = Span.seconds(3600)

  /// Sets of `ways` places; a call is in the set that its key names. The keys lie apart, so that finding nothing reads
  /// one line of memory.
  private var keys: [UInt64] = []
  private var places: [Call] = []
  /// Marks along each call's prompt.
  private var prints: [SIMD16<UInt32>] = []
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
    where keys[place] == key && places[place].end >= now.nanoseconds
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
    holder: Int64 = 0, print: PromptPrint = .none, at now: Instant
  ) {
    func narrow(_ tokens: TokenCount) -> UInt32 { UInt32(clamping: tokens.value) }
    var call = Call(
      began: began.nanoseconds, end: began.nanoseconds.saturatingAdding(life.nanoseconds),
      estimated: narrow(estimated), size: narrow(size), cached: narrow(min(cached, size)), noted: now.nanoseconds,
      holder: holder)
    if places.isEmpty { makePlaces(Self.ways) }
    while true {
      if let place = place(for: call, of: key, at: now) {
        if keys[place] == key, places[place].isSame(as: call) { call.noted = places[place].noted }
        keys[place] = key
        places[place] = call
        prints[place] = print.kept
        return
      }
      grow(at: now)
    }
  }

  /// Where to put the call; nil where the set is full of others' living calls, and more memory may be taken.
  private func place(for call: Call, of key: UInt64, at now: Instant) -> Int? {
    let start = first(of: key) * Self.ways
    var (own, ownOldest, oldest, free) = (0, start, start, Int?.none)
    for place in start..<start + Self.ways {
      let known = places[place]
      if isOver(known, at: now), free.map({ known.end < places[$0].end }) ?? true { free = place }
      if known.began < places[oldest].began { oldest = place }
      guard keys[place] == key else { continue }
      if known.isSame(as: call) { return place }
      if own == 0 || known.began < places[ownOldest].began { ownOldest = place }
      own += 1
    }
    if own >= Self.callsOfOne { return ownOldest }
    if let free { return free }
    return places.count < Self.most ? nil : oldest
  }

  /// True where a call may be forgotten. While there is room, one whose prefix has expired is remembered for a while, since its
  /// conversation may go on: then that prefix is what was lost.
  private func isOver(_ call: Call, at now: Instant) -> Bool {
    let grace = places.count < Self.roomy ? Self.afterlife.nanoseconds : 0
    return call.end.saturatingAdding(grace) < now.nanoseconds
  }

  /// Doubles the memory, and forgets what is over.
  private mutating func grow(at now: Instant) {
    let (keysBefore, placesBefore, printsBefore) = (keys, places, prints)
    makePlaces(places.count * 2)
    for (index, call) in placesBefore.enumerated() where !isOver(call, at: now) {
      let key = keysBefore[index]
      // Calls of one set go to two: there is room.
      let start = first(of: key) * Self.ways
      guard let free = (start..<start + Self.ways).first(where: { places[$0].end == .min }) else { continue }
      keys[free] = key
      places[free] = call
      prints[free] = printsBefore[index]
    }
  }

  private mutating func makePlaces(_ count: Int) {
    keys = Array(repeating: 0, count: count)
    places = Array(repeating: .none, count: count)
    prints = Array(repeating: .zero, count: count)
  }

  // MARK: Why a prompt was not cached

  /// The call that a later one continues, as far as can be told.
  enum Past {
    /// None is known.
    case none
    case expired(Call)
    case living(Call, print: SIMD16<UInt32>)
    /// The conversation is shorter now than it was: it begins differently.
    case longer(Call)
  }

  /// What came before a call of this size that began then.
  func past(_ key: UInt64, estimate: TokenCount, before began: Instant) -> Past {
    guard !places.isEmpty else { return .none }
    let start = first(of: key) * Self.ways
    var (living, longer, expired) = (Int?.none, Int?.none, Int?.none)
    func isBetter(_ place: Int, than known: Int?) -> Bool {
      known.map { (places[$0].estimated, places[$0].began) < (places[place].estimated, places[place].began) } ?? true
    }
    for place in start..<start + Self.ways where keys[place] == key && places[place].began <= began.nanoseconds {
      // What was sent before its answer had begun could not read its prefix.
      if places[place].noted > began.nanoseconds { continue }
      // The call itself.
      if places[place].began == began.nanoseconds, Int64(places[place].estimated) == estimate.value { continue }
      if places[place].end < began.nanoseconds {
        if expired.map({ places[$0].ends(before: places[place]) }) ?? true { expired = place }
      } else if Int64(places[place].estimated) <= estimate.value {
        if isBetter(place, than: living) { living = place }
      } else if isBetter(place, than: longer) {
        longer = place
      }
    }
    if let living { return .living(places[living], print: prints[living]) }
    if let longer { return .longer(places[longer]) }
    return expired.map { .expired(places[$0]) } ?? .none
  }
}
