// Keys from bytes: the same whatever the reads are cut into, and no bytes are too odd.
import Testing

@testable import TerminalScreen

@Suite struct KeyDecoderTests {
  private static let typed: [(String, [Key])] = [
    ("q", [.character("q")]), ("é日🚦", [.character("é"), .character("日"), .character("🚦")]),
    ("\u{1B}[A\u{1B}[B\u{1B}[C\u{1B}[D", [.up, .down, .right, .left]), ("\u{1B}OA\u{1B}OH", [.up, .home]),
    ("\u{1B}[5~\u{1B}[6~\u{1B}[1~\u{1B}[4~", [.pageUp, .pageDown, .home, .end]), ("\u{1B}[H\u{1B}[F", [.home, .end]),
    ("\u{1B}[1;5A", [.up]), ("\u{1B}[Z\t", [.backTab, .tab]), ("\r\n", [.enter, .enter]),
    ("\u{7F}\u{8}", [.backspace, .backspace]), ("\u{3}\u{1A}\u{C}", [.control("c"), .control("z"), .control("l")]),
    ("\u{1B}x", [.other]), ("\u{1B}[200~", [.other]), ("\u{1B}[<0;1;1M", [.other]),
    ("\u{1B}[[Aq", [.other, .character("q")]),
    ("\u{1B}\u{1B}[A", [.escape, .up]), ("\u{0}", [.other]),
  ]

  @Test(arguments: typed) func keys(_ text: String, _ expected: [Key]) {
    var decoder = KeyDecoder()
    #expect(decoder.keys(from: text.utf8) == expected)
    #expect(!decoder.isWaiting)
  }

  /// Each byte in a read of its own.
  @Test(arguments: typed) func keysSplitOverReads(_ text: String, _ expected: [Key]) {
    var decoder = KeyDecoder()
    #expect(text.utf8.flatMap { decoder.keys(from: [$0]) } == expected)
  }

  @Test func aLoneEscapeIsAKeyOnceNothingFollows() {
    var decoder = KeyDecoder()
    #expect(decoder.keys(from: [0x1B]).isEmpty && decoder.isWaiting)
    #expect(decoder.pause() == [.escape])
    #expect(!decoder.isWaiting && decoder.pause().isEmpty)
    #expect(decoder.keys(from: "\u{1B}[1;".utf8).isEmpty)
    #expect(decoder.pause() == [.other])
  }

  @Test func anyBytesAreTaken() {
    var random = Dice(seed: 7)
    var decoder = KeyDecoder()
    for _ in 0..<2000 {
      let bytes = (0..<Int.random(in: 1...40, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
      _ = decoder.keys(from: bytes)
    }
    _ = decoder.pause()
    #expect(decoder.keys(from: "q".utf8) == [.character("q")])
    // A sequence without an end is given up.
    #expect(decoder.keys(from: Array("\u{1B}[".utf8) + Array(repeating: UInt8(ascii: "1"), count: 500)).isEmpty)
    #expect(decoder.keys(from: "q".utf8) == [.character("q")])
  }

  @Test func bytesThatAreNoTextAreLeftOut() {
    var decoder = KeyDecoder()
    #expect(decoder.keys(from: [0xFF, 0x80, 0xC3, 0x41, 0xE6, 0x97, 0x42]) == [.character("A"), .character("B")])
  }
}
