// Where the path of a request's target ends and its query begins.

/// The two halves of a request's target (RFC 9112 section 3.2), as sent.
public struct TargetText: Sendable, Equatable {
  /// The part before the first `?`.
  public let path: Substring
  /// The part after it; nil where there is no `?`.
  public let query: Substring?

  /// Looks at each byte of `target` once, up to the `?`.
  public init(_ target: Substring) {
    let bytes = target.utf8.span
    var length = 0
    while length < bytes.count, bytes[length] != UInt8(ascii: "?") { length += 1 }
    guard length < bytes.count else {
      path = target
      query = nil
      return
    }
    let mark = target.utf8.index(target.startIndex, offsetBy: length)
    path = target[..<mark]
    query = target[target.utf8.index(after: mark)...]
  }

  public var halves: (path: Substring, query: Substring?) { (path, query) }

  public init(_ target: String) { self.init(target[...]) }
}
