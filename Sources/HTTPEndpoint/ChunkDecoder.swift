// The chunked transfer coding of request bodies (RFC 9112 section 7.1), in pieces of any size. Extensions and trailers
// are checked, bounded and dropped.
import HTTPMessage
import TextForms

struct ChunkDecoder {
  private enum State {
    case size(digits: Int, value: Int)
    case sizeSpace(value: Int)
    case extensions(value: Int)
    case sizeLineFeed(value: Int)
    case data(left: Int)
    case dataReturn
    case dataLineFeed
    case trailer
    case trailerLineFeed
    case complete
  }
  private var state = State.size(digits: 0, value: 0)
  /// Bytes of extensions and trailers still allowed.
  private var allowance: Int
  private var trailerLine: [UInt8] = []
  private let bodyLimit: Int

  /// `overhead`: bytes of extensions and trailers allowed in one body.
  init(bodyLimit: Int, overhead: Int = 16 * 1024) {
    self.bodyLimit = bodyLimit
    allowance = overhead
  }

  var isComplete: Bool { if case .complete = state { true } else { false } }

  /// Appends the data in `bytes` to `body` and returns the index behind what was read.
  mutating func decode(_ bytes: ArraySlice<UInt8>, into body: inout [UInt8]) throws(HeadError) -> Int {
    var at = bytes.startIndex
    let end = bytes.endIndex
    while at < end {
      if case .data(let left) = state {
        let taken = min(left, end - at)
        body.append(contentsOf: bytes[at..<at + taken])
        at += taken
        state = taken == left ? .dataReturn : .data(left: left - taken)
        continue
      }
      if case .complete = state { return at }
      try step(bytes[at], bodyCount: body.count)
      at += 1
    }
    return at
  }

  private mutating func step(_ byte: UInt8, bodyCount: Int) throws(HeadError) {
    switch state {
    case .size(let digits, let value):
      if let digit = Hexadecimal.value(byte) {
        guard digits < 15 else { throw Self.malformed("a chunk's size has too many digits") }
        state = .size(digits: digits + 1, value: value << 4 | Int(digit))
        return
      }
      guard digits > 0 else { throw Self.malformed("a chunk's size is not a hexadecimal number") }
      try endSize(byte, value: value, bodyCount: bodyCount)
    case .sizeSpace(let value):
      try spend()
      guard byte != 0x0D else { throw Self.malformed("a chunk's size is followed by a space") }
      if byte != 0x20, byte != 0x09 { try endSize(byte, value: value, bodyCount: bodyCount) }
    case .extensions(let value):
      try spend()
      if byte == 0x0D {
        state = .sizeLineFeed(value: value)
      } else if !ByteSyntax.fieldValue[Int(byte)] {
        throw Self.malformed("a chunk's extension holds a control character")
      }
    case .sizeLineFeed(let value):
      try lineFeed(byte)
      state = value == 0 ? .trailer : .data(left: value)
    case .dataReturn:
      guard byte == 0x0D else { throw Self.malformed("a chunk is longer than its size says") }
      state = .dataLineFeed
    case .dataLineFeed:
      try lineFeed(byte)
      state = .size(digits: 0, value: 0)
    case .trailer:
      if byte == 0x0D {
        state = .trailerLineFeed
      } else {
        try spend()
        trailerLine.append(byte)
      }
    case .trailerLineFeed:
      try lineFeed(byte)
      if trailerLine.isEmpty {
        state = .complete
      } else {
        _ = try RequestHeadParser.field(trailerLine[...], target: nil)
        trailerLine = []
        state = .trailer
      }
    case .data, .complete: break
    }
  }

  private mutating func endSize(_ byte: UInt8, value: Int, bodyCount: Int) throws(HeadError) {
    guard value <= bodyLimit - bodyCount else { throw HeadError(refusal: .bodyTooLarge(limit: bodyLimit), target: nil) }
    switch byte {
    case 0x0D: state = .sizeLineFeed(value: value)
    case UInt8(ascii: ";"): state = .extensions(value: value)
    case 0x20, 0x09: state = .sizeSpace(value: value)
    default: throw Self.malformed("a chunk's size is not a hexadecimal number")
    }
  }

  private mutating func spend() throws(HeadError) {
    allowance -= 1
    if allowance < 0 { throw Self.malformed("the extensions and trailers of the chunked body are too long") }
  }

  private func lineFeed(_ byte: UInt8) throws(HeadError) {
    guard byte == 0x0A else { throw Self.malformed("a line of the chunked body does not end with CR LF") }
  }

  private static func malformed(_ reason: String) -> HeadError { HeadError(refusal: .malformed(reason), target: nil) }
}
