// HTTP/1.1 in both directions. Wherever the bytes are cut, the same is read; a head that is taken of a client can be sent on, and says the
// same there.
import HTTPMessage

@testable import HTTP1Codec

enum HTTP1Reading {
  /// The first byte says whose bytes the others are: a client's, an answer's, or that of an answer to HEAD.
  static func flaw(in bytes: [UInt8]) -> String? {
    guard let first = bytes.first else { return nil }
    let rest = Array(bytes.dropFirst())
    switch first % 3 {
    case 0:
      var sent: String?
      let difference = Cuts.difference(rest) { pieces in
        let reading = ClientReading(pieces)
        sent = sent ?? reading.unsendable
        return reading
      }
      return difference ?? sent
    case 1: return Cuts.difference(rest) { AnswerReading($0, isHead: false) }
    default: return Cuts.difference(rest) { AnswerReading($0, isHead: true) }
    }
  }
}

/// What a client's bytes say, read as a session reads them.
private struct ClientReading: Equatable {
  private enum Next {
    case head
    case body(left: Int)
    case chunks(ChunkDecoder)
    case nothing
  }
  private static let headLimit = 400
  private static let bodyLimit = 300

  var heads: [String] = []
  var bodies: [[UInt8]] = []
  var refusal: RequestRefusal?
  /// Why a head that was taken cannot be sent on; nil where each can.
  var unsendable: String?

  init(_ pieces: [ArraySlice<UInt8>]) {
    var kept: [UInt8] = []
    var scan = HeadScan()
    var next = Next.head
    for piece in pieces {
      kept += piece
      reading: while refusal == nil {
        switch next {
        case .nothing: break reading
        case .head:
          switch scan.look(in: kept.span, limit: Self.headLimit) {
          case .incomplete: break reading
          case .refused(let why): refusal = why
          case .complete(let length):
            scan = HeadScan()
            next = take(Array(kept[..<length]))
            kept.removeFirst(length)
          }
        case .body(let left):
          guard !kept.isEmpty else { break reading }
          let count = min(left, kept.count)
          bodies[bodies.count - 1] += kept[..<count]
          kept.removeFirst(count)
          next = left == count ? .head : .body(left: left - count)
        case .chunks(var decoder):
          guard !kept.isEmpty else { break reading }
          do throws(HeadError) {
            kept.removeFirst(try decoder.decode(kept[...], into: &bodies[bodies.count - 1]))
            next = decoder.isComplete ? .head : .chunks(decoder)
          } catch { refusal = error.refusal }
        }
      }
    }
  }

  private mutating func take(_ block: [UInt8]) -> Next {
    let parsed: ParsedRequestHead
    do throws(HeadError) { parsed = try RequestHeadParser(maxFields: 8).parse(block) } catch {
      refusal = error.refusal
      return .nothing
    }
    let head = parsed.head
    heads.append(
      "\(head.method) \(head.target) \(head.authority) \(head.version) \(parsed.framing) \(parsed.keepsAlive) "
        + "\(parsed.expectsContinue) \(parsed.acceptsTrailers) \(head.fields.pairs)")
    bodies.append([])
    unsendable = unsendable ?? Self.whyUnsendable(parsed)
    switch parsed.framing {
    case .none: return .head
    case .length(let length):
      if length > Self.bodyLimit { refusal = .bodyTooLarge(limit: Self.bodyLimit) }
      return .body(left: length)
    case .chunked: return .chunks(ChunkDecoder(bodyLimit: Self.bodyLimit, overhead: 64))
    }
  }

  private static func whyUnsendable(_ parsed: ParsedRequestHead) -> String? {
    let head = parsed.head
    var length: Int?
    if case .length(let count) = parsed.framing { length = count }
    let text = RequestHeadWriter.write(
      method: head.method, target: head.target, host: head.authority, fields: head.fields, contentLength: length)
    guard let text else { return "a head that was taken cannot be written: \(head)" }
    do throws(HeadError) {
      let again = try RequestHeadParser(maxFields: 16).parse(text)
      let kept = { (fields: HeaderFields) in
        (0..<fields.count).filter { !RequestHeadWriter.isMadeHere(fields, $0) }
          .map { [Array(fields.nameBytes(at: $0)), Array(fields.valueBytes(at: $0))] }
      }
      let isSame =
        again.head.method == head.method && again.head.target == head.target && again.head.authority == head.authority
        && kept(again.head.fields) == kept(head.fields)
      return isSame ? nil : "sent on, \(head) reads \(again.head)"
    } catch { return "sent on, \(head) is refused: \(error)" }
  }
}

/// What an answer's bytes say.
private struct AnswerReading: Equatable {
  var heads: [String] = []
  var body: [UInt8] = []
  var isMalformed = false
  /// Bytes behind the answer's end; nil where it did not end.
  var left: Int?
  var keepsAlive = false
  var mayEndHere = false

  init(_ pieces: [ArraySlice<UInt8>], isHead: Bool) {
    var reader = AnswerReader()
    reader.reset(isHeadRequest: isHead)
    for piece in pieces where !isMalformed {
      if let left {
        self.left = left + piece.count
        continue
      }
      let bytes = Array(piece)
      var at = 0
      reading: while true {
        switch reader.next(bytes, from: &at, maxHeaderBytes: 400) {
        case .needsMore: break reading
        case .head(let head): heads.append("\(head.status) \(head.fields.pairs)")
        case .body(let part): body += bytes[part]
        case .malformed:
          isMalformed = true
          break reading
        case .end:
          left = bytes.count - at
          break reading
        }
      }
    }
    keepsAlive = reader.keepsAlive
    mayEndHere = reader.mayEndHere()
  }
}
