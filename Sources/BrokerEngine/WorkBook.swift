// Work that was begun by one call and is charged when a later one shows its end: background responses and batches, by their ids.
//
// Promises: what a piece of work used is charged once, however often and by however many its end is read, and across restarts
// (the ledger keeps what this knows); a reading that broke off is charged as far as it came, and the next one for the rest.
// Responses are charged only where they were begun through us; batches also where they were not, since no other answer ever
// names their usage. Bounded: the oldest pieces are forgotten first.
import AdmissionCore
import ProviderWire

struct WorkBook {
  /// Pieces of work, at most.
  static let most = 16_384

  /// What has been charged for a piece so far.
  struct Entry: Equatable {
    /// As the call named it that began the work; empty where that is not known.
    var model = ""
    var charged = Usage()
    var cacheWriteHour: TokenCount = 0
    var cost = Money.zero
    /// The work whose results this file holds; empty for work itself.
    var partOf = ""
  }

  /// What is to be charged now.
  struct Charge: Equatable {
    var usage: Usage
    var cacheWriteHour: TokenCount
    var cost: Money?
  }

  private var entries: [String: Entry] = [:]
  /// Ids in the order in which they came, some of them more than once; the newest mention counts.
  private var order: [(id: String, stamp: UInt64)] = []
  private var stamps: [String: UInt64] = [:]
  private var stamp: UInt64 = 0
  private let most: Int
  /// Told what is to be kept.
  var keep: (LedgerMemo) -> Void = { _ in }

  init(most: Int = WorkBook.most) { self.most = most }

  var count: Int { entries.count }

  /// The model that a piece of work was begun with; nil where that is not known.
  func model(of id: String) -> String? {
    guard let entry = entries[root(id)], !entry.model.isEmpty else { return nil }
    return entry.model
  }

  /// True where the work was begun here.
  func knows(_ id: String) -> Bool { entries[root(id)] != nil }

  private func root(_ id: String) -> String {
    guard let entry = entries[id], !entry.partOf.isEmpty else { return id }
    return entry.partOf
  }

  /// A call has begun a piece of work; nothing of it is charged yet.
  mutating func began(_ id: String, model: String) {
    put(id, Entry(model: model))
  }

  /// The work's results lie in this file: both are one thing.
  mutating func link(file: String, to id: String) {
    guard file != id, entries[file]?.partOf != id else { return }
    // What was read of the file before it was known whose it is counts for the whole.
    if let read = entries[file], read.charged != Usage() || read.cost != .zero {
      var whole = entries[id] ?? Entry()
      whole.charged = Self.larger(whole.charged, read.charged)
      whole.cost = max(whole.cost, read.cost)
      whole.cacheWriteHour = max(whole.cacheWriteHour, read.cacheWriteHour)
      put(id, whole)
    }
    put(file, Entry(partOf: id))
  }

  /// What an answer shows of the work's usage; gives what of it is new.
  /// - Parameter cost: nil where the price is unknown.
  mutating func show(_ id: String, _ usage: Usage, cacheWriteHour: TokenCount, cost: Money?) -> Charge? {
    let id = root(id)
    var entry = entries[id] ?? Entry()
    let fresh = Usage(
      inputTokens: max(0, usage.inputTokens - entry.charged.inputTokens),
      cacheReadTokens: max(0, usage.cacheReadTokens - entry.charged.cacheReadTokens),
      cacheWriteTokens: max(0, usage.cacheWriteTokens - entry.charged.cacheWriteTokens),
      outputTokens: max(0, usage.outputTokens - entry.charged.outputTokens),
      reasoningTokens: max(0, usage.reasoningTokens - entry.charged.reasoningTokens))
    let freshCost = cost.map { Money(nanodollars: max(0, $0.nanodollars - entry.cost.nanodollars)) }
    guard fresh != Usage() || freshCost ?? .zero > .zero else { return nil }
    let freshHour = max(0, cacheWriteHour - entry.cacheWriteHour)
    entry.charged = Self.larger(entry.charged, usage)
    entry.cacheWriteHour = max(entry.cacheWriteHour, cacheWriteHour)
    if let cost { entry.cost = max(entry.cost, cost) }
    put(id, entry)
    return Charge(usage: fresh, cacheWriteHour: freshHour, cost: freshCost)
  }

  private static func larger(_ one: Usage, _ other: Usage) -> Usage {
    Usage(
      inputTokens: max(one.inputTokens, other.inputTokens),
      cacheReadTokens: max(one.cacheReadTokens, other.cacheReadTokens),
      cacheWriteTokens: max(one.cacheWriteTokens, other.cacheWriteTokens),
      outputTokens: max(one.outputTokens, other.outputTokens),
      reasoningTokens: max(one.reasoningTokens, other.reasoningTokens))
  }

  private mutating func put(_ id: String, _ entry: Entry) {
    guard !id.isEmpty else { return }
    note(id, entry)
    keep(LedgerMemo(kind: .work, name: id, value: Self.text(entry)))
  }

  private mutating func note(_ id: String, _ entry: Entry) {
    stamp += 1
    entries[id] = entry
    stamps[id] = stamp
    order.append((id, stamp))
    guard entries.count > most || order.count > 4 * most else { return }
    order.removeAll { stamps[$0.id] != $0.stamp }
    let tooMany = max(0, order.count - most)
    // An eighth more, so that the next ones find room.
    for old in order.prefix(tooMany == 0 ? 0 : tooMany + most / 8) {
      entries[old.id] = nil
      stamps[old.id] = nil
    }
    order.removeAll { stamps[$0.id] == nil }
  }

  // MARK: Across restarts

  /// What an earlier process knew; the oldest first.
  mutating func restore(_ memos: [LedgerMemo]) {
    for memo in memos where memo.kind == .work {
      if let entry = Self.entry(memo.value) { note(memo.name, entry) }
    }
  }

  /// Seven numbers and two texts that hold no blank: `input read written output reasoning hour cost partOf model`.
  static func text(_ entry: Entry) -> String {
    let usage = entry.charged
    let numbers = [
      "\(usage.inputTokens)", "\(usage.cacheReadTokens)", "\(usage.cacheWriteTokens)", "\(usage.outputTokens)",
      "\(usage.reasoningTokens)", "\(entry.cacheWriteHour)", "\(entry.cost.nanodollars)",
    ]
    return (numbers + [entry.partOf, entry.model]).joined(separator: " ")
  }

  static func entry(_ text: String) -> Entry? {
    let parts = text.split(separator: " ", maxSplits: 8, omittingEmptySubsequences: false)
    guard parts.count == 9 else { return nil }
    let numbers = parts.prefix(7).compactMap { Int64($0) }.filter { $0 >= 0 }
    func tokens(_ index: Int) -> TokenCount { TokenCount(numbers[index]) }
    guard numbers.count == 7 else { return nil }
    return Entry(
      model: String(parts[8]),
      charged: Usage(
        inputTokens: tokens(0), cacheReadTokens: tokens(1), cacheWriteTokens: tokens(2), outputTokens: tokens(3),
        reasoningTokens: tokens(4)), cacheWriteHour: tokens(5), cost: Money(nanodollars: numbers[6]),
      partOf: String(parts[7]))
  }
}
