// Where the books are kept, as the broker sees it. The composition root puts the store behind it.
import AdmissionCore
import LedgerVocabulary

/// Takes entries and tells when they are safe. All calls come on the loop's thread, and none of them from inside `append` or `handOver`.
public protocol LedgerPort: AnyObject {
  /// Called when every entry up to and including this number has become safe after it was handed over.
  var onCommitted: ((UInt64) -> Void)? { get set }
  /// Called when `obstacle` begins or ends.
  var onObstacleChanged: (() -> Void)? { get set }
  /// Why no new work may be taken: the disk is full, the file is locked; nil where all is well.
  var obstacle: String? { get }
  /// Entries that the books did not take, and that were put aside: our bug.
  var putAside: Int { get }
  /// Writes what was appended since the last time.
  /// - Returns: the number up to which every entry is safe now; mostly that of the last one.
  func handOver() -> UInt64
  // Each takes an entry and returns its number: 1, 2, 3, ... One for each sort: an entry of any sort is large, and copying it costs.
  func append(_ hold: AttemptHold) -> UInt64
  func append(_ end: AttemptEnd) -> UInt64
  func append(_ end: RequestEnd) -> UInt64
  func append(_ change: LedgerChange) -> UInt64
  func append(_ memo: LedgerMemo) -> UInt64
}

extension LedgerPort {
  public var putAside: Int { 0 }
}
