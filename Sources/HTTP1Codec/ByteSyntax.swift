// Which bytes are allowed at which place of an HTTP message (RFC 9110 section 5, RFC 9112).

/// A set of bytes: one bit for each byte of ASCII, and one for all bytes above.
public struct ByteClass: Sendable {
  @usableFromInline let low: UInt64
  @usableFromInline let high: UInt64
  @usableFromInline let aboveASCII: Bool

  /// - Parameters:
  ///   - low: bit n for byte n.
  ///   - high: bit n for byte 64 + n.
  ///   - aboveASCII: true where bytes from 128 on are in the set.
  @inlinable init(low: UInt64, high: UInt64, aboveASCII: Bool) {
    self.low = low
    self.high = high
    self.aboveASCII = aboveASCII
  }

  @inlinable public func contains(_ byte: UInt8) -> Bool {
    // Without a branch that depends on the byte, since this runs for every byte of a head.
    let isIn = (byte & 0x40 == 0 ? low : high) &>> UInt64(byte & 0x3F) & 1 == 1
    return byte < 0x80 ? isIn : aboveASCII
  }
}

public enum ByteSyntax {
  /// `token`: methods and field names.
  @inlinable public static var token: ByteClass {
    ByteClass(low: 0x03FF_6CFA_0000_0000, high: 0x57FF_FFFF_C7FF_FFFE, aboveASCII: false)
  }
  /// Field values: visible text, space, tab and bytes above ASCII. No NUL, CR, LF or other control.
  @inlinable public static var fieldValue: ByteClass {
    ByteClass(low: 0xFFFF_FFFF_0000_0200, high: 0x7FFF_FFFF_FFFF_FFFF, aboveASCII: true)
  }
  /// Field names as HTTP/2 has them: `token` without capitals.
  @inlinable public static var lowercaseToken: ByteClass {
    ByteClass(low: 0x03FF_6CFA_0000_0000, high: 0x57FF_FFFF_C000_0000, aboveASCII: false)
  }
  /// Request targets: visible ASCII without `#`, which no client may send.
  @inlinable public static var target: ByteClass {
    ByteClass(low: 0xFFFF_FFF6_0000_0000, high: 0x7FFF_FFFF_FFFF_FFFF, aboveASCII: false)
  }
  /// `Host`: a name, an address in brackets, a port.
  @inlinable public static var authority: ByteClass {
    ByteClass(low: 0x2FFF_7FF2_0000_0000, high: 0x47FF_FFFE_AFFF_FFFE, aboveASCII: false)
  }

  /// Whether `byte` is in ``fieldValue``: asked for most bytes of a message, and cheaper so.
  @inlinable public static func isFieldValue(_ byte: UInt8) -> Bool {
    (byte >= 0x20 && byte != 0x7F) || byte == 0x09
  }

  /// Whether all bytes at `range` may stand in a field's value.
  public static func isFieldValue(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Bool {
    // Tabs are rare.
    if bytes.areVisible(at: range) { return true }
    let part = bytes.extracting(range)
    var isSound = true
    for index in part.indices where !isFieldValue(part[index]) { isSound = false }
    return isSound
  }

  /// Whether all of `bytes` may stand in a field's value.
  public static func isFieldValue(_ bytes: ArraySlice<UInt8>) -> Bool {
    isFieldValue(bytes.span, 0..<bytes.count)
  }

  /// Whether all bytes at `range` are in ``token``.
  public static func isToken(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Bool {
    // So are nearly all names of fields.
    bytes.areLettersDigitsAndHyphens(at: range, allowingCapitals: true) || all(bytes, range, in: token)
  }

  /// Whether all of `bytes` are in ``token``.
  public static func isToken(_ bytes: ArraySlice<UInt8>) -> Bool { isToken(bytes.span, 0..<bytes.count) }

  /// Whether all of `bytes` are in ``lowercaseToken``.
  public static func isLowercaseToken(_ bytes: ArraySlice<UInt8>) -> Bool {
    bytes.span.areLettersDigitsAndHyphens(at: 0..<bytes.count, allowingCapitals: false)
      || all(bytes, in: lowercaseToken)
  }

  /// Whether all of `bytes` are in `allowed`.
  @inlinable public static func all(_ bytes: ArraySlice<UInt8>, in allowed: ByteClass) -> Bool {
    for byte in bytes where !allowed.contains(byte) { return false }
    return true
  }

  /// Whether all bytes at `range` are in `allowed`.
  @inlinable public static func all(_ bytes: Span<UInt8>, _ range: Range<Int>, in allowed: ByteClass) -> Bool {
    let part = bytes.extracting(range)
    for index in part.indices where !allowed.contains(part[index]) { return false }
    return true
  }

  /// The whole number that the digits are, nothing else allowed; nil where they are not one or are above 10^15.
  public static func decimal(_ digits: ArraySlice<UInt8>) -> Int? {
    decimal(digits.span, 0..<digits.count)
  }

  /// The same for the bytes at `range`.
  public static func decimal(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Int? {
    guard !range.isEmpty, range.count <= 19 else { return nil }
    var value = 0
    for index in range {
      let byte = bytes[index]
      guard byte >= 0x30, byte <= 0x39 else { return nil }
      value = value * 10 + Int(byte - 0x30)
      guard value <= 1_000_000_000_000_000 else { return nil }
    }
    return value
  }
}
