// Seeded fuzz of the HTTP/1.1 side: whatever bytes come, in whatever pieces, nothing traps, every exchange ends once,
// and the outcome does not depend on where the bytes were split.
import AdmissionCore
import HTTPMessage
import Testing

@testable import HTTPEndpoint

@Suite struct HTTP1FuzzTests {
  private static let pieces: [String] = [
    "GET ", "POST ", "/ ", "/a?b ", "http://h/ ", "HTTP/1.1", "HTTP/1.0", "\r\n", "\r\n\r\n", "\n", "\r", "\u{0}", " ",
    "\t",
    "Host: h\r\n", "Host: h\r\n\r\n", "Content-Length: 3\r\n", "Content-Length: 0\r\n", "Content-Length: 99999999\r\n",
    "Transfer-Encoding: chunked\r\n", "Expect: 100-continue\r\n", "Connection: close\r\n", "TE: trailers\r\n",
    "X: y\r\n",
    "0\r\n", "3\r\nabc\r\n", "ffffffffffffffff\r\n", "1;e=f\r\nz\r\n", "abc", ":", "\u{7f}",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
    "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
  ]

  private struct Run: Equatable {
    var answer: String
    var log: [String]
    var fate: SessionFate
  }

  private func run(_ bytes: [UInt8], cuts: [Int]) -> Run {
    var limits = EndpointLimits()
    limits.headerBytes = 300
    limits.headerFields = 6
    limits.bodyBytes = 100
    let bench = SessionBench(.echo(), limits: limits)
    var answer = ""
    var at = 0
    for cut in cuts + [bytes.count] {
      bench.feed(Array(bytes[at..<cut]))
      answer += bench.flushText()
      at = cut
    }
    let fate = bench.session.fate
    bench.session.connectionLost(.clientLeft)
    #expect(bench.handler.log.filter { $0.hasPrefix("began") }.count == bench.handler.endings.count)
    #expect(bench.openExchanges == 0)
    // Whether 100 is sent depends on whether the body has begun to arrive: the one thing that a split may change.
    return Run(
      answer: answer.components(of: "HTTP/1.1 100 Continue\r\n\r\n").joined(), log: bench.handler.log, fate: fate)
  }

  @Test(arguments: 0..<8)
  func nothingDependsOnTheSplit(block: Int) {
    for number in 0..<500 {
      let seed = block * 500 + number
      var random = SeededRandom(seed: UInt64(seed))
      var bytes: [UInt8] = []
      for _ in 0..<Int.random(in: 1...16, using: &random) {
        bytes += Array(Self.pieces.randomElement(using: &random)!.utf8)
      }
      if Bool.random(using: &random), let place = bytes.indices.randomElement(using: &random) {
        bytes[place] = UInt8.random(in: 0...255, using: &random)
      }
      let whole = run(bytes, cuts: [])
      let cuts = (0..<4).map { _ in Int.random(in: 0...bytes.count, using: &random) }.sorted()
      #expect(run(bytes, cuts: cuts) == whole, "seed \(seed), cuts \(cuts)")
      #expect(run(bytes, cuts: Array(0...bytes.count)) == whole, "seed \(seed), every byte")
    }
  }
}
