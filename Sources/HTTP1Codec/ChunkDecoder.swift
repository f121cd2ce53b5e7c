// Decodes the chunked transfer coding (RFC 9112 section 7.1) in pieces of any size: strictly for requests, and for
// answers as leniently as providers need. Extensions and trailers are bounded and dropped.
//
// Promises: the result does not depend on how the bytes were split; data is handed out in order; no memory is reserved
// for an announced size.
import HTTPMessage
import TextForms

public struct ChunkDecoder {
  /// What is refused, and how many bytes besides the data are accepted.
  enum Rules: Equatable {
    /// Lines end with CR LF, extensions and trailers are well-formed, and both together have at most `overhead` bytes.
    case request(bodyLimit: Int, overhead: Int)
    /// A line may end with LF alone, and extensions and trailers are ignored. A line with a size has at most `sizeLine`
    /// bytes, the trailers at most `trailers`.
    case answer(sizeLine: Int, trailers: Int)
  }

  /// What comes next in the bytes.
  enum Event: Equatable {
    /// A part of the body, at least one byte.
    case data(Range<Int>)
    /// The body is complete; the remaining bytes do not belong to it.
    case end
    /// All bytes have been taken.
    case needsMore
  }

  struct Flaw: Error, Equatable {
    /// As a request's refusal.
    var refusal: RequestRefusal
    /// The reason why an answer fails, without quoting it.
    var reason: String { if case .malformed(let reason) = refusal { reason } else { "the body is too large" } }
    init(_ reason: String) { refusal = .malformed(reason) }
    init(bodyLimit: Int) { refusal = .bodyTooLarge(limit: bodyLimit) }
  }

  private enum State: Equatable {
    case size(digits: Int, value: Int)
    case sizeSpace(value: Int)
    case extensions(value: Int)
    case sizeLineFeed(value: Int)
    case data(left: Int)
    case dataReturn
    case dataLineFeed
    /// A line of the trailers begins; for a request, it may be incomplete.
    case trailer
    /// Inside a line of an answer's trailers, which is ignored.
    case trailerRest
    case trailerLineFeed
    case complete
  }

  private let rules: Rules
  private let isStrict: Bool
  private var state = State.size(digits: 0, value: 0)
  /// The bytes that may still come besides the data: in requests those of extensions and trailers, in answers those of
  /// the size's line or the trailers.
  private var allowance: Int
  /// Of requests only.
  private var trailerLine: [UInt8] = []

  init(_ rules: Rules) {
    self.rules = rules
    switch rules {
    case .request(_, let overhead): (isStrict, allowance) = (true, overhead)
    case .answer(let sizeLine, _): (isStrict, allowance) = (false, sizeLine)
    }
  }

  /// Of a request.
  /// - Parameters:
  ///   - bodyLimit: bytes that the body may have.
  ///   - overhead: bytes of extensions and trailers allowed in one body.
  public init(bodyLimit: Int, overhead: Int = 16 * 1024) {
    self.init(.request(bodyLimit: bodyLimit, overhead: overhead))
  }

  public var isComplete: Bool { state == .complete }

  /// Appends the data in a request's `bytes` to `body` and returns the index behind what was read.
  public mutating func decode(_ bytes: ArraySlice<UInt8>, into body: inout [UInt8]) throws(HeadError) -> Int {
    let start = bytes.startIndex
    var at = 0
    while true {
      let event: Event
      do { event = try next(in: bytes.span, from: &at, taken: body.count) } catch {
        throw HeadError(refusal: error.refusal, target: nil)
      }
      guard case .data(let range) = event else { return start + at }
      body.append(contentsOf: bytes[start + range.lowerBound..<start + range.upperBound])
    }
  }

  /// Takes bytes from `at` on up to the next event; `at` becomes the index of the remaining bytes.
  /// - Parameter taken: the bytes of the body so far, which count towards a request's limit.
  mutating func next(in bytes: Span<UInt8>, from at: inout Int, taken: Int = 0) throws(Flaw) -> Event {
    while at < bytes.count {
      switch state {
      case .data(let left):
        let data = at..<at + min(left, bytes.count - at)
        at = data.upperBound
        state = data.count == left ? .dataReturn : .data(left: left - data.count)
        return .data(data)
      case .complete: return .end
      case .size(digits: 0, value: _) where try takeSizeLine(bytes, &at, taken): break
      case .dataReturn where bytes.isLineEnd(at):
        at += 2
        beginSize()
      default:
        try step(bytes[at], taken)
        at += 1
      }
    }
    return state == .complete ? .end : .needsMore
  }

  /// Reads a line that has only a size, of up to seven digits, and is complete in `bytes`: the usual case. Returns
  /// false where the line must be read byte by byte.
  private mutating func takeSizeLine(_ bytes: Span<UInt8>, _ at: inout Int, _ taken: Int) throws(Flaw) -> Bool {
    var (value, end) = (0, at)
    while end < min(bytes.count, at + 7), let digit = Hexadecimal.value(bytes[end]) {
      value = value << 4 | Int(digit)
      end += 1
    }
    guard end > at, bytes.isLineEnd(end), isStrict || allowance >= end - at else { return false }
    try checkSize(value, taken)
    at = end + 2
    endSizeLine(value)
    return true
  }

  private mutating func step(_ byte: UInt8, _ taken: Int) throws(Flaw) {
    switch state {
    case .size(let digits, let value):
      if let digit = Hexadecimal.value(byte) {
        guard digits < 15 else { throw Flaw("a chunk's size has too many digits") }
        if !isStrict { try spend() }
        state = .size(digits: digits + 1, value: value << 4 | Int(digit))
        return
      }
      guard digits > 0 else { throw Flaw("a chunk's size is not a hexadecimal number") }
      try endSize(byte, value, taken)
    case .sizeSpace(let value):
      try spend()
      guard byte != 0x0D else { throw Flaw("a chunk's size is followed by a space") }
      if byte != 0x20, byte != 0x09 { try endSize(byte, value, taken) }
    case .extensions(let value):
      if !isStrict, byte == 0x0A { return endSizeLine(value) }
      try spend()
      if isStrict, byte == 0x0D {
        state = .sizeLineFeed(value: value)
      } else if isStrict, !ByteSyntax.fieldValue.contains(byte) {
        throw Flaw("a chunk's extension holds a control character")
      }
    case .sizeLineFeed(let value):
      try lineFeed(byte)
      endSizeLine(value)
    case .dataReturn:
      if !isStrict, byte == 0x0A { return beginSize() }
      guard byte == 0x0D else { throw Flaw("a chunk is longer than its size says") }
      state = .dataLineFeed
    case .dataLineFeed:
      try lineFeed(byte)
      beginSize()
    case .trailer where isStrict:
      if byte == 0x0D {
        state = .trailerLineFeed
      } else {
        try spend()
        trailerLine.append(byte)
      }
    case .trailerLineFeed where isStrict:
      try lineFeed(byte)
      if trailerLine.isEmpty {
        state = .complete
      } else {
        do { _ = try FieldLine(trailerLine.span, 0..<trailerLine.count, .strict) } catch { throw Flaw(error.reason) }
        trailerLine = []
        state = .trailer
      }
    case .trailer, .trailerLineFeed:
      try spend()
      state = byte == 0x0A ? .complete : byte == 0x0D && state == .trailer ? .trailerLineFeed : .trailerRest
    case .trailerRest:
      try spend()
      if byte == 0x0A { state = .trailer }
    case .data, .complete: break
    }
  }

  private mutating func beginSize() {
    if case .answer(let sizeLine, _) = rules { allowance = sizeLine }
    state = .size(digits: 0, value: 0)
  }

  private func checkSize(_ value: Int, _ taken: Int) throws(Flaw) {
    if case .request(let bodyLimit, _) = rules, value > bodyLimit - taken { throw Flaw(bodyLimit: bodyLimit) }
  }

  private mutating func endSize(_ byte: UInt8, _ value: Int, _ taken: Int) throws(Flaw) {
    try checkSize(value, taken)
    switch byte {
    case 0x0A where !isStrict: endSizeLine(value)
    case 0x0D where isStrict: state = .sizeLineFeed(value: value)
    case UInt8(ascii: ";"): state = .extensions(value: value)
    case 0x20, 0x09: state = isStrict ? .sizeSpace(value: value) : .extensions(value: value)
    case 0x0D: state = .extensions(value: value)
    default: throw Flaw("a chunk's size is not a hexadecimal number")
    }
  }

  private mutating func endSizeLine(_ value: Int) {
    if value == 0, case .answer(_, let trailers) = rules { allowance = trailers }
    state = value == 0 ? .trailer : .data(left: value)
  }

  private mutating func spend() throws(Flaw) {
    allowance -= 1
    if allowance < 0 { throw Flaw("the extensions and trailers of the chunked body are too long") }
  }

  private func lineFeed(_ byte: UInt8) throws(Flaw) {
    guard byte == 0x0A else { throw Flaw("a line of the chunked body does not end with CR LF") }
  }
}

extension Span<UInt8> {
  /// True where CR and LF are at this index.
  fileprivate func isLineEnd(_ at: Int) -> Bool { at + 1 < count && self[at] == 0x0D && self[at + 1] == 0x0A }
}
