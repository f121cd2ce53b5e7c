// Entries as bytes, for the journal and the writer: whole numbers in groups of seven bits, texts after their length. A
// coded entry is read by the program that wrote it, or by a newer one that knows its version (`EntryCoding.version`).
// Reading is in EntryDecoding.swift.
import AdmissionCore
import LedgerVocabulary
import Pricing
import TextForms

/// Entries in the order in which they happened. Each is coded when it is added, and only the bytes are kept.
public struct EntryBatch: Sendable {
  /// The entries, and room for more after them. They are stored in place, without a closure, which would retain every
  /// name of an entry.
  private var storage: [UInt8] = []
  private var length = 0
  public private(set) var count = 0

  public init() {}
  public init(_ entries: [LedgerEntry]) { for entry in entries { append(entry) } }

  /// Takes these bytes to be `count` entries.
  init(bytes: [UInt8], count: Int) {
    (storage, length, self.count) = (bytes, bytes.count, count)
  }

  public var isEmpty: Bool { count == 0 }
  var bytes: ArraySlice<UInt8> { storage[..<length] }

  /// Returns the entries and starts an empty batch with as much room.
  public mutating func take() -> EntryBatch {
    var next = EntryBatch()
    next.storage = [UInt8](repeating: 0, count: min(length + EntryCoding.room, EntryBatch.mostReserved))
    swap(&self, &next)
    return next
  }
  private static let mostReserved = 64 << 10

  /// Makes room for this many bytes.
  private mutating func makeRoom(_ bytes: Int) {
    guard storage.count - length < bytes else { return }
    storage.append(contentsOf: repeatElement(0, count: max(bytes, storage.count)))
  }

  public mutating func append(_ entry: LedgerEntry) {
    switch entry {
    case .held(let hold): append(hold)
    case .settled(let end): append(end)
    case .concluded(let end): append(end)
    case .finished(let end, let attempt): append(end, lastAttempt: attempt)
    case .changed(let change): append(change)
    case .remembered(let memo): append(memo)
    }
  }

  public mutating func append(_ hold: AttemptHold) {
    count += 1
    makeRoom(
      EntryCoding.room + hold.tenant.name.utf8.count + EntryCoding.length(hold.clientKey?.name)
        + hold.session.name.utf8.count + hold.provider.name.utf8.count + EntryCoding.length(hold.key?.name)
        + hold.model.utf8.count + EntryCoding.length(hold.kind) + hold.agent.name.utf8.count
        + hold.priceVersion.utf8.count)
    var at = length
    var span = storage.mutableSpan
    span.put(.held, &at)
    span.put(hold.request, &at)
    span.put(Int64(hold.attempt), &at)
    span.put(hold.at.nanoseconds, &at)
    span.put(hold.tenant.name, &at)
    span.put(hold.clientKey?.name, &at)
    span.put(hold.session.name, &at)
    span.putPresent(hold.provider.name, &at)
    span.put(hold.key?.name, &at)
    span.put(hold.model, &at)
    span.put(hold.priority.rawValue, &at)
    span.put(kind: hold.kind, agent: hold.agent, &at)
    span.put(hold.reservedInput.value, &at)
    span.put(hold.reservedOutput.value, &at)
    span.put(hold.held?.nanodollars, &at)
    span.put(hold.priceVersion, &at)
    length = at
  }

  public mutating func append(_ end: AttemptEnd) {
    count += 1
    makeRoom(
      EntryCoding.room + end.verdict.rawValue.utf8.count + end.costSource.rawValue.utf8.count
        + end.priceVersion.utf8.count
        + EntryCoding.length(end.serviceTier))
    var at = length
    var span = storage.mutableSpan
    span.put(.settled, &at)
    span.put(end.request, &at)
    span.put(Int64(end.attempt), &at)
    span.put(end.at.nanoseconds, &at)
    span.put(end.verdict.rawValue, &at)
    span.put(end.status.map { Int64($0) }, &at)
    span.put(EntryCoding.flags(of: end), &at)
    span.putAmounts(of: end, &at)
    span.put(end.costSource.rawValue, &at)
    span.put(end.priceVersion, &at)
    span.put(end.serviceTier, &at)
    length = at
  }

  public mutating func append(_ end: RequestEnd) {
    count += 1
    makeRoom(EntryCoding.room + EntryCoding.lengthOfTexts(in: end))
    var at = length
    var span = storage.mutableSpan
    span.put(.concluded, &at)
    span.put(end.request, &at)
    span.put(end.arrived.nanoseconds, &at)
    span.put(end.ended.nanoseconds, &at)
    span.putSeries(of: end, &at)
    span.put(end.priorityReason, &at)
    span.put(end.outcome.rawValue, &at)
    span.put(Int64(end.status), &at)
    span.put(Int64(end.attempts), &at)
    span.put(end.queued.nanoseconds, &at)
    span.put(end.firstByte?.nanoseconds, &at)
    length = at
  }

  /// Both are over, as `LedgerEntry.finished` says: of the attempt its request, number and time are those of the request.
  public mutating func append(_ end: RequestEnd, lastAttempt attempt: AttemptEnd) {
    count += 1
    makeRoom(
      EntryCoding.room + EntryCoding.lengthOfTexts(in: end) + attempt.verdict.rawValue.utf8.count
        + attempt.costSource.rawValue.utf8.count + attempt.priceVersion.utf8.count
        + EntryCoding.length(attempt.serviceTier))
    var at = length
    var span = storage.mutableSpan
    span.put(.finished, &at)
    span.put(end.request, &at)
    // Differences are short. They wrap, so that any clock value can be restored.
    span.put(end.arrived.nanoseconds &- EntryCoding.timeOfID(end.request), &at)
    span.put(end.ended.nanoseconds &- end.arrived.nanoseconds, &at)
    span.putSeries(of: end, &at)
    // How it ended: the same bytes for nearly all calls, which the writer compares with those of the one before.
    span.put(end.priorityReason, &at)
    span.put(end.outcome.rawValue, &at)
    span.put(Int64(end.status), &at)
    span.put(Int64(end.attempts), &at)
    span.put(attempt.verdict.rawValue, &at)
    span.put(attempt.status.map { Int64($0) }, &at)
    span.put(EntryCoding.flags(of: attempt), &at)
    span.put(attempt.costSource.rawValue, &at)
    span.put(attempt.priceVersion, &at)
    span.put(attempt.serviceTier, &at)
    // The amounts.
    span.put(end.queued.nanoseconds, &at)
    span.put(end.firstByte?.nanoseconds, &at)
    span.putAmounts(of: attempt, &at)
    length = at
  }

  public mutating func append(_ change: LedgerChange) {
    count += 1
    makeRoom(
      EntryCoding.room + change.subject.rawValue.utf8.count + change.name.utf8.count + change.state.rawValue.utf8.count
        + change.reason.utf8.count + EntryCoding.length(change.askedBy) + EntryCoding.length(change.before)
        + EntryCoding.length(change.after))
    // A change without the two has the bytes that it had before they existed.
    let tellsBoth = change.before != nil || change.after != nil
    var at = length
    var span = storage.mutableSpan
    span.put(tellsBoth ? .altered : .changed, &at)
    span.put(change.at.nanoseconds, &at)
    span.put(change.subject.rawValue, &at)
    span.put(change.name, &at)
    span.put(change.state.rawValue, &at)
    span.put(change.reason, &at)
    span.put(change.askedBy, &at)
    span.put(change.amount?.nanodollars, &at)
    span.put(change.until?.nanoseconds, &at)
    if tellsBoth {
      span.put(change.before, &at)
      span.put(change.after, &at)
    }
    length = at
  }

  public mutating func append(_ memo: LedgerMemo) {
    count += 1
    makeRoom(
      EntryCoding.room + memo.kind.rawValue.utf8.count + memo.name.utf8.count + memo.value.utf8.count)
    var at = length
    var span = storage.mutableSpan
    span.put(.remembered, &at)
    span.put(memo.kind.rawValue, &at)
    span.put(memo.name, &at)
    span.put(memo.value, &at)
    length = at
  }

  /// Decodes the entries; nil where the bytes are not coded entries.
  func readable() -> [LedgerEntry]? {
    var entries: [LedgerEntry] = []
    var decoder = EntryDecoder(bytes)
    while !decoder.isAtEnd {
      guard let entry = try? decoder.entry() else { return nil }
      entries.append(entry)
    }
    return entries
  }
}

extension LedgerEntry {
  /// The end of a request and that of its last attempt, each as an entry of its own, the attempt's first; anything else as it is.
  var apart: [LedgerEntry] {
    if case .finished(let end, let attempt) = self { [.settled(attempt), .concluded(end)] } else { [self] }
  }
}

/// Each function stores something at `at` and moves `at` past it.
extension MutableSpan<UInt8> {
  mutating func put(_ sort: EntryCoding.Sort, _ at: inout Int) { put(sort.rawValue, &at) }

  mutating func put(_ byte: UInt8, _ at: inout Int) {
    self[at] = byte
    at += 1
  }

  /// What attempts and requests of one caller have in common, coded as in a hold.
  mutating func putSeries(of end: RequestEnd, _ at: inout Int) {
    put(end.tenant.name, &at)
    put(end.clientKey?.name, &at)
    put(end.session.name, &at)
    put(end.provider?.name, &at)
    put(end.key?.name, &at)
    put(end.model, &at)
    put(end.priority.rawValue, &at)
    put(kind: end.kind, agent: end.agent, &at)
  }

  mutating func putAmounts(of end: AttemptEnd, _ at: inout Int) {
    put(end.usage.inputTokens.value, &at)
    put(end.usage.cacheReadTokens.value, &at)
    put(end.usage.cacheWriteTokens.value, &at)
    put(end.usage.outputTokens.value, &at)
    put(end.usage.reasoningTokens.value, &at)
    put(end.cacheWriteHourTokens.value, &at)
    put(end.audioMilliseconds, &at)
    put(end.cost?.nanodollars, &at)
    // The flags, which come first, say whether these are there.
    guard let lost = end.lostCache else { return }
    put(lost.lostTokens.value, &at)
    put(end.lostCost?.nanodollars, &at)
  }

  mutating func put(_ id: RequestID, _ at: inout Int) {
    fixed(id.high, &at)
    fixed(id.low, &at)
  }

  mutating func fixed(_ number: UInt64, _ at: inout Int) {
    var raw = mutableBytes
    raw.storeBytes(of: number.littleEndian, toByteOffset: at, as: UInt64.self)
    at += 8
  }

  /// Small numbers are short, whether positive or negative.
  mutating func put(_ number: Int64, _ at: inout Int) {
    var rest = UInt64(bitPattern: (number << 1) ^ (number >> 63))
    while rest >= 0x80 {
      put(UInt8(truncatingIfNeeded: rest) | 0x80, &at)
      rest >>= 7
    }
    put(UInt8(truncatingIfNeeded: rest), &at)
  }

  mutating func put(_ number: Int64?, _ at: inout Int) {
    put(number == nil ? 0 : 1 as UInt8, &at)
    if let number { put(number, &at) }
  }

  mutating func put(_ text: String, _ at: inout Int) {
    let source = text.utf8.span.bytes
    let count = source.byteCount
    put(Int64(count), &at)
    if count < 8 {
      for index in 0..<count { self[at + index] = source.unsafeLoad(fromByteOffset: index, as: UInt8.self) }
    } else {
      // Copies eight bytes at a time, each with a bounds check; the last eight overlap the ones before.
      var raw = mutableBytes
      var done = 0
      while done < count {
        let start = min(done, count - 8)
        let eight = source.unsafeLoadUnaligned(fromByteOffset: start, as: UInt64.self)
        raw.storeBytes(of: eight, toByteOffset: at + start, as: UInt64.self)
        done += 8
      }
    }
    at += count
  }

  /// Before the texts is a byte that says which of them there are, as before a single optional text. So the names of a
  /// session's main agent have the bytes that they had before agents were told apart.
  mutating func put(kind: String?, agent: AgentID, _ at: inout Int) {
    put((kind == nil ? 0 : 1) | (agent.name.isEmpty ? 0 : 2) as UInt8, &at)
    if let kind { put(kind, &at) }
    if !agent.name.isEmpty { put(agent.name, &at) }
  }

  mutating func put(_ text: String?, _ at: inout Int) {
    if let text { putPresent(text, &at) } else { put(0 as UInt8, &at) }
  }

  /// A text of an optional field that is present.
  mutating func putPresent(_ text: String, _ at: inout Int) {
    put(1 as UInt8, &at)
    put(text, &at)
  }
}

enum EntryCoding {
  /// The version of the coding. A journal of version 2, which lacks `finished` and agents, is read too; one of any
  /// other version is not.
  static let version: UInt8 = 3

  /// `altered` is a change that tells what was before and after.
  enum Sort: UInt8 { case held = 1, settled, concluded, changed, remembered, finished, altered }

  /// Enough bytes for the numbers of any entry and the lengths of its texts.
  static let room = 384

  static func length(_ text: String?) -> Int { text?.utf8.count ?? 0 }

  static func lengthOfTexts(in end: RequestEnd) -> Int {
    end.tenant.name.utf8.count + length(end.clientKey?.name) + end.session.name.utf8.count
      + end.priorityReason.utf8.count + length(end.kind) + end.agent.name.utf8.count + end.model.utf8.count
      + length(end.provider?.name)
      + length(end.key?.name) + end.outcome.rawValue.utf8.count
  }

  /// Whether it was sent, whether its tokens were counted from bytes, and in bits 2 to 5 why a prompt cache was not read.
  static func flags(of end: AttemptEnd) -> UInt8 {
    (end.wasSent ? 1 : 0) | (end.usage.isEstimated ? 2 : 0) | (end.lostCache.map { code($0.reason) << 2 } ?? 0)
      | (end.lostCache?.oursByWaiting == true ? 0x20 : 0)
  }

  private static func code(_ reason: CacheLoss) -> UInt8 {
    switch reason {
    case .firstCall: 1
    case .expired: 2
    case .prefixChanged: 3
    case .movedKey: 4
    case .provider: 5
    }
  }

  /// Why a prompt cache was not read; nil where the flags do not say it.
  static func reason(in flags: UInt8) throws(Unreadable) -> CacheLoss? {
    let code = flags >> 2 & 7
    guard code > 0 else { return nil }
    guard let reason = CacheLoss.allCases.first(where: { Self.code($0) == code }) else { throw Unreadable() }
    return reason
  }

  static func isByWaiting(_ flags: UInt8) -> Bool { flags & 0x20 != 0 }

  /// The arrival of a request in nanoseconds, by the milliseconds in its id.
  static func timeOfID(_ id: RequestID) -> Int64 { Int64(id.high >> 16) &* 1_000_000 }

  /// Bytes that are not coded entries, from a torn or foreign journal.
  struct Unreadable: Error {}
}
