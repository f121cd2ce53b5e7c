// Reads one HTTP/1.1 answer from the bytes of a connection: head, then body by its framing (RFC 9112 section 6.3).
//
// Promises: strict and bounded; a body ends exactly where its framing says or the answer fails; content is handed
// out in the order it came, never more than what a call of `take` was given.
import HTTPMessage

struct AnswerReader {
  enum Event {
    case head(ResponseHead)
    case body(UnsafeBufferPointer<UInt8>)
    /// The answer is whole; what is left in the bytes does not belong to it.
    case end
    case malformed(String)
    /// All bytes were taken.
    case needsMore
  }

  private enum Phase {
    case head
    case counted(Int)
    case untilClose
    case chunkSize, chunkData(Int), chunkEnd, trailers
    case whole
  }

  private var phase = Phase.head
  private var head = ResponseHeadReader()
  private var isHeadRequest = false
  /// A line of which only the beginning came.
  private var pending: [UInt8] = []
  private var trailerBytes = 0
  /// Nothing in the head forbids another request on this connection.
  private(set) var keepsAlive = false
  private(set) var headComplete = false

  /// Any byte of the answer was seen.
  var hasBegun: Bool { head.hasBegun || !pending.isEmpty }

  mutating func reset(isHeadRequest: Bool) {
    phase = .head
    head.reset()
    self.isHeadRequest = isHeadRequest
    pending.removeAll(keepingCapacity: pending.capacity <= 1024)
    trailerBytes = 0
    keepsAlive = false
    headComplete = false
  }

  /// Takes bytes from the front of `bytes` until something happened; `bytes` becomes what is left.
  mutating func next(_ bytes: inout UnsafeBufferPointer<UInt8>, maxHeaderBytes: Int) -> Event {
    while true {
      switch phase {
      case .whole: return .end
      case .counted(let left):
        guard left > 0 else {
          phase = .whole
          continue
        }
        guard !bytes.isEmpty else { return .needsMore }
        let part = takeFront(&bytes, left)
        phase = .counted(left - part.count)
        return .body(part)
      case .untilClose:
        guard !bytes.isEmpty else { return .needsMore }
        return .body(takeFront(&bytes, bytes.count))
      case .chunkData(let left):
        guard !bytes.isEmpty else { return .needsMore }
        let part = takeFront(&bytes, left)
        phase = left == part.count ? .chunkEnd : .chunkData(left - part.count)
        return .body(part)
      case .head, .chunkSize, .chunkEnd, .trailers:
        let limit = bound(maxHeaderBytes)
        guard let newline = bytes.firstIndex(of: UInt8(ascii: "\n")) else {
          pending.append(contentsOf: bytes)
          bytes = UnsafeBufferPointer(rebasing: bytes[bytes.endIndex...])
          return pending.count > limit ? .malformed("a line of the answer is too long") : .needsMore
        }
        let line = takeFront(&bytes, newline + 1)
        let event: Event?
        if pending.isEmpty {
          event = takeLine(line, maxHeaderBytes)
        } else {
          var whole: [UInt8] = []
          swap(&whole, &pending)
          whole.append(contentsOf: line)
          event = whole.withUnsafeBufferPointer { takeLine($0, maxHeaderBytes) }
        }
        if let event { return event }
      }
    }
  }

  /// The connection ended: true where that is how this answer ends.
  func mayEndHere() -> Bool {
    switch phase {
    case .untilClose, .whole: true
    default: false
    }
  }

  private func bound(_ maxHeaderBytes: Int) -> Int {
    switch phase {
    case .chunkSize, .chunkEnd: 4096
    default: maxHeaderBytes
    }
  }

  private func takeFront(_ bytes: inout UnsafeBufferPointer<UInt8>, _ count: Int) -> UnsafeBufferPointer<UInt8> {
    let size = min(count, bytes.count)
    let front = UnsafeBufferPointer(rebasing: bytes[..<size])
    bytes = UnsafeBufferPointer(rebasing: bytes[size...])
    return front
  }

  private mutating func takeLine(_ line: UnsafeBufferPointer<UInt8>, _ maxHeaderBytes: Int) -> Event? {
    switch phase {
    case .head:
      switch head.take(line, limit: maxHeaderBytes) {
      case .more: return nil
      case .malformed(let why): return .malformed(why)
      case .complete: return completeHead()
      }
    case .chunkSize: return takeChunkSize(line)
    case .chunkEnd:
      guard line.count <= 2, line.count == 1 || line[0] == UInt8(ascii: "\r") else {
        return .malformed("a chunk of the body is longer than it said")
      }
      phase = .chunkSize
      return nil
    case .trailers:
      trailerBytes += line.count
      guard trailerBytes <= maxHeaderBytes else { return .malformed("the trailers are too long") }
      if line.count == 1 || (line.count == 2 && line[0] == UInt8(ascii: "\r")) { phase = .whole }
      return nil
    default: return nil
    }
  }

  private mutating func takeChunkSize(_ line: UnsafeBufferPointer<UInt8>) -> Event? {
    var size = 0
    var digits = 0
    for byte in line {
      let value: Int
      switch byte {
      case 0x30...0x39: value = Int(byte) - 0x30
      case 0x41...0x46: value = Int(byte) - 0x41 + 10
      case 0x61...0x66: value = Int(byte) - 0x61 + 10
      default: value = -1
      }
      if value < 0 {
        // Extensions and blanks may follow the number, which must be there.
        let mayFollow = byte == 0x0D || byte == 0x0A || byte == 0x3B || byte == 0x20 || byte == 0x09
        guard digits > 0, mayFollow else { return .malformed("a chunk of the body is malformed") }
        phase = size == 0 ? .trailers : .chunkData(size)
        return nil
      }
      digits += 1
      guard digits <= 15 else { return .malformed("a chunk of the body is too large") }
      size = size << 4 | value
    }
    return .malformed("a chunk of the body is malformed")
  }

  private mutating func completeHead() -> Event {
    let minor = head.minorVersion
    let answer = head.makeHead()
    headComplete = true
    keepsAlive = minor == 1
    var length: Int?
    var codings = 0
    var isChunked = false
    let fields = answer.fields
    for index in 0..<fields.count {
      switch fields.nameBytes(at: index).count {
      case 10 where fields.nameIs("connection", at: index):
        FieldSyntax.forEachElement(fields.valueBytes(at: index)) { token in
          if FieldSyntax.equal(token, "close") { keepsAlive = false }
          if minor == 0, FieldSyntax.equal(token, "keep-alive") { keepsAlive = true }
        }
      case 14 where fields.nameIs("content-length", at: index):
        guard let value = decimal(fields.valueBytes(at: index)), length == nil || length == value else {
          return .malformed("the content length is no number")
        }
        length = value
      case 17 where fields.nameIs("transfer-encoding", at: index):
        FieldSyntax.forEachElement(fields.valueBytes(at: index)) { token in
          codings += 1
          isChunked = FieldSyntax.equal(token, "chunked")
        }
      default: break
      }
    }
    if isHeadRequest || answer.status == 204 || answer.status == 304 {
      phase = .whole
    } else if codings > 0 {
      guard codings == 1, isChunked else { return .malformed("the transfer coding is not chunked alone") }
      // Both framings at once is how answers are smuggled: nothing more may come over this connection.
      if length != nil { keepsAlive = false }
      phase = .chunkSize
    } else if let length {
      phase = .counted(length)
    } else {
      keepsAlive = false
      phase = .untilClose
    }
    return .head(answer)
  }

  private func decimal(_ bytes: ArraySlice<UInt8>) -> Int? {
    guard !bytes.isEmpty, bytes.count <= 18 else { return nil }
    var value = 0
    for byte in bytes {
      guard byte >= 0x30, byte <= 0x39 else { return nil }
      value = value * 10 + Int(byte - 0x30)
    }
    return value
  }
}
