// Hears an attempt's events, checks their order, and turns the loop until something is true.
import EventLoop
import HTTPMessage
import Testing

@testable import UpstreamHTTP

final class Recorder: UpstreamEvents {
  private(set) var head: ResponseHead?
  private(set) var body: [UInt8] = []
  private(set) var ending: UpstreamEnding?
  private(set) var violations: [String] = []
  private(set) var largestPiece = 0
  var onHead: (() -> Void)?
  var onBytes: (() -> Void)?
  var onEnd: (() -> Void)?
  /// Set by a test while it is inside `begin`, `pause`, `resume` or `cancel`, where no event may come.
  var mustBeSilent = false

  var text: String { String(decoding: body, as: UTF8.self) }
  var failure: UpstreamFailure? {
    guard case .failed(let failure) = ending else { return nil }
    return failure
  }

  private func check(_ event: String) {
    if mustBeSilent { violations.append("\(event) while silence was due") }
    if ending != nil { violations.append("\(event) after the end") }
  }

  func upstreamResponded(_ head: ResponseHead) {
    check("head")
    if self.head != nil { violations.append("second head") }
    self.head = head
    onHead?()
  }

  func upstreamReceived(_ bytes: ArraySlice<UInt8>) {
    check("bytes")
    if head == nil { violations.append("bytes before the head") }
    body += bytes
    largestPiece = max(largestPiece, bytes.count)
    onBytes?()
  }

  func upstreamEnded(_ ending: UpstreamEnding) {
    check("end")
    self.ending = ending
    onEnd?()
  }
}

/// A loop, an upstream, and how tests speak with them.
final class Bench {
  let loop: EventLoop
  let upstream: CurlUpstream

  /// With `libcurl`, providers are reached by libcurl's own transfers.
  init(libcurl: Bool = false) throws {
    loop = try EventLoop()
    upstream = try CurlUpstream(loop: loop)
    upstream.usesLibcurlAlone = libcurl
  }

  deinit { upstream.close() }

  static let timeouts = UpstreamTimeouts(
    connect: .seconds(10), firstByte: .seconds(20), idle: .seconds(20), total: .seconds(30))

  @discardableResult
  func begin(
    _ url: String, method: String = "POST", provider: String = "p", fields: [(name: String, value: String)] = [],
    body: [UInt8] = [], timeouts: UpstreamTimeouts = Bench.timeouts, events: Recorder
  ) -> any UpstreamCall {
    events.mustBeSilent = true
    defer { events.mustBeSilent = false }
    return upstream.begin(
      UpstreamRequest(
        provider: provider, method: method, url: url, fields: HeaderFields(fields), body: body, timeouts: timeouts),
      events: events)
  }

  /// Turns the loop until the condition holds; gives up, as a failed test, after 30 s.
  func turn(until condition: () -> Bool, _ location: SourceLocation = #_sourceLocation) {
    let alarm = LoopTimer(loop) {}
    let deadline = loop.now + 30_000_000_000
    while !condition() {
      guard loop.now < deadline else {
        Issue.record("the condition did not come true in 30 s", sourceLocation: location)
        return
      }
      // The other side's threads have no event in this loop.
      alarm.schedule(after: .milliseconds(5))
      loop.turn(waiting: true)
    }
  }

  /// One whole attempt.
  func run(
    _ url: String, method: String = "POST", provider: String = "p", fields: [(name: String, value: String)] = [],
    body: [UInt8] = [], timeouts: UpstreamTimeouts = Bench.timeouts, _ location: SourceLocation = #_sourceLocation
  ) -> Recorder {
    let recorder = Recorder()
    begin(url, method: method, provider: provider, fields: fields, body: body, timeouts: timeouts, events: recorder)
    turn(until: { recorder.ending != nil }, location)
    #expect(recorder.violations == [], sourceLocation: location)
    return recorder
  }
}
