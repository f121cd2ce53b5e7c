// Entries as bytes, on their way to the journal and to the writer: whole numbers in groups of seven bits, texts behind their length. A coded entry is read by
// the program that wrote it, or by a newer one that knows its version (`EntryCoding.version`).
import AdmissionCore
import LedgerVocabulary
import Pricing
import TextForms

/// Entries in the order in which they happened, coded as they come: nothing of them is kept but their bytes.
public struct EntryBatch: Sendable {
  var bytes: [UInt8] = []
  public private(set) var count = 0

  public init() {}
  public init(_ entries: [LedgerEntry]) { for entry in entries { append(entry) } }

  public var isEmpty: Bool { count == 0 }

  /// Gives away what was gathered, and begins anew with room for as much.
  public mutating func take() -> EntryBatch {
    var next = EntryBatch()
    next.bytes.reserveCapacity(min(bytes.count, EntryBatch.mostReserved))
    swap(&self, &next)
    return next
  }
  private static let mostReserved = 64 << 10

  public mutating func append(_ entry: LedgerEntry) {
    switch entry {
    case .held(let hold): append(hold)
    case .settled(let end): append(end)
    case .concluded(let end): append(end)
    case .changed(let change): append(change)
    case .remembered(let memo): append(memo)
    }
  }

  public mutating func append(_ hold: AttemptHold) {
    count += 1
    let texts =
      hold.tenant.name.utf8.count + EntryCoding.length(hold.clientKey?.name) + hold.session.name.utf8.count
      + hold.provider.name.utf8.count + EntryCoding.length(hold.key?.name) + hold.model.utf8.count
      + EntryCoding.length(hold.kind) + hold.priceVersion.utf8.count
    bytes.append(addingCapacity: EntryCoding.room + texts) { span in
      span.append(EntryCoding.Sort.held.rawValue)
      span.put(hold.request)
      span.put(Int64(hold.attempt))
      span.put(hold.at.nanoseconds)
      span.putSeries(
        hold.tenant, hold.clientKey, hold.session, hold.provider, hold.key, hold.model, hold.priority, hold.kind)
      span.put(hold.reservedInput.value)
      span.put(hold.reservedOutput.value)
      span.put(hold.held?.nanodollars)
      span.put(hold.priceVersion)
    }
  }

  public mutating func append(_ end: AttemptEnd) {
    count += 1
    let texts =
      end.verdict.utf8.count + end.costSource.rawValue.utf8.count + end.priceVersion.utf8.count
      + EntryCoding.length(end.serviceTier)
    bytes.append(addingCapacity: EntryCoding.room + texts) { span in
      span.append(EntryCoding.Sort.settled.rawValue)
      span.put(end.request)
      span.put(Int64(end.attempt))
      span.put(end.at.nanoseconds)
      span.put(end.verdict)
      span.put(end.status.map { Int64($0) })
      span.append((end.wasSent ? 1 : 0) | (end.usage.isEstimated ? 2 : 0))
      span.put(end.usage.inputTokens.value)
      span.put(end.usage.cacheReadTokens.value)
      span.put(end.usage.cacheWriteTokens.value)
      span.put(end.usage.outputTokens.value)
      span.put(end.usage.reasoningTokens.value)
      span.put(end.cacheWriteHourTokens.value)
      span.put(end.audioMilliseconds)
      span.put(end.cost?.nanodollars)
      span.put(end.costSource.rawValue)
      span.put(end.priceVersion)
      span.put(end.serviceTier)
    }
  }

  public mutating func append(_ end: RequestEnd) {
    count += 1
    let texts =
      end.tenant.name.utf8.count + EntryCoding.length(end.clientKey?.name) + end.session.name.utf8.count
      + end.priorityReason.utf8.count + EntryCoding.length(end.kind) + end.model.utf8.count
      + EntryCoding.length(end.provider?.name) + EntryCoding.length(end.key?.name) + end.outcome.rawValue.utf8.count
    bytes.append(addingCapacity: EntryCoding.room + texts) { span in
      span.append(EntryCoding.Sort.concluded.rawValue)
      span.put(end.request)
      span.put(end.arrived.nanoseconds)
      span.put(end.ended.nanoseconds)
      span.putSeries(
        end.tenant, end.clientKey, end.session, end.provider, end.key, end.model, end.priority, end.kind)
      span.put(end.priorityReason)
      span.put(end.outcome.rawValue)
      span.put(Int64(end.status))
      span.put(Int64(end.attempts))
      span.put(end.queued.nanoseconds)
      span.put(end.firstByte?.nanoseconds)
    }
  }

  public mutating func append(_ change: LedgerChange) {
    count += 1
    let texts =
      change.subject.rawValue.utf8.count + change.name.utf8.count + change.state.utf8.count
      + change.reason.utf8.count + EntryCoding.length(change.askedBy)
    bytes.append(addingCapacity: EntryCoding.room + texts) { span in
      span.append(EntryCoding.Sort.changed.rawValue)
      span.put(change.at.nanoseconds)
      span.put(change.subject.rawValue)
      span.put(change.name)
      span.put(change.state)
      span.put(change.reason)
      span.put(change.askedBy)
      span.put(change.amount?.nanodollars)
      span.put(change.until?.nanoseconds)
    }
  }

  public mutating func append(_ memo: LedgerMemo) {
    count += 1
    let texts = memo.kind.rawValue.utf8.count + memo.name.utf8.count + memo.value.utf8.count
    bytes.append(addingCapacity: EntryCoding.room + texts) { span in
      span.append(EntryCoding.Sort.remembered.rawValue)
      span.put(memo.kind.rawValue)
      span.put(memo.name)
      span.put(memo.value)
    }
  }

  /// The entries again; nil where the bytes are not what was coded.
  func readable() -> [LedgerEntry]? {
    var entries: [LedgerEntry] = []
    var decoder = EntryDecoder(bytes[...])
    while !decoder.isAtEnd {
      guard let entry = try? decoder.entry() else { return nil }
      entries.append(entry)
    }
    return entries
  }
}

extension OutputSpan<UInt8> {
  /// What attempts and requests of one caller have in common, in the same bytes for both.
  mutating func putSeries(
    _ tenant: TenantID, _ clientKey: ClientKeyID?, _ session: SessionID, _ provider: ProviderID?, _ key: KeyID?,
    _ model: String, _ priority: Priority, _ kind: String?
  ) {
    put(tenant.name)
    put(clientKey?.name)
    put(session.name)
    put(provider?.name)
    put(key?.name)
    put(model)
    append(priority.rawValue)
    put(kind)
  }

  mutating func put(_ id: RequestID) {
    fixed(id.high)
    fixed(id.low)
  }

  mutating func fixed(_ number: UInt64) {
    var rest = number
    for _ in 0..<8 {
      append(UInt8(truncatingIfNeeded: rest))
      rest >>= 8
    }
  }

  /// Small numbers of either sign are short.
  mutating func put(_ number: Int64) {
    var rest = UInt64(bitPattern: (number << 1) ^ (number >> 63))
    while rest >= 0x80 {
      append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    append(UInt8(truncatingIfNeeded: rest))
  }

  mutating func put(_ number: Int64?) {
    append(number == nil ? 0 : 1)
    if let number { put(number) }
  }

  mutating func put(_ text: String) {
    let span = text.utf8.span
    put(Int64(span.count))
    for index in span.indices { append(span[index]) }
  }

  mutating func put(_ text: String?) {
    append(text == nil ? 0 : 1)
    if let text { put(text) }
  }
}

enum EntryCoding {
  /// Of the shape of entries; a journal of another version is not read.
  static let version: UInt8 = 2

  enum Sort: UInt8 { case held = 1, settled, concluded, changed, remembered }

  /// Enough for the numbers of any entry, and for the lengths of its texts.
  static let room = 256

  static func length(_ text: String?) -> Int { text?.utf8.count ?? 0 }

  /// What does not read as what it should be: a torn or foreign journal.
  struct Unreadable: Error {}
}

struct EntryDecoder {
  private let bytes: ArraySlice<UInt8>
  private var at: Int

  init(_ bytes: ArraySlice<UInt8>) {
    self.bytes = bytes
    at = bytes.startIndex
  }

  var isAtEnd: Bool { at == bytes.endIndex }

  /// Of the next entry; nil at the end of the bytes.
  mutating func sort() throws(EntryCoding.Unreadable) -> EntryCoding.Sort? {
    guard !isAtEnd else { return nil }
    guard let sort = EntryCoding.Sort(rawValue: try byte()) else { throw EntryCoding.Unreadable() }
    return sort
  }

  mutating func entry() throws(EntryCoding.Unreadable) -> LedgerEntry {
    switch try sort() {
    case nil: throw EntryCoding.Unreadable()
    case .held: return .held(try hold())
    case .settled: return .settled(try attemptEnd())
    case .concluded: return .concluded(try requestEnd())
    case .changed: return .changed(try change())
    case .remembered: return .remembered(try memo())
    }
  }

  private mutating func hold() throws(EntryCoding.Unreadable) -> AttemptHold {
    let request = try id()
    let attempt = Int(try number())
    let at = WallInstant(nanoseconds: try number())
    let series = try series()
    guard !series.provider.isEmpty else { throw EntryCoding.Unreadable() }
    return AttemptHold(
      request: request, attempt: attempt, at: at, tenant: TenantID(series.tenant),
      clientKey: series.clientKey.isEmpty ? nil : ClientKeyID(series.clientKey), session: SessionID(series.session),
      provider: ProviderID(series.provider), key: series.key.isEmpty ? nil : KeyID(series.key), model: series.model,
      priority: series.priority, kind: series.kind.isEmpty ? nil : series.kind, reservedInput: try tokens(),
      reservedOutput: try tokens(), held: try optionalNumber().map { Money(nanodollars: $0) },
      priceVersion: try text())
  }

  mutating func attemptEnd() throws(EntryCoding.Unreadable) -> AttemptEnd {
    let request = try id()
    let attempt = Int(try number())
    let at = WallInstant(nanoseconds: try number())
    let verdict = try text()
    let status = try optionalNumber().map { Int($0) }
    let flags = try byte()
    let usage = Usage(
      inputTokens: try tokens(), cacheReadTokens: try tokens(), cacheWriteTokens: try tokens(),
      outputTokens: try tokens(), reasoningTokens: try tokens(), isEstimated: flags & 2 != 0)
    let hour = try tokens()
    let audio = try number()
    let cost = try optionalNumber().map { Money(nanodollars: $0) }
    guard let source = CostSource(rawValue: try text()) else { throw EntryCoding.Unreadable() }
    return AttemptEnd(
      request: request, attempt: attempt, at: at, verdict: verdict, status: status, wasSent: flags & 1 != 0,
      usage: usage, cacheWriteHourTokens: hour, audioMilliseconds: audio, cost: cost, costSource: source,
      priceVersion: try text(), serviceTier: try optionalText())
  }

  private mutating func requestEnd() throws(EntryCoding.Unreadable) -> RequestEnd {
    let request = try id()
    let arrived = WallInstant(nanoseconds: try number())
    let ended = WallInstant(nanoseconds: try number())
    let series = try series()
    let reason = try text()
    guard let outcome = Outcome(rawValue: try text()) else { throw EntryCoding.Unreadable() }
    return RequestEnd(
      request: request, arrived: arrived, ended: ended, tenant: TenantID(series.tenant),
      clientKey: series.clientKey.isEmpty ? nil : ClientKeyID(series.clientKey), session: SessionID(series.session),
      priority: series.priority, priorityReason: reason, kind: series.kind.isEmpty ? nil : series.kind,
      model: series.model, provider: series.provider.isEmpty ? nil : ProviderID(series.provider),
      key: series.key.isEmpty ? nil : KeyID(series.key), outcome: outcome, status: Int(try number()),
      attempts: Int(try number()), queued: Span(nanoseconds: try number()),
      firstByte: try optionalNumber().map { Span(nanoseconds: $0) })
  }

  mutating func change() throws(EntryCoding.Unreadable) -> LedgerChange {
    let at = WallInstant(nanoseconds: try number())
    guard let subject = LedgerChange.Subject(rawValue: try text()) else { throw EntryCoding.Unreadable() }
    return LedgerChange(
      at: at, subject: subject, name: try text(), state: try text(), reason: try text(),
      askedBy: try optionalText(), amount: try optionalNumber().map { Money(nanodollars: $0) },
      until: try optionalNumber().map { WallInstant(nanoseconds: $0) })
  }

  mutating func memo() throws(EntryCoding.Unreadable) -> LedgerMemo {
    guard let kind = LedgerMemo.Kind(rawValue: try text()) else { throw EntryCoding.Unreadable() }
    return LedgerMemo(kind: kind, name: try text(), value: try text())
  }

  mutating func series() throws(EntryCoding.Unreadable) -> Series {
    Series(
      tenant: try text(), clientKey: try optionalText() ?? "", session: try text(),
      provider: try optionalText() ?? "", key: try optionalText() ?? "", model: try text(), priority: try priority(),
      kind: try optionalText() ?? "")
  }

  // MARK: Parts that are compared, not made

  /// Where a text lies.
  mutating func textRange() throws(EntryCoding.Unreadable) -> Range<Int> {
    let length = try number()
    guard length >= 0, length <= bytes.endIndex - at else { throw EntryCoding.Unreadable() }
    defer { at += Int(length) }
    return at..<at + Int(length)
  }

  mutating func optionalTextRange() throws(EntryCoding.Unreadable) -> Range<Int>? {
    try byte() == 0 ? nil : try textRange()
  }

  mutating func seriesRange() throws(EntryCoding.Unreadable) -> Range<Int> {
    let start = at
    _ = try textRange()
    _ = try optionalTextRange()
    _ = try textRange()
    _ = try optionalTextRange()
    _ = try optionalTextRange()
    _ = try textRange()
    _ = try byte()
    _ = try optionalTextRange()
    return start..<at
  }

  /// A decoder of these bytes alone.
  func part(_ range: Range<Int>) -> EntryDecoder { EntryDecoder(bytes[range]) }
  func bytes(_ range: Range<Int>) -> [UInt8] { Array(bytes[range]) }
  func string(_ range: Range<Int>) -> String { String(decoding: bytes[range], as: UTF8.self) }
  func checksum(_ range: Range<Int>) -> UInt64 { Journal.checksum(bytes[range]) }

  func holds(_ other: [UInt8], at range: Range<Int>) -> Bool {
    guard other.count == range.count else { return false }
    for index in other.indices where other[index] != bytes[range.lowerBound + index] { return false }
    return true
  }

  // MARK: Parts

  mutating func byte() throws(EntryCoding.Unreadable) -> UInt8 {
    guard at < bytes.endIndex else { throw EntryCoding.Unreadable() }
    defer { at += 1 }
    return bytes[at]
  }

  mutating func fixed() throws(EntryCoding.Unreadable) -> UInt64 {
    var value: UInt64 = 0
    for index in 0..<8 { value |= UInt64(try byte()) << (8 * index) }
    return value
  }

  mutating func id() throws(EntryCoding.Unreadable) -> RequestID {
    RequestID(high: try fixed(), low: try fixed())
  }

  mutating func tokens() throws(EntryCoding.Unreadable) -> TokenCount { TokenCount(try number()) }

  mutating func number() throws(EntryCoding.Unreadable) -> Int64 {
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while true {
      let next = try byte()
      guard shift < 64 else { throw EntryCoding.Unreadable() }
      value |= UInt64(next & 0x7F) << shift
      if next < 0x80 { break }
      shift += 7
    }
    return Int64(bitPattern: value >> 1) ^ -Int64(bitPattern: value & 1)
  }

  mutating func optionalNumber() throws(EntryCoding.Unreadable) -> Int64? {
    try byte() == 0 ? nil : try number()
  }

  private mutating func text() throws(EntryCoding.Unreadable) -> String { string(try textRange()) }

  private mutating func optionalText() throws(EntryCoding.Unreadable) -> String? {
    try byte() == 0 ? nil : try text()
  }

  private mutating func priority() throws(EntryCoding.Unreadable) -> Priority {
    guard let priority = Priority(rawValue: try byte()) else { throw EntryCoding.Unreadable() }
    return priority
  }
}
