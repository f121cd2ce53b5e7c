// Digits in both cases, and bytes that are none.
import Testing
import TextForms

@Suite struct HexadecimalTests {
  @Test func digitsHaveTheirValueAndNothingElseDoes() {
    for byte in UInt8.min...UInt8.max {
      let character = Character(UnicodeScalar(byte))
      let expected = character.isASCII ? character.hexDigitValue : nil
      #expect(Hexadecimal.value(byte).map { Int($0) } == expected)
    }
  }

  @Test func everyByteHasTwoDigitsInLowerCase() {
    #expect(Hexadecimal.text([0, 9, 10, 0xAB, 0xFF]) == "00090aabff")
    #expect(Hexadecimal.text([]) == "")
  }
}
