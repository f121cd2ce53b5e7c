// Entries as bytes, for the journal: whole numbers in groups of seven bits, texts behind their length. A coded entry is read by
// the program that wrote it, or by a newer one that knows its version (`EntryCoding.version`).
import AdmissionCore

struct EntryEncoder {
  private(set) var bytes: [UInt8]

  init(reusing bytes: [UInt8]) {
    self.bytes = bytes
    self.bytes.removeAll(keepingCapacity: true)
  }

  mutating func append(_ entry: LedgerEntry) {
    switch entry {
    case .held(let hold): append(hold)
    case .settled(let end): append(end)
    case .concluded(let end): append(end)
    case .changed(let change): append(change)
    }
  }

  private mutating func append(_ hold: AttemptHold) {
    bytes.append(EntryCoding.Sort.held.rawValue)
    append(hold.request)
    append(Int64(hold.attempt))
    append(hold.at.nanoseconds)
    append(hold.tenant.name)
    append(hold.clientKey?.name)
    append(hold.session.name)
    append(hold.provider.name)
    append(hold.key?.name)
    append(hold.model)
    bytes.append(hold.priority.rawValue)
    append(hold.kind)
    append(hold.reservedInput)
    append(hold.reservedOutput)
    append(hold.held?.nanodollars)
    append(hold.priceVersion)
  }

  private mutating func append(_ end: AttemptEnd) {
    bytes.append(EntryCoding.Sort.settled.rawValue)
    append(end.request)
    append(Int64(end.attempt))
    append(end.at.nanoseconds)
    append(end.verdict)
    append(end.status.map { Int64($0) })
    bytes.append((end.wasSent ? 1 : 0) | (end.usage.isEstimated ? 2 : 0))
    append(end.usage.inputTokens)
    append(end.usage.cacheReadTokens)
    append(end.usage.cacheWriteTokens)
    append(end.usage.outputTokens)
    append(end.usage.reasoningTokens)
    append(end.cacheWriteHourTokens)
    append(end.audioMilliseconds)
    append(end.cost?.nanodollars)
    append(end.costSource.rawValue)
    append(end.priceVersion)
    append(end.serviceTier)
  }

  private mutating func append(_ end: RequestEnd) {
    bytes.append(EntryCoding.Sort.concluded.rawValue)
    append(end.request)
    append(end.arrived.nanoseconds)
    append(end.ended.nanoseconds)
    append(end.tenant.name)
    append(end.clientKey?.name)
    append(end.session.name)
    bytes.append(end.priority.rawValue)
    append(end.priorityReason)
    append(end.kind)
    append(end.model)
    append(end.provider?.name)
    append(end.key?.name)
    append(end.outcome.rawValue)
    append(Int64(end.status))
    append(Int64(end.attempts))
    append(end.queued.nanoseconds)
    append(end.firstByte?.nanoseconds)
  }

  private mutating func append(_ change: LedgerChange) {
    bytes.append(EntryCoding.Sort.changed.rawValue)
    append(change.at.nanoseconds)
    append(change.subject.rawValue)
    append(change.name)
    append(change.state)
    append(change.reason)
    append(change.askedBy)
    append(change.amount?.nanodollars)
    append(change.until?.nanoseconds)
  }

  // MARK: Parts

  private mutating func append(_ id: RequestID) {
    fixed(id.high)
    fixed(id.low)
  }

  mutating func appendByte(_ byte: UInt8) { bytes.append(byte) }

  mutating func fixed(_ number: UInt64) {
    var rest = number
    for _ in 0..<8 {
      bytes.append(UInt8(truncatingIfNeeded: rest))
      rest >>= 8
    }
  }

  /// Small numbers of either sign are short.
  private mutating func append(_ number: Int64) {
    var rest = UInt64(bitPattern: (number << 1) ^ (number >> 63))
    while rest >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(truncatingIfNeeded: rest))
  }

  private mutating func append(_ number: Int64?) {
    bytes.append(number == nil ? 0 : 1)
    if let number { append(number) }
  }

  private mutating func append(_ text: String) {
    append(Int64(text.utf8.count))
    bytes.append(contentsOf: text.utf8)
  }

  private mutating func append(_ text: String?) {
    bytes.append(text == nil ? 0 : 1)
    if let text { append(text) }
  }
}

enum EntryCoding {
  /// Of the shape of entries; a journal of another version is not read.
  static let version: UInt8 = 1

  enum Sort: UInt8 { case held = 1, settled, concluded, changed }

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

  mutating func entry() throws(EntryCoding.Unreadable) -> LedgerEntry {
    guard let sort = EntryCoding.Sort(rawValue: try byte()) else { throw EntryCoding.Unreadable() }
    switch sort {
    case .held: return .held(try hold())
    case .settled: return .settled(try attemptEnd())
    case .concluded: return .concluded(try requestEnd())
    case .changed: return .changed(try change())
    }
  }

  private mutating func hold() throws(EntryCoding.Unreadable) -> AttemptHold {
    AttemptHold(
      request: try id(), attempt: Int(try number()), at: WallInstant(nanoseconds: try number()),
      tenant: TenantID(try text()), clientKey: try optionalText().map { ClientKeyID($0) },
      session: SessionID(try text()), provider: ProviderID(try text()), key: try optionalText().map { KeyID($0) },
      model: try text(), priority: try priority(), kind: try optionalText(), reservedInput: try number(),
      reservedOutput: try number(), held: try optionalNumber().map { Money(nanodollars: $0) },
      priceVersion: try text())
  }

  private mutating func attemptEnd() throws(EntryCoding.Unreadable) -> AttemptEnd {
    let request = try id()
    let attempt = Int(try number())
    let at = WallInstant(nanoseconds: try number())
    let verdict = try text()
    let status = try optionalNumber().map { Int($0) }
    let flags = try byte()
    let usage = Usage(
      inputTokens: try number(), cacheReadTokens: try number(), cacheWriteTokens: try number(),
      outputTokens: try number(), reasoningTokens: try number(), isEstimated: flags & 2 != 0)
    let hour = try number()
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
    let tenant = TenantID(try text())
    let clientKey = try optionalText().map { ClientKeyID($0) }
    let session = SessionID(try text())
    let priority = try priority()
    let reason = try text()
    let kind = try optionalText()
    let model = try text()
    let provider = try optionalText().map { ProviderID($0) }
    let key = try optionalText().map { KeyID($0) }
    guard let outcome = Outcome(rawValue: try text()) else { throw EntryCoding.Unreadable() }
    return RequestEnd(
      request: request, arrived: arrived, ended: ended, tenant: tenant, clientKey: clientKey, session: session,
      priority: priority, priorityReason: reason, kind: kind, model: model, provider: provider, key: key,
      outcome: outcome, status: Int(try number()), attempts: Int(try number()),
      queued: Span(nanoseconds: try number()), firstByte: try optionalNumber().map { Span(nanoseconds: $0) })
  }

  private mutating func change() throws(EntryCoding.Unreadable) -> LedgerChange {
    let at = WallInstant(nanoseconds: try number())
    guard let subject = LedgerChange.Subject(rawValue: try text()) else { throw EntryCoding.Unreadable() }
    return LedgerChange(
      at: at, subject: subject, name: try text(), state: try text(), reason: try text(),
      askedBy: try optionalText(), amount: try optionalNumber().map { Money(nanodollars: $0) },
      until: try optionalNumber().map { WallInstant(nanoseconds: $0) })
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

  private mutating func id() throws(EntryCoding.Unreadable) -> RequestID {
    RequestID(high: try fixed(), low: try fixed())
  }

  private mutating func number() throws(EntryCoding.Unreadable) -> Int64 {
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

  private mutating func optionalNumber() throws(EntryCoding.Unreadable) -> Int64? {
    try byte() == 0 ? nil : try number()
  }

  private mutating func text() throws(EntryCoding.Unreadable) -> String {
    let length = try number()
    guard length >= 0, length <= bytes.endIndex - at else { throw EntryCoding.Unreadable() }
    defer { at += Int(length) }
    return String(decoding: bytes[at..<at + Int(length)], as: UTF8.self)
  }

  private mutating func optionalText() throws(EntryCoding.Unreadable) -> String? {
    try byte() == 0 ? nil : try text()
  }

  private mutating func priority() throws(EntryCoding.Unreadable) -> Priority {
    guard let priority = Priority(rawValue: try byte()) else { throw EntryCoding.Unreadable() }
    return priority
  }
}
