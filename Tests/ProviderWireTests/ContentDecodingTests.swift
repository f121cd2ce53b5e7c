// Content codings: whole, in pieces, limited, broken.
import AdmissionCore
import CZlib
import CZstd
import Testing

@testable import ProviderWire

/// Compresses test data.
enum Coded {
  static func gzip(_ bytes: [UInt8]) -> [UInt8] { deflated(bytes, windowBits: 15 + 16) }
  static func zlib(_ bytes: [UInt8]) -> [UInt8] { deflated(bytes, windowBits: 15) }
  static func rawDeflate(_ bytes: [UInt8]) -> [UInt8] { deflated(bytes, windowBits: -15) }

  private static func deflated(_ bytes: [UInt8], windowBits: Int32) -> [UInt8] {
    let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
    stream.initialize(to: z_stream())
    defer { stream.deallocate() }
    deflateInit2_(
      stream, 6, Z_DEFLATED, windowBits, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
    var input = bytes
    var output = [UInt8](repeating: 0, count: bytes.count + 1024)
    let count = input.withUnsafeMutableBufferPointer { source in
      output.withUnsafeMutableBufferPointer { target -> Int in
        stream.pointee.next_in = source.baseAddress
        stream.pointee.avail_in = UInt32(source.count)
        stream.pointee.next_out = target.baseAddress
        stream.pointee.avail_out = UInt32(target.count)
        deflate(stream, Z_FINISH)
        return target.count - Int(stream.pointee.avail_out)
      }
    }
    deflateEnd(stream)
    return Array(output[..<count])
  }

  static func zstd(_ bytes: [UInt8]) -> [UInt8] {
    var output = [UInt8](repeating: 0, count: ZSTD_compressBound(bytes.count))
    let capacity = output.count
    let count = output.withUnsafeMutableBytes { target in
      bytes.withUnsafeBytes { ZSTD_compress(target.baseAddress, capacity, $0.baseAddress, $0.count, 3) }
    }
    return Array(output[..<count])
  }
}

@Suite struct ContentDecodingTests {
  private let plain = (0..<200_000).map { UInt8(truncatingIfNeeded: $0 &* $0 >> 7) }

  private func codings(_ bytes: [UInt8]) -> [(ContentCoding, [UInt8])] {
    [
      (.gzip, Coded.gzip(bytes)), (.deflate, Coded.zlib(bytes)), (.deflate, Coded.rawDeflate(bytes)),
      (.zstd, Coded.zstd(bytes)),
    ]
  }

  @Test func readsNames() {
    #expect(ContentCoding(nil) == .identity)
    #expect(ContentCoding("") == .identity)
    #expect(ContentCoding(" Identity ") == .identity)
    #expect(ContentCoding("GZIP") == .gzip)
    #expect(ContentCoding("x-gzip") == .gzip)
    #expect(ContentCoding("deflate") == .deflate)
    #expect(ContentCoding("zstd") == .zstd)
    #expect(ContentCoding("br") == .unsupported)
    #expect(ContentCoding("gzip,gzip") == .unsupported)
    #expect(ContentDecoder(.identity) == nil)
    #expect(ContentDecoder(.unsupported) == nil)
  }

  @Test func decodesWholeBodiesUpToTheLimit() {
    for (coding, coded) in codings(plain) {
      #expect(ContentDecoder.decoded(coded, coding, limit: plain.count).bytes == plain, "\(coding)")
      #expect(ContentDecoder.decoded(coded, coding, limit: plain.count + 1).bytes == plain)
      let cut = ContentDecoder.decoded(coded, coding, limit: plain.count - 1)
      #expect(cut.bytes == nil && cut.progress == .tooLarge)
      let short = ContentDecoder.decoded(Array(coded.dropLast(20)), coding, limit: 1 << 20)
      #expect(short.bytes == nil && short.progress == .corrupt)
    }
  }

  @Test func decodesInPiecesOfAnySize() throws {
    for (coding, coded) in codings(plain) {
      for size in [1, 7, 1000] {
        let decoder = try #require(ContentDecoder(coding))
        var output: [UInt8] = []
        var at = 0
        while at < coded.count {
          let end = min(at + size, coded.count)
          #expect(decoder.decode(coded[at..<end], onto: &output, limit: 1 << 20) == .ok)
          at = end
        }
        #expect(output == plain)
        #expect(decoder.isComplete)
      }
    }
  }

  @Test func decodesSeveralGzipMembers() {
    let coded = Coded.gzip(Array("abc".utf8)) + Coded.gzip(Array("def".utf8))
    #expect(ContentDecoder.decoded(coded, .gzip, limit: 100).bytes == Array("abcdef".utf8))
  }

  @Test func aBombIsStoppedAtTheLimit() {
    let bomb = [UInt8](repeating: 0, count: 8 << 20)
    for (coding, coded) in codings(bomb) {
      #expect(ContentDecoder.decoded(coded, coding, limit: 64 << 10).progress == .tooLarge, "\(coding)")
    }
  }

  @Test func survivesMutatedInput() throws {
    var random = SeededRandom(seed: 11)
    let small = Array(plain[..<3000])
    for (coding, coded) in codings(small) {
      for _ in 0..<1000 {
        var input = coded
        input[random.next(below: input.count)] = UInt8(truncatingIfNeeded: random.next())
        let (bytes, progress) = ContentDecoder.decoded(input, coding, limit: 100_000)
        #expect((bytes == nil) == (progress != .ok) || progress == .corrupt || bytes == nil)
        #expect((bytes?.count ?? 0) <= 100_000)
      }
    }
  }
}
