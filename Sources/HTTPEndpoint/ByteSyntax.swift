// What bytes may stand where in an HTTP message (RFC 9110 section 5, RFC 9112), as tables.

enum ByteSyntax {
  private static func table(_ allowed: (UInt8) -> Bool) -> [Bool] { (0...255).map { allowed(UInt8($0)) } }

  /// `token`: methods and field names.
  static let token = table { byte in
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "a")...UInt8(ascii: "z"):
      true
    default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
    }
  }
  /// Field values: visible text, space, tab and bytes above ASCII. No NUL, CR, LF or other control.
  static let fieldValue = table { $0 == 0x09 || ($0 >= 0x20 && $0 != 0x7F) }
  /// Request targets: visible ASCII without `#`, which no client may send.
  static let target = table { $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "#") }
  /// `Host`: a name, an address in brackets, a port.
  static let authority = table { byte in
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "a")...UInt8(ascii: "z"):
      true
    default: "-._~!$&'()*+,;=%:[]".utf8.contains(byte)
    }
  }

  static func all(_ bytes: ArraySlice<UInt8>, in table: [Bool]) -> Bool {
    for byte in bytes where !table[Int(byte)] { return false }
    return true
  }

  /// The whole number that `digits` is, nothing else allowed; nil where it is not one or is above 10^15.
  static func decimal(_ digits: ArraySlice<UInt8>) -> Int? {
    guard !digits.isEmpty, digits.count <= 19 else { return nil }
    var value = 0
    for byte in digits {
      guard byte >= 0x30, byte <= 0x39 else { return nil }
      value = value * 10 + Int(byte - 0x30)
      guard value <= 1_000_000_000_000_000 else { return nil }
    }
    return value
  }
}
