// Where the books are kept.

/// A database file, or memory.
public enum LedgerLocation: Sendable, Equatable {
  case file(String)
  /// Gone with the process.
  case memory
}
