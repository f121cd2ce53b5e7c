// Whether two texts have the same bytes.

extension String {
  /// True where both texts have the same bytes. `==` also takes texts for equal that have different bytes but look the
  /// same (Unicode's canonical equivalence), and a server may tell those apart.
  public func hasSameBytes(as other: String) -> Bool {
    let bytes = utf8.span
    let others = other.utf8.span
    guard bytes.count == others.count else { return false }
    var at = 0
    // Eight at a time: paths and URLs are compared for each request.
    while at + 8 <= bytes.count {
      let word = bytes.bytes.unsafeLoadUnaligned(fromByteOffset: at, as: UInt64.self)
      guard word == others.bytes.unsafeLoadUnaligned(fromByteOffset: at, as: UInt64.self) else { return false }
      at += 8
    }
    while at < bytes.count {
      guard bytes[at] == others[at] else { return false }
      at += 1
    }
    return true
  }
}
