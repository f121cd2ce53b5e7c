// How far a cost can be trusted.

/// Where a cost came from.
public enum CostSource: String, Sendable, CaseIterable {
  /// The price list.
  case prices
  /// The provider's own `usage.cost`.
  case provider
  /// Nothing was charged: nothing sent, an error answer, a free call.
  case free
  /// Tokens without a price.
  case unknown
}
