// What the operator has set, in the words that people read. The API and the ledger say `operator`.

public enum ByHand {
  /// A reason as people read it: what an operator did was done by hand.
  public static func text(_ reason: String) -> String { reason == "operator" ? "by hand" : reason }
}
