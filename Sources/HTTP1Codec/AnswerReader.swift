// Reads one HTTP/1.1 answer from the bytes of a connection: head, then body by its framing (RFC 9112 section 6.3).
//
// Promises: bounded; a body ends exactly where its framing says or the answer fails; content is handed out in the order it came, and
// where the bytes were split makes no difference.
import HTTPMessage

public struct AnswerReader {
  public enum Event {
    case head(ResponseHead)
    /// Where in the bytes a part of the body lies, at least one byte.
    case body(Range<Int>)
    /// The answer is whole; what is left in the bytes does not belong to it.
    case end
    /// Not an answer that we pass on; the text says why and holds nothing of it.
    case malformed(String)
    /// All bytes were taken.
    case needsMore
  }

  private enum Phase {
    case head
    case counted(Int)
    case untilClose
    case chunks
    case whole
  }

  private var phase = Phase.head
  private var head = ResponseHeadReader()
  private var chunks = ChunkDecoder(.answer(sizeLine: 0, trailers: 0))
  private var isHeadRequest = false
  /// A line of the head of which only the beginning came.
  private var pending: [UInt8] = []
  /// Nothing in the head forbids another request on this connection.
  public private(set) var keepsAlive = false
  public private(set) var headComplete = false
  /// Bytes that a line with a chunk's size may have.
  private static let sizeLine = 4096

  public init() {}

  /// Any byte of the answer was seen.
  public var hasBegun: Bool { head.hasBegun || !pending.isEmpty }

  /// Ready for another call's answer.
  /// - Parameter isHeadRequest: the request was a HEAD, whose answer has no body.
  public mutating func reset(isHeadRequest: Bool) {
    phase = .head
    head.reset()
    self.isHeadRequest = isHeadRequest
    pending.removeAll(keepingCapacity: pending.capacity <= 1024)
    keepsAlive = false
    headComplete = false
  }

  /// Takes bytes from `at` on until something happened; `at` becomes the index of what is left.
  /// - Parameter maxHeaderBytes: bytes that the head may have, and the trailers as many again.
  public mutating func next(_ bytes: [UInt8], from at: inout Int, maxHeaderBytes: Int) -> Event {
    while true {
      switch phase {
      case .whole: return .end
      case .counted(let left):
        guard left > 0 else {
          phase = .whole
          continue
        }
        guard at < bytes.count else { return .needsMore }
        let part = at..<at + min(left, bytes.count - at)
        at = part.upperBound
        phase = .counted(left - part.count)
        return .body(part)
      case .untilClose:
        guard at < bytes.count else { return .needsMore }
        let part = at..<bytes.count
        at = part.upperBound
        return .body(part)
      case .chunks:
        do throws(ChunkDecoder.Flaw) {
          switch try chunks.next(in: bytes.span, from: &at) {
          case .data(let part): return .body(part)
          case .needsMore: return .needsMore
          case .end: phase = .whole
          }
        } catch { return .malformed(error.reason) }
      case .head:
        guard let event = takeHead(bytes, from: &at, maxHeaderBytes) ?? takeLine(bytes, from: &at, maxHeaderBytes)
        else { continue }
        return event
      }
    }
  }

  /// The connection ended: true where that is how this answer ends.
  public func mayEndHere() -> Bool {
    switch phase {
    case .untilClose, .whole: true
    case .head, .counted, .chunks: false
    }
  }

  /// The whole head, where it is all here: mostly it is. Nil where it is not, or is an informational one.
  private mutating func takeHead(_ bytes: [UInt8], from at: inout Int, _ limit: Int) -> Event? {
    guard pending.isEmpty, !head.isAmongFields, let end = bytes.span.endOfHead(from: at) else { return nil }
    let block = Array(bytes[at..<end])
    at = end
    switch head.take(whole: block, limit: limit) {
    case .more: return nil
    case .malformed(let why): return .malformed(why)
    case .complete: return completeHead(maxHeaderBytes: limit)
    }
  }

  /// Nil where the line is one of more.
  private mutating func takeLine(_ bytes: [UInt8], from at: inout Int, _ limit: Int) -> Event? {
    guard let newline = bytes.span.firstIndex(of: UInt8(ascii: "\n"), from: at) else {
      pending.append(contentsOf: bytes[at...])
      at = bytes.count
      return pending.count > limit ? .malformed("a line of the answer is too long") : .needsMore
    }
    var line = bytes[at...newline]
    at = newline + 1
    if !pending.isEmpty {
      line = pending[...] + line
      pending = []
    }
    switch head.take(line, limit: limit) {
    case .more: return nil
    case .malformed(let why): return .malformed(why)
    case .complete: return completeHead(maxHeaderBytes: limit)
    }
  }

  private mutating func completeHead(maxHeaderBytes: Int) -> Event {
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
        guard let value = ByteSyntax.decimal(fields.valueBytes(at: index)), length == nil || length == value else {
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
      chunks = ChunkDecoder(.answer(sizeLine: Self.sizeLine, trailers: maxHeaderBytes))
      phase = .chunks
    } else if let length {
      phase = .counted(length)
    } else {
      keepsAlive = false
      phase = .untilClose
    }
    return .head(answer)
  }
}
