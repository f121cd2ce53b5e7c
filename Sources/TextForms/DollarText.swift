// Money as people read it: one form in all commands, messages and the audit. Machines get nine decimals.

public enum DollarText {
  /// `$20.50` of `20.500000000`, `$0.0123` of `0.012300000`: as many decimals as it has, two at least. What is no number stays as
  /// it is behind its sign.
  public static func text(_ amount: String) -> String {
    var text = amount
    let decimals = text.firstIndex(of: ".").map { text.distance(from: $0, to: text.endIndex) - 1 }
    if decimals == nil { text += "." }
    text += String(repeating: "0", count: max(0, 2 - (decimals ?? 0)))
    while text.hasSuffix("0"), let point = text.firstIndex(of: "."), text.distance(from: point, to: text.endIndex) > 3 {
      text.removeLast()
    }
    return text.hasPrefix("-") ? "-$" + text.dropFirst() : "$" + text
  }
}
