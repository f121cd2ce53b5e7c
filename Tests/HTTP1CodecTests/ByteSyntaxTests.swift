// The tables of HTTP syntax, byte by byte.
import Testing

@testable import HTTP1Codec

@Suite struct ByteSyntaxTests {
  @Test func tokensAreWhatRFC9110Says() {
    let allowed = Set("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ".utf8)
    for byte in UInt8.min...UInt8.max { #expect(ByteSyntax.token.contains(byte) == allowed.contains(byte)) }
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
