// The tables of HTTP syntax, byte by byte.
import Testing

@testable import HTTP1Codec

@Suite struct ByteSyntaxTests {
  @Test func tokensAreWhatRFC9110Says() {
    let allowed = Set("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ".utf8)
    for byte in UInt8.min...UInt8.max { #expect(ByteSyntax.token.contains(byte) == allowed.contains(byte)) }
    let lowercase = allowed.subtracting("ABCDEFGHIJKLMNOPQRSTUVWXYZ".utf8)
    for byte in UInt8.min...UInt8.max {
      #expect(ByteSyntax.lowercaseToken.contains(byte) == lowercase.contains(byte))
    }
  }

  /// Names and values are looked at eight bytes at a time: each byte, at each place, in texts of each length.
  @Test func noByteIsOverlooked() {
    for count in 0...17 {
      let sound = [UInt8](repeating: UInt8(ascii: "a"), count: count)
      #expect(
        ByteSyntax.isToken(sound[...]) && ByteSyntax.isLowercaseToken(sound[...]) && ByteSyntax.isFieldValue(sound[...])
      )
      for place in 0..<count {
        var wrong: [UInt8] = []
        for byte in UInt8.min...UInt8.max {
          // Other bytes stand around it: what is asked about is a part of them.
          var bytes: [UInt8] = [0] + sound + [0x7F]
          bytes[place + 1] = byte
          let part = bytes[1...count]
          if ByteSyntax.isToken(part) != ByteSyntax.token.contains(byte)
            || ByteSyntax.isLowercaseToken(part) != ByteSyntax.lowercaseToken.contains(byte)
            || ByteSyntax.isFieldValue(part) != ByteSyntax.fieldValue.contains(byte)
          {
            wrong.append(byte)
          }
        }
        #expect(wrong.isEmpty, "at \(place) of \(count)")
      }
    }
  }

  @Test func valuesHaveNoControlsButTab() {
    for byte in UInt8.min...UInt8.max {
      #expect(ByteSyntax.fieldValue.contains(byte) == (byte == 9 || (byte >= 32 && byte != 127)))
    }
  }

  @Test func targetsAreVisibleASCIIWithoutAFragment() {
    for byte in UInt8.min...UInt8.max {
      #expect(ByteSyntax.target.contains(byte) == (byte > 32 && byte < 127 && byte != UInt8(ascii: "#")))
    }
  }

  @Test func hostsAreNamesAddressesAndPorts() {
    let allowed = Set("-._~!$&'()*+,;=%:[]0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ".utf8)
    for byte in UInt8.min...UInt8.max { #expect(ByteSyntax.authority.contains(byte) == allowed.contains(byte)) }
  }

  @Test(arguments: [
    ("0", 0), ("007", 7), ("1000000000000000", 1_000_000_000_000_000), ("1000000000000001", nil), ("", nil),
    (" 1", nil),
    ("1a", nil), ("99999999999999999999", nil), ("18446744073709551617", nil),
  ])
  func readsDecimals(text: String, value: Int?) {
    #expect(ByteSyntax.decimal(Array(text.utf8)[...]) == value)
  }
}
