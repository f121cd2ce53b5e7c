// Why a provider did not read a call's input from its prompt cache, as far as that can be told, and how much that was.

/// Why input that a warm prompt cache would have given was not read from it.
public enum CacheLoss: String, Sendable, CaseIterable {
  /// The first call of its conversation.
  case firstCall = "first_call"
  /// The prefix was older than the provider keeps it.
  case expired
  /// The call begins in another way than the one before it.
  case prefixChanged = "prefix_changed"
  /// The call before it went to another key or provider.
  case movedKey = "moved_key"
  /// The prefix should have been there, and the provider did not read it.
  case provider
}

/// What one call lost because its prompt cache was not read.
public struct LostCache: Sendable, Equatable {
  public var reason: CacheLoss
  /// Input tokens that a warm cache would have given and that were not read from it.
  public var lostTokens: TokenCount
  /// True where the prefix expired because the call waited here.
  public var oursByWaiting: Bool

  public init(reason: CacheLoss, lostTokens: TokenCount, oursByWaiting: Bool = false) {
    self.reason = reason
    self.lostTokens = lostTokens
    self.oursByWaiting = oursByWaiting
  }
}
