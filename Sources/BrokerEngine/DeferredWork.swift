// Work that one call begins and that is charged when a later call shows its end: background responses and batches, by
// their ids.
//
// Promises: the usage of a piece of work is charged once, however often and by however many calls its end is read, and
// across restarts (the ledger stores what this knows); a read that broke off is charged as far as it came, and the next
// one for the rest. Responses are charged only where they were begun through us; batches are charged in any case, since
// no other answer names their usage. Bounded: the oldest pieces are forgotten first.
import AdmissionCore
import LedgerVocabulary
import ProviderWire

struct DeferredWork {
  /// The most pieces of work that are remembered.
  static let most = 16_384

  /// An id with its provider, since ids of two providers may be equal.
  struct Name: Hashable {
    var provider: String
    var id: String

    /// The form in the ledger; a provider's id has no blank.
    fileprivate var text: String { provider + " " + id }

    init(provider: String, id: String) {
      self.provider = provider
      self.id = id
    }

    fileprivate init?(text: String) {
      guard let blank = text.utf8.firstIndex(of: 0x20) else { return nil }
      self.init(provider: String(text[..<blank]), id: String(text[text.index(after: blank)...]))
    }
  }

  /// What has been charged for a piece of work so far.
  struct Entry: Equatable {
    /// The model named by the call that began the work; empty where it is unknown.
    var model = ""
    var charged = Usage()
    var cacheWriteHour: TokenCount = 0
    var cost = Money.zero
    /// The id of the work whose results this file holds; empty for work itself.
    var partOf = ""
  }

  /// What must be charged now.
  struct Charge: Equatable {
    var usage: Usage
    var cacheWriteHour: TokenCount
    var cost: Money?
  }

  private var entries: [Name: Entry] = [:]
  /// Names in the order of mention, some of them more than once; the newest mention counts.
  private var order: [(name: Name, stamp: UInt64)] = []
  private var stamps: [Name: UInt64] = [:]
  private var stamp: UInt64 = 0
  private let most: Int
  /// Called with what the ledger must store.
  var keep: (LedgerMemo) -> Void = { _ in }

  init(most: Int = DeferredWork.most) { self.most = most }

  var count: Int { entries.count }

  /// The model that a piece of work was begun with; nil where it is unknown.
  func model(of name: Name) -> String? {
    guard let entry = entries[root(name)], !entry.model.isEmpty else { return nil }
    return entry.model
  }

  /// The same while the provider is not chosen yet: the model of the piece with this id that was mentioned last.
  func model(of id: String, at providers: [String]) -> String? {
    providers.map { Name(provider: $0, id: id) }.filter { model(of: $0) != nil }
      .max { stamps[$0] ?? 0 < stamps[$1] ?? 0 }.flatMap { model(of: $0) }
  }

  /// True where the work was begun here.
  func knows(_ name: Name) -> Bool { entries[root(name)] != nil }

  private func root(_ name: Name) -> Name {
    guard let entry = entries[name], !entry.partOf.isEmpty else { return name }
    return Name(provider: name.provider, id: entry.partOf)
  }

  /// A call has begun a piece of work; nothing is charged for it yet.
  mutating func began(_ name: Name, model: String) {
    put(name, Entry(model: model))
  }

  /// Links a file to the work whose results it holds: both are charged as one.
  mutating func link(file id: String, to name: Name) {
    let file = Name(provider: name.provider, id: id)
    guard file != name, entries[file]?.partOf != name.id else { return }
    // What was charged for the file before the link counts for the work.
    if let read = entries[file], read.charged != Usage() || read.cost != .zero {
      var whole = entries[name] ?? Entry()
      whole.charged = whole.charged.larger(read.charged)
      whole.cost = max(whole.cost, read.cost)
      whole.cacheWriteHour = max(whole.cacheWriteHour, read.cacheWriteHour)
      put(name, whole)
    }
    put(file, Entry(partOf: name.id))
  }

  /// Takes the work's usage as an answer shows it. Returns the part that has not been charged yet.
  /// - Parameter cost: nil where the price is unknown.
  mutating func show(_ name: Name, _ usage: Usage, cacheWriteHour: TokenCount, cost: Money?) -> Charge? {
    let name = root(name)
    var entry = entries[name] ?? Entry()
    let fresh = usage - entry.charged
    let freshCost = cost.map { Money(nanodollars: max(0, $0.nanodollars - entry.cost.nanodollars)) }
    guard !fresh.isNothing || freshCost ?? .zero > .zero else { return nil }
    let freshHour = max(0, cacheWriteHour - entry.cacheWriteHour)
    entry.charged = entry.charged.larger(usage)
    entry.cacheWriteHour = max(entry.cacheWriteHour, cacheWriteHour)
    if let cost { entry.cost = max(entry.cost, cost) }
    put(name, entry)
    return Charge(usage: fresh, cacheWriteHour: freshHour, cost: freshCost)
  }

  private mutating func put(_ name: Name, _ entry: Entry) {
    guard !name.id.isEmpty else { return }
    note(name, entry)
    keep(LedgerMemo(kind: .work, name: name.text, value: Self.text(entry)))
  }

  private mutating func note(_ name: Name, _ entry: Entry) {
    stamp += 1
    entries[name] = entry
    stamps[name] = stamp
    order.append((name, stamp))
    guard entries.count > most || order.count > 4 * most else { return }
    order.removeAll { stamps[$0.name] != $0.stamp }
    let tooMany = max(0, order.count - most)
    // Forget an eighth more, so that the next ones find room.
    for old in order.prefix(tooMany == 0 ? 0 : tooMany + most / 8) {
      entries[old.name] = nil
      stamps[old.name] = nil
    }
    order.removeAll { stamps[$0.name] == nil }
  }

  // MARK: Across restarts

  /// Takes over what an earlier process knew, the oldest first.
  mutating func restore(_ memos: [LedgerMemo]) {
    for memo in memos where memo.kind == .work {
      if let name = Name(text: memo.name), let entry = Self.entry(memo.value) { note(name, entry) }
    }
  }

  /// Seven numbers, a text without blanks, and the rest as the model: `input read written output reasoning hour cost
  /// partOf model`.
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
