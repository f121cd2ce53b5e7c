// Entries from their bytes: whole ones for a start, and parts that the writer compares without making texts of them.
//
// Promise: bytes that are no entries end in `Unreadable`, whatever they are.
import AdmissionCore
import LedgerVocabulary
import Pricing
import TextForms

struct EntryDecoder {
  private let bytes: ArraySlice<UInt8>
  private var at: Int

  init(_ bytes: ArraySlice<UInt8>) {
    self.bytes = bytes
    at = bytes.startIndex
  }

  var isAtEnd: Bool { at == bytes.endIndex }

  /// The sort of the next entry; nil at the end of the bytes.
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
    case .finished: return try finished()
    case .changed: return .changed(try change())
    case .altered: return .changed(try alteration())
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
      agent: AgentID(series.agent), provider: ProviderID(series.provider),
      key: series.key.isEmpty ? nil : KeyID(series.key), model: series.model,
      priority: series.priority, kind: series.kind.isEmpty ? nil : series.kind, reservedInput: try tokens(),
      reservedOutput: try tokens(), held: try optionalNumber().map { Money(nanodollars: $0) },
      priceVersion: try text())
  }

  private mutating func attemptEnd() throws(EntryCoding.Unreadable) -> AttemptEnd {
    let request = try id()
    let attempt = Int(try number())
    let at = WallInstant(nanoseconds: try number())
    guard let verdict = Verdict.Kind(rawValue: try text()) else { throw EntryCoding.Unreadable() }
    let status = try optionalNumber().map { Int($0) }
    let flags = try byte()
    let amounts = try amounts(flags)
    guard let source = CostSource(rawValue: try text()) else { throw EntryCoding.Unreadable() }
    return AttemptEnd(
      request: request, attempt: attempt, at: at, verdict: verdict, status: status, wasSent: flags & 1 != 0,
      usage: amounts.usage(isEstimated: flags & 2 != 0), cacheWriteHourTokens: TokenCount(amounts.cacheWriteHour),
      audioMilliseconds: amounts.audio, cost: amounts.cost.map { Money(nanodollars: $0) }, costSource: source,
      priceVersion: try text(), serviceTier: try optionalText(), lostCache: amounts.lost?.cache(flags),
      lostCost: amounts.lost?.money)
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
      agent: AgentID(series.agent), priority: series.priority, priorityReason: reason,
      kind: series.kind.isEmpty ? nil : series.kind,
      model: series.model, provider: series.provider.isEmpty ? nil : ProviderID(series.provider),
      key: series.key.isEmpty ? nil : KeyID(series.key), outcome: outcome, status: Int(try number()),
      attempts: Int(try number()), queued: Span(nanoseconds: try number()),
      firstByte: try optionalNumber().map { Span(nanoseconds: $0) })
  }

  private mutating func finished() throws(EntryCoding.Unreadable) -> LedgerEntry {
    let request = try id()
    let arrived = try arrival(of: request)
    let ended = WallInstant(nanoseconds: arrived &+ (try number()))
    let series = try series()
    let ending = try ending()
    guard let outcome = Outcome(rawValue: ending.outcome), let verdict = Verdict.Kind(rawValue: ending.verdict),
      let source = CostSource(rawValue: ending.costSource)
    else { throw EntryCoding.Unreadable() }
    let end = RequestEnd(
      request: request, arrived: WallInstant(nanoseconds: arrived), ended: ended, tenant: TenantID(series.tenant),
      clientKey: series.clientKey.isEmpty ? nil : ClientKeyID(series.clientKey), session: SessionID(series.session),
      agent: AgentID(series.agent), priority: series.priority, priorityReason: ending.reason,
      kind: series.kind.isEmpty ? nil : series.kind,
      model: series.model, provider: series.provider.isEmpty ? nil : ProviderID(series.provider),
      key: series.key.isEmpty ? nil : KeyID(series.key), outcome: outcome, status: Int(ending.status),
      attempts: Int(ending.attempts), queued: Span(nanoseconds: try number()),
      firstByte: try optionalNumber().map { Span(nanoseconds: $0) })
    let amounts = try amounts(ending.flags)
    let attempt = AttemptEnd(
      request: request, attempt: Int(ending.attempts), at: ended, verdict: verdict,
      status: ending.attemptStatus.map { Int($0) }, wasSent: ending.wasSent,
      usage: amounts.usage(isEstimated: ending.isEstimated), cacheWriteHourTokens: TokenCount(amounts.cacheWriteHour),
      audioMilliseconds: amounts.audio, cost: amounts.cost.map { Money(nanodollars: $0) }, costSource: source,
      priceVersion: ending.prices, serviceTier: ending.tier, lostCache: amounts.lost?.cache(ending.flags),
      lostCost: amounts.lost?.money)
    return .finished(end, lastAttempt: attempt)
  }

  /// The arrival of a request in nanoseconds, which is coded as the difference from the time in its id.
  mutating func arrival(of request: RequestID) throws(EntryCoding.Unreadable) -> Int64 {
    EntryCoding.timeOfID(request) &+ (try number())
  }

  mutating func ending() throws(EntryCoding.Unreadable) -> Ending {
    Ending(
      reason: try text(), outcome: try text(), status: try number(), attempts: try number(), verdict: try text(),
      attemptStatus: try optionalNumber(), flags: try byte(), costSource: try text(), prices: try text(),
      tier: try optionalText())
  }

  /// The amounts, cut to what can be true.
  /// - Parameter flags: of the same attempt.
  mutating func amounts(_ flags: UInt8) throws(EntryCoding.Unreadable) -> Amounts {
    let reason = try EntryCoding.reason(in: flags)
    var amounts = Amounts(
      input: try tokens().value, cacheRead: try tokens().value, cacheWrite: try tokens().value,
      output: try tokens().value, reasoning: try tokens().value, cacheWriteHour: try tokens().value,
      audio: try number(), cost: try optionalNumber())
    if let reason {
      amounts.lost = Amounts.Lost(reason: reason, tokens: try tokens().value, cost: try optionalNumber())
    }
    return amounts
  }

  mutating func change() throws(EntryCoding.Unreadable) -> LedgerChange {
    let at = WallInstant(nanoseconds: try number())
    guard let subject = LedgerChange.Subject(rawValue: try text()) else { throw EntryCoding.Unreadable() }
    let name = try text()
    guard let state = LedgerChange.State(rawValue: try text()) else { throw EntryCoding.Unreadable() }
    return LedgerChange(
      at: at, subject: subject, name: name, state: state, reason: try text(),
      askedBy: try optionalText(), amount: try optionalNumber().map { Money(nanodollars: $0) },
      until: try optionalNumber().map { WallInstant(nanoseconds: $0) })
  }

  /// A change that tells what was before and after.
  mutating func alteration() throws(EntryCoding.Unreadable) -> LedgerChange {
    var change = try change()
    change.before = try optionalText()
    change.after = try optionalText()
    return change
  }

  mutating func memo() throws(EntryCoding.Unreadable) -> LedgerMemo {
    guard let kind = LedgerMemo.Kind(rawValue: try text()) else { throw EntryCoding.Unreadable() }
    return LedgerMemo(kind: kind, name: try text(), value: try text())
  }

  mutating func series() throws(EntryCoding.Unreadable) -> Series {
    var series = Series(
      tenant: try text(), clientKey: try optionalText() ?? "", session: try text(),
      provider: try optionalText() ?? "", key: try optionalText() ?? "", model: try text(), priority: try priority(),
      kind: "", agent: "")
    let present = try presence()
    if present.kind { series.kind = try text() }
    if present.agent { series.agent = try text() }
    return series
  }

  /// Which of the last two names of a series there are.
  private mutating func presence() throws(EntryCoding.Unreadable) -> (kind: Bool, agent: Bool) {
    let flags = try byte()
    guard flags < 4 else { throw EntryCoding.Unreadable() }
    return (flags & 1 != 0, flags & 2 != 0)
  }

  // MARK: Parts that are compared, not made

  /// The range of a text.
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
    let present = try presence()
    if present.kind { _ = try textRange() }
    if present.agent { _ = try textRange() }
    return start..<at
  }

  /// The range of the bytes that say how a request and its last attempt ended, and that attempt's number and flags.
  mutating func endingRange() throws(EntryCoding.Unreadable) -> (range: Range<Int>, attempts: Int64, flags: UInt8) {
    let start = at
    _ = try textRange()
    _ = try textRange()
    _ = try number()
    let attempts = try number()
    _ = try textRange()
    _ = try optionalNumber()
    let flags = try byte()
    _ = try textRange()
    _ = try textRange()
    _ = try optionalTextRange()
    return (start..<at, attempts, flags)
  }

  /// A decoder for these bytes only.
  func part(_ range: Range<Int>) -> EntryDecoder { EntryDecoder(bytes[range]) }
  func bytes(_ range: Range<Int>) -> [UInt8] { Array(bytes[range]) }
  func string(_ range: Range<Int>) -> String { String(decoding: bytes[range], as: UTF8.self) }
  func checksum(_ range: Range<Int>) -> UInt64 { Journal.checksum(bytes[range].span.bytes) }

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

/// How a request and its last attempt ended, without counts and measurements.
struct Ending: Equatable {
  var reason: String
  var outcome: String
  var status: Int64
  var attempts: Int64
  var verdict: String
  var attemptStatus: Int64?
  var flags: UInt8
  var costSource: String
  var prices: String
  var tier: String?

  var wasSent: Bool { flags & 1 != 0 }
  var isEstimated: Bool { flags & 2 != 0 }
  /// Why a prompt cache was not read, and whether because the call waited here.
  var lost: (reason: CacheLoss, isByWaiting: Bool)? {
    (try? EntryCoding.reason(in: flags)).flatMap { $0 }.map { ($0, EntryCoding.isByWaiting(flags)) }
  }
}

/// The counts of an attempt.
struct Amounts: Equatable {
  var input: Int64
  var cacheRead: Int64
  var cacheWrite: Int64
  var output: Int64
  var reasoning: Int64
  var cacheWriteHour: Int64
  /// Milliseconds.
  var audio: Int64
  /// Nano-dollars.
  var cost: Int64?
  /// What was lost because a prompt cache was not read.
  var lost: Lost?

  struct Lost: Equatable {
    var reason: CacheLoss
    var tokens: Int64
    /// Nano-dollars.
    var cost: Int64?

    func cache(_ flags: UInt8) -> LostCache {
      LostCache(reason: reason, lostTokens: TokenCount(tokens), oursByWaiting: EntryCoding.isByWaiting(flags))
    }
    var money: Money? { cost.map { Money(nanodollars: $0) } }
  }

  func usage(isEstimated: Bool) -> Usage {
    Usage(
      inputTokens: TokenCount(input), cacheReadTokens: TokenCount(cacheRead), cacheWriteTokens: TokenCount(cacheWrite),
      outputTokens: TokenCount(output), reasoningTokens: TokenCount(reasoning), isEstimated: isEstimated)
  }
}
