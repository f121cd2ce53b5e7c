// Answers that are not those of a model, for tests that bytes pass unchanged: the echo of a request, and bodies of any
// size, status, coding and fields.
import Foundation
import HTTPEndpoint
import HTTPMessage
import TextForms

extension ProviderSimulator {
  /// How many bytes of a generated body are sent before the client's pace is checked again.
  static let pieceSize = 65_536
  /// While more bytes than this wait for the client, the simulator waits too.
  static let pendingLimit = 262_144

  func answerRaw(_ call: SimulatedCall) {
    var fields: [(name: String, value: String)] = []
    fields.append(("content-type", call.directives.contentType ?? "application/json"))
    fields += answerFields(call)
    let status = call.directives.status ?? 200
    if let count = call.directives.bodyBytes, !call.directives.isEcho, !call.directives.isGzip {
      if !call.directives.isChunked { fields.append(("content-length", String(count))) }
      begin(call, status: status, fields: fields)
      call.fillerLeft = count
      fill(call)
      return
    }
    var body: [UInt8]
    if call.directives.isEcho {
      body = Array(echo(call.exchange).utf8)
    } else if let count = call.directives.bodyBytes {
      body = Self.filler(0..<count)
    } else if status >= 400 {
      body = Array(OpenAIWire.error(type: "server_error", code: nil, message: "as ordered").utf8)
    } else {
      body = Array("{}".utf8)
    }
    if call.directives.isGzip {
      body = Gzip.encode(body)
      fields.append(("content-encoding", "gzip"))
    }
    if !call.directives.isChunked { fields.append(("content-length", String(body.count))) }
    begin(call, status: status, fields: fields)
    emit(call, body)
    complete(call)
  }

  /// Sends more of a generated body, as far as the client keeps up.
  func fill(_ call: SimulatedCall) {
    while call.fillerLeft > 0 {
      if call.exchange.isClosed { return }
      if call.exchange.pendingBytes > Self.pendingLimit {
        call.isStalled = true
        return
      }
      let count = min(call.fillerLeft, Self.pieceSize)
      emit(call, Self.filler(call.fillerAt..<call.fillerAt + count))
      call.fillerAt += count
      call.fillerLeft -= count
    }
    complete(call)
  }

  /// Byte `i` of every generated body: printable, with a period that is not a power of two.
  static func filler(_ range: Range<Int>) -> [UInt8] {
    range.map { UInt8(truncatingIfNeeded: 0x21 + $0 % 93) }
  }

  private func echo(_ exchange: any HTTPExchange) -> String {
    let fields = exchange.head.fields.pairs.map { "[\(JSONString.quoted($0.name)),\(JSONString.quoted($0.value))]" }
    return """
      {"method":\(JSONString.quoted(exchange.head.method)),"target":\(JSONString.quoted(exchange.head.target)),\
      "authority":\(JSONString.quoted(exchange.head.authority)),"version":"\(exchange.head.version.rawValue)",\
      "headers":[\(fields.joined(separator: ","))],"body_bytes":\(exchange.body.count),\
      "body_sha256":"\(Hexadecimal.text(Digest.sha256(exchange.body)))","body_base64":"\(Data(exchange.body).base64EncodedString())"}
      """
  }
}
