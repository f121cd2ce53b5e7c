// What the tests of the books share: a store on a file of its own, entries with sensible contents, and waiting for commits.
import AdmissionCore
import Foundation
import GRDB
import LedgerStore
import LedgerVocabulary
import SharedState
import Testing
import TextForms

/// A place for one test's files; removed with it.
final class Place: Sendable {
  let directory: String
  init() {
    directory = FileManager.default.temporaryDirectory.appendingPathComponent("ledger-\(UUID().uuidString)").path
    try? FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
  }
  deinit { try? FileManager.default.removeItem(atPath: directory) }
  func path(_ name: String = "t.db") -> String { directory + "/" + name }
}

/// Counts commits and tells obstacles; waiting for either is waiting for a signal.
final class Watcher: Sendable {
  private let state = Guarded<(committed: UInt64, obstacles: [String?])>((0, []))
  private let signal = DispatchSemaphore(value: 0)

  var committed: UInt64 { state.withLock { $0.committed } }
  var obstacles: [String?] { state.withLock { $0.obstacles } }

  func sawCommit(_ number: UInt64) {
    state.withLock { $0.committed = number }
    signal.signal()
  }
  func sawObstacle(_ text: String?) {
    state.withLock { $0.obstacles.append(text) }
    signal.signal()
  }
  /// Waits until this many are safe; false after ten seconds.
  func reached(_ number: UInt64) -> Bool { waits { self.committed >= number } }
  func waits(for condition: () -> Bool) -> Bool {
    let deadline = DispatchTime.now() + 10
    while !condition() {
      if signal.wait(timeout: deadline) == .timedOut { return condition() }
    }
    return true
  }
}

enum Scene {
  static let start = WallInstant(nanoseconds: 1_795_000_000_000_000_000)

  static func at(_ seconds: Double) -> WallInstant {
    WallInstant(nanoseconds: start.nanoseconds + Int64(seconds * 1e9))
  }

  /// A request that arrived so many seconds after the start.
  static func request(_ number: Int, at seconds: Double = 0) -> RequestID {
    RequestID(
      high: UInt64((start.nanoseconds + Int64(seconds * 1e9)) / 1_000_000) << 16 | UInt64(number >> 32 & 0xFFFF),
      low: UInt64(number) &* 0x9E37_79B9_7F4A_7C15)
  }

  static func held(
    _ number: Int, attempt: Int = 1, at seconds: Double = 0, tenant: TenantID = "acme", session: SessionID = "s1",
    agent: AgentID = "", clientKey: ClientKeyID? = nil, provider: ProviderID = "openai", key: KeyID? = "main",
    model: String = "gpt-6-sol",
    held: Int64? = 5_000, input: Int64 = 100, output: Int64 = 50
  ) -> LedgerEntry {
    .held(
      AttemptHold(
        request: request(number, at: seconds), attempt: attempt, at: at(seconds), tenant: tenant,
        clientKey: clientKey, session: session, agent: agent, provider: provider, key: key, model: model,
        priority: .normal,
        kind: "follow-up", reservedInput: TokenCount(input), reservedOutput: TokenCount(output),
        held: held.map { Money(nanodollars: $0) },
        priceVersion: "2026-11-20"))
  }

  static func settled(
    _ number: Int, attempt: Int = 1, at seconds: Double = 0, cost: Int64? = 4_000, sent: Bool = true,
    usage: Usage = Usage(inputTokens: 90, cacheReadTokens: 10, outputTokens: 40)
  ) -> LedgerEntry {
    .settled(
      AttemptEnd(
        request: request(number, at: seconds), attempt: attempt, at: at(seconds + 1), verdict: .success, status: 200,
        wasSent: sent, usage: usage, cost: cost.map { Money(nanodollars: $0) },
        costSource: cost == nil ? .unknown : .prices,
        priceVersion: "2026-11-20"))
  }

  static func concluded(
    _ number: Int, at seconds: Double = 0, tenant: TenantID = "acme", session: SessionID = "s1",
    agent: AgentID = "", provider: ProviderID? = "openai", key: KeyID? = "main", model: String = "gpt-6-sol",
    outcome: Outcome = .completed,
    attempts: Int = 1
  ) -> LedgerEntry {
    .concluded(
      RequestEnd(
        request: request(number, at: seconds), arrived: at(seconds), ended: at(seconds + 1), tenant: tenant,
        session: session, agent: agent, priority: .normal, priorityReason: "header", kind: "follow-up", model: model,
        provider: provider, key: key, outcome: outcome, status: 200, attempts: attempts, queued: .milliseconds(3),
        firstByte: .milliseconds(400)))
  }

  /// Both ends in one entry.
  static func finished(
    _ number: Int, attempt: Int = 1, at seconds: Double = 0, tenant: TenantID = "acme", session: SessionID = "s1",
    agent: AgentID = "", clientKey: ClientKeyID? = nil, key: KeyID? = "main", cost: Int64? = 4_000, sent: Bool = true
  ) throws -> LedgerEntry {
    var end = try #require(
      concluded(number, at: seconds, tenant: tenant, session: session, agent: agent, key: key, attempts: attempt)
        .requestEnd)
    end.clientKey = clientKey
    return .finished(
      end,
      lastAttempt: try #require(settled(number, attempt: attempt, at: seconds, cost: cost, sent: sent).end))
  }

  /// A call from its hold to its end, of which the attempt's and the request's are written apart.
  static func call(_ number: Int, at seconds: Double = 0, tenant: TenantID = "acme", cost: Int64? = 4_000)
    -> [LedgerEntry]
  {
    [
      held(number, at: seconds, tenant: tenant), settled(number, at: seconds, cost: cost),
      concluded(number, at: seconds, tenant: tenant),
    ]
  }

  /// A call from its hold to its end, as the engine writes it.
  static func shortCall(_ number: Int, at seconds: Double = 0, tenant: TenantID = "acme", cost: Int64? = 4_000) throws
    -> [LedgerEntry]
  {
    [held(number, at: seconds, tenant: tenant), try finished(number, at: seconds, tenant: tenant, cost: cost)]
  }

  static func store(
    _ path: String, _ watcher: Watcher, now: WallInstant = at(60), options: LedgerOptions = LedgerOptions()
  ) throws -> LedgerStore {
    try LedgerStore(
      .file(path), options: options, now: now, onCommitted: { watcher.sawCommit($0) },
      onObstacleChanged: { watcher.sawObstacle($0) })
  }

  /// Looks into the file from outside.
  static func query<Value: DatabaseValueConvertible & StatementColumnConvertible>(
    _ path: String, _ sql: String, as type: Value.Type = Value.self
  ) throws -> [Value?] {
    try DatabaseQueue(path: path).read { try Optional<Value>.fetchAll($0, sql: sql) }
  }
}

extension LedgerEntry {
  /// What was held, where the entry says so.
  var hold: AttemptHold? { if case .held(let hold) = self { hold } else { nil } }
  /// How an attempt ended, where the entry says so.
  var end: AttemptEnd? { if case .settled(let end) = self { end } else { nil } }
  /// How a request ended, where the entry says only that.
  var requestEnd: RequestEnd? { if case .concluded(let end) = self { end } else { nil } }
}
