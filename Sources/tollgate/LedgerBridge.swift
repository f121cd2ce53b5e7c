// Connects the broker's loop and the ledger: appended entries are handed over when the broker says so, once a turn.
// Mostly this makes them safe; where only a commit does, the mailbox reports it.
import AdmissionCore
import BrokerEngine
import EventLoop
import LedgerStore
import LedgerVocabulary
import PolicyFile
import TextForms

final class LedgerBridge: LedgerPort {
  var onCommitted: ((UInt64) -> Void)?
  var onObstacleChanged: (() -> Void)?
  private(set) var obstacle: String?
  let store: LedgerStore
  var putAside: Int { store.putAside }

  private let report: (String?) -> Void
  private var gathered = EntryBatch()
  private var appended: UInt64 = 0
  private var committed: UInt64 = 0

  /// Opens the ledger, and ends the holds that a crash left open.
  /// - Parameters:
  ///   - report: told on the loop's thread why nothing can be written, and with nil when it can again.
  /// - Throws: `LedgerError` with what to do.
  init(
    _ location: LedgerLocation, _ durability: LedgerDurability, loop: EventLoop, now: WallInstant,
    report: @escaping (String?) -> Void
  ) throws {
    self.report = report
    // The store's callbacks are made before this object exists.
    let address = LoopAddress<LedgerBridge>()
    let mailbox = loop.mailbox
    store = try LedgerStore(
      location, durability: durability, now: now,
      onCommitted: { number in mailbox.post { address.target?.committed(number) } },
      onObstacleChanged: { text in mailbox.post { address.target?.obstacleChanged(text) } })
    address.target = self
  }

  func append(_ hold: AttemptHold) -> UInt64 {
    gathered.append(hold)
    return counted()
  }

  func append(_ end: AttemptEnd) -> UInt64 {
    gathered.append(end)
    return counted()
  }

  func append(_ end: RequestEnd) -> UInt64 {
    gathered.append(end)
    return counted()
  }

  func append(_ end: RequestEnd, lastAttempt: AttemptEnd) -> UInt64 {
    gathered.append(end, lastAttempt: lastAttempt)
    return counted()
  }

  func append(_ change: LedgerChange) -> UInt64 {
    gathered.append(change)
    return counted()
  }

  func append(_ memo: LedgerMemo) -> UInt64 {
    gathered.append(memo)
    return counted()
  }

  /// The number of the entry that was gathered last.
  private func counted() -> UInt64 {
    appended += 1
    return appended
  }

  /// Writes what is left, after the loop has ended. Blocks.
  /// - Returns: the number of entries that could not be written.
  func close() -> Int {
    _ = handOver()
    return store.close()
  }

  func handOver() -> UInt64 {
    if !gathered.isEmpty { committed = max(committed, store.handOver(gathered.take()).safe) }
    return committed
  }

  private func committed(_ number: UInt64) {
    guard number > committed else { return }
    committed = number
    onCommitted?(number)
  }

  private func obstacleChanged(_ text: String?) {
    let isNews = (obstacle == nil) != (text == nil)
    obstacle = text
    report(text)
    if isNews { onObstacleChanged?() }
  }
}

extension LedgerLocation {
  init(_ store: StoreLocation) {
    switch store {
    case .file(let path): self = .file(path)
    case .memory: self = .memory
    }
  }
}

extension LedgerDurability {
  init(_ durability: Durability) {
    switch durability {
    case .batched: self = .batched
    case .full: self = .full
    }
  }
}
