// A prompt cache with the rules of vendors: what was sent before, block for block, is read from it and not counted anew.
//
// Anthropic keeps what is marked. A mark writes one entry, the beginning of the prompt that ends there; from each mark, 20
// blocks at most are looked back over for one that was written. OpenAI keeps every prompt, from 1,024 tokens on in steps
// of 128. An entry lives from the start of the call that wrote or read it last, and is there once that call's answer
// has begun. What comes before a beginning that was read is as warm as it.
//
// Promises: linear in the blocks or steps of one prompt; at most `capacity` entries, about 20 MB, of which the oldest go first.

struct PromptCache {
  /// What one prompt finds in the cache, and leaves there.
  struct Plan: Equatable {
    /// Tokens.
    var read = 0
    var written = 0
    /// Of the written ones, those that are kept for an hour.
    var writtenForHour = 0
    fileprivate var used: [UInt64] = []
    fileprivate var made: [(hash: UInt64, life: CacheLife)] = []

    /// True where the answer's beginning adds entries.
    var makesEntries: Bool { !made.isEmpty }

    static func == (a: Plan, b: Plan) -> Bool {
      (a.read, a.written, a.writtenForHour) == (b.read, b.written, b.writtenForHour)
    }
  }

  private struct Entry {
    var expires: UInt64
    /// Nanoseconds.
    var life: UInt64
  }

  /// How many positions are compared from one mark on, its own included.
  static let lookBack = 20
  /// How many marks a prompt may have.
  static let mostMarks = 4
  /// The steps of a vendor that caches by itself, in tokens.
  static let step = 128

  private let capacity: Int
  private let minimum: Int
  private let life: UInt64
  private var entries: [UInt64: Entry] = [:]

  /// - Parameter life: nanoseconds that a prefix is kept; one that is marked for an hour is kept twelve times as long.
  init(life: UInt64, minimum: Int, capacity: Int = 1 << 18) {
    self.life = life
    self.minimum = max(1, minimum)
    self.capacity = max(8, capacity)
  }

  var count: Int { entries.count }

  private func isLive(_ hash: UInt64, at now: UInt64) -> Bool { entries[hash].map { now <= $0.expires } ?? false }

  private func nanoseconds(_ life: CacheLife) -> UInt64 { life == .hour ? self.life &* 12 : self.life }

  /// What a prompt that is marked finds and leaves.
  func marked(_ positions: [PromptPrefixes.Position], at now: UInt64) -> Plan {
    var plan = Plan()
    let marks = positions.indices.filter { positions[$0].life != nil && positions[$0].tokens >= minimum }
    var reach = -1
    search: for mark in marks.reversed() {
      for index in stride(from: mark, through: max(0, mark - Self.lookBack + 1), by: -1)
      where positions[index].tokens >= minimum && isLive(positions[index].hash, at: now) {
        reach = index
        break search
      }
    }
    if reach >= 0 {
      plan.read = positions[reach].tokens
      plan.used = positions[...reach].map(\.hash).filter { isLive($0, at: now) }
    }
    var covered = plan.read
    for mark in marks {
      if !isLive(positions[mark].hash, at: now) {
        plan.made.append((positions[mark].hash, positions[mark].life ?? .short))
      }
      guard mark > reach else { continue }
      let new = positions[mark].tokens - covered
      covered = positions[mark].tokens
      plan.written += new
      // Marks of an hour come before those of five minutes.
      if positions[mark].life == .hour { plan.writtenForHour += new }
    }
    return plan
  }

  /// What a prompt that is cached without a mark finds and leaves.
  /// - Parameter steps: the hashes of its first `minimum` tokens and of each `step` more.
  func unmarked(_ steps: [UInt64], at now: UInt64) -> Plan {
    var plan = Plan()
    let reach = steps.lastIndex { isLive($0, at: now) }
    func tokens(_ index: Int) -> Int { minimum + index * Self.step }
    if let reach {
      plan.read = tokens(reach)
      plan.used = Array(steps[...reach])
    }
    if let last = steps.indices.last {
      plan.written = tokens(last) - plan.read
      plan.made = steps.map { ($0, .short) }
      if let reach { plan.made.removeFirst(reach + 1) }
    }
    return plan
  }

  /// A call was let in that reads this: its entries live anew from now on.
  mutating func use(_ plan: Plan, startedAt start: UInt64) {
    for hash in plan.used {
      guard let entry = entries[hash] else { continue }
      entries[hash] = Entry(expires: max(entry.expires, start &+ entry.life), life: entry.life)
    }
  }

  /// A call's answer has begun: what it sent is there from now on, and lives from the call's start.
  mutating func add(_ plan: Plan, startedAt start: UInt64, at now: UInt64) {
    for (hash, life) in plan.made {
      let life = max(nanoseconds(life), isLive(hash, at: now) ? entries[hash]?.life ?? 0 : 0)
      let expires = max(start &+ life, entries[hash]?.expires ?? 0)
      if entries[hash] == nil, entries.count >= capacity { makeRoom(at: now) }
      entries[hash] = Entry(expires: expires, life: life)
    }
  }

  /// Drops what is over, and of the rest what ends first, until a quarter is free.
  private mutating func makeRoom(at now: UInt64) {
    entries = entries.filter { $0.value.expires >= now }
    let most = capacity * 3 / 4
    guard entries.count > most else { return }
    let ends = entries.values.map(\.expires).sorted()
    let last = ends[ends.count - most]
    entries = entries.filter { $0.value.expires > last }
  }
}
