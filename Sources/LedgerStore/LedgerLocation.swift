// Where the ledger is kept, and what its entries survive.

/// A database file, or memory.
public enum LedgerLocation: Sendable, Equatable {
  case file(String)
  /// In memory: gone with the process.
  case memory
}

/// What a committed entry survives.
public enum LedgerDurability: Sendable, Equatable {
  /// The end of this process at any instant, `kill -9` too. A power cut may take the last commits, never the file.
  case batched
  /// A power cut too: each commit is flushed to the disk.
  case full
}
