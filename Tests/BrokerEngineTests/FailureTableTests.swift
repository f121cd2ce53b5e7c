// Each row of docs/reference/failures.md: what the client gets where a transport breaks and nothing can be tried again.
import Foundation
import HTTPMessage
import Testing

@testable import BrokerEngine

@Suite struct FailureTableTests {
  struct Row: Sendable, CustomTestStringConvertible {
    var kind: UpstreamFailure.Kind
    var status: Int
    var text: String
    var testDescription: String { kind.rawValue }
  }

  static let rows: [Row] = [
    Row(kind: .connectRefused, status: 502, text: "could not be reached: the connection was refused"),
    Row(kind: .resolveFailed, status: 502, text: "could not be reached: its name does not resolve"),
    Row(kind: .connectTimedOut, status: 504, text: "could not be reached: connecting took too long"),
    Row(kind: .tlsFailed, status: 502, text: "could not be reached: the TLS handshake failed"),
    Row(kind: .proxyFailed, status: 502, text: "could not be reached through the proxy"),
    Row(kind: .resetBeforeResponse, status: 502, text: "closed the connection before it answered"),
    Row(kind: .firstByteTimedOut, status: 504, text: "did not begin to answer in time"),
    Row(kind: .truncated, status: 502, text: "broke off its answer"),
    Row(kind: .idleTimedOut, status: 504, text: "fell silent in the middle of its answer"),
    Row(kind: .totalTimedOut, status: 504, text: "did not finish its answer in time"),
    Row(kind: .malformedResponse, status: 502, text: "sent something that is not HTTP"),
    Row(kind: .local, status: 502, text: "was not called: the broker is out of resources"),
  ]

  @Test(arguments: rows) func withoutARetryTheClientReadsWhatBroke(row: Row) throws {
    let rig = Rig { $0.providers[0].retry.attempts = 1 }
    let client = rig.send()
    rig.upstream.calls[0].fail(row.kind)
    #expect(client.answer?.status == row.status)
    #expect(client.text.contains(row.text))
    #expect(rig.ended.first?.outcome == .failedUpstream)
    #expect(rig.ended.first?.attempts.first?.failure == row.kind.rawValue)
    let table = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appending(path: "docs/reference/failures.md")
    let text = try String(decoding: Data(contentsOf: table), as: UTF8.self)
    #expect(text.contains(row.text), "docs/reference/failures.md does not say \"\(row.text)\"")
  }

  /// After the head nothing is tried again: the answer breaks off.
  @Test(arguments: [UpstreamFailure.Kind.truncated, .idleTimedOut, .totalTimedOut, .malformedResponse])
  func afterTheHeadTheAnswerBreaksOff(kind: UpstreamFailure.Kind) {
    let rig = Rig()
    let client = rig.send()
    rig.upstream.calls[0].respond(200, [("content-type", "application/json")], ["{"], ends: false)
    rig.upstream.calls[0].fail(kind)
    #expect(client.answer?.status == 200)
    #expect(rig.ended.first?.outcome == .truncated)
    #expect(rig.upstream.calls.count == 1)
  }
}
