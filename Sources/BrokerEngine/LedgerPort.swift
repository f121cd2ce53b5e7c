// Where the books are kept, as the broker sees it. The composition root puts the store behind it.
import AdmissionCore

/// Takes entries and tells when they are safe. All calls come on the loop's thread.
public protocol LedgerPort: AnyObject {
  /// Called on the loop's thread when every entry up to and including this number is safe.
  var onCommitted: ((UInt64) -> Void)? { get set }
  /// Why no new work may be taken: the disk is full, the file is locked; nil where all is well.
  var obstacle: String? { get }
  /// Takes an entry and returns its number: 1, 2, 3, ...
  func append(_ entry: LedgerEntry) -> UInt64
}
