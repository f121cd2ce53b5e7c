// The ledger as the broker sees it. The composition root connects the store.
import AdmissionCore
import LedgerVocabulary

/// Takes entries and tells when they are safe. All calls and callbacks come on the loop's thread; callbacks never come
/// from inside `append` or `handOver`.
public protocol LedgerPort: AnyObject {
  /// Called when all entries up to and including this number have become safe, for entries that were not safe when
  /// `handOver` returned.
  var onCommitted: ((UInt64) -> Void)? { get set }
  /// Called when `obstacle` begins or ends.
  var onObstacleChanged: (() -> Void)? { get set }
  /// Why no new work may be taken, such as a full disk or a locked file; nil where all is well.
  var obstacle: String? { get }
  /// The number of entries that the ledger did not accept and put aside. They are bugs of ours.
  var putAside: Int { get }
  /// Writes the entries that were appended since the last time.
  /// - Returns: the number up to which all entries are safe now; mostly that of the last entry.
  func handOver() -> UInt64
  // Each takes an entry and returns its number: 1, 2, 3, ... There is one method per kind, since a value that can be
  // any kind of entry is large and costly to copy.
  func append(_ hold: AttemptHold) -> UInt64
  func append(_ end: AttemptEnd) -> UInt64
  func append(_ end: RequestEnd) -> UInt64
  /// Both are over, as `LedgerEntry.finished` says.
  func append(_ end: RequestEnd, lastAttempt: AttemptEnd) -> UInt64
  func append(_ change: LedgerChange) -> UInt64
  func append(_ memo: LedgerMemo) -> UInt64
}

extension LedgerPort {
  public var putAside: Int { 0 }
}
