// Reads one HTTP/1.1 answer from the bytes of a connection: head, then body by its framing (RFC 9112 section 6.3).
//
// Promises: bounded; a body ends exactly where its framing says, or the answer fails; content is handed out in order,
// and the result does not depend on how the bytes were split.
import HTTPMessage

public struct AnswerReader {
  public enum Event {
    case head(ResponseHead)
    /// The place of a part of the body in the bytes; at least one byte.
    case body(Range<Int>)
    /// The answer is complete; the remaining bytes do not belong to it.
    case end
    /// The answer is invalid and not passed on; the text says why, without quoting the answer.
    case malformed(String)
    /// All bytes have been taken.
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
  /// An incomplete line of the head.
  private var pending: [UInt8] = []
  /// True where the head allows another request on this connection.
  public private(set) var keepsAlive = false
  public private(set) var headComplete = false
  /// The most bytes of a line with a chunk's size.
  private static let sizeLine = 4096

  public init() {}

  /// True where any byte of the answer has come.
  public var hasBegun: Bool { head.hasBegun || !pending.isEmpty }

  /// Prepares for the answer of another call.
  /// - Parameter isHeadRequest: the request was a HEAD, whose answer has no body.
  public mutating func reset(isHeadRequest: Bool) {
    phase = .head
    head.reset()
    self.isHeadRequest = isHeadRequest
    pending.removeAll(keepingCapacity: pending.capacity <= 1024)
    keepsAlive = false
    headComplete = false
  }

  /// Takes bytes from `at` on up to the next event; `at` becomes the index of the remaining bytes.
  /// - Parameter maxHeaderBytes: the most bytes of the head; the trailers may have as many again.
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

  /// Called when the connection has ended: true where this answer ends so.
  public func mayEndHere() -> Bool {
    switch phase {
    case .untilClose, .whole: true
    case .head, .counted, .chunks: false
    }
  }

  /// Takes a complete head at once, which is the usual case. nil where it is incomplete or informational.
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

  /// Takes one line of the head; nil where more lines follow.
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
      // Both framings at once are used to smuggle answers: the connection is not used again.
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
