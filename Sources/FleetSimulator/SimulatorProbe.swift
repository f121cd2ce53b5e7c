// Asks the provider simulator what it counted.
import EventLoop
import Foundation
import HTTPMessage

/// The part of `/sim/stats` that tables show.
public struct ProviderCounts: Decodable, Sendable {
  public struct Tokens: Decodable, Sendable {
    public var input: Int
    public var output: Int
  }
  public struct Bucket: Decodable, Sendable {
    public var dimension: String
    public var used: Int
    public var budget: Int
    public var used_share: Double
  }
  public var calls: Int
  public var completed: Int
  public var refused_total: Int
  public var in_flight: Int
  public var peak: Int
  public var tokens: Tokens
  public var buckets: [Bucket]

  /// nil where the text is not an answer of `/sim/stats`.
  init?(text: String) {
    guard let counts = try? JSONDecoder().decode(ProviderCounts.self, from: Data(text.utf8)) else { return nil }
    self = counts
  }
}

private struct CallLog: Decodable {
  struct Call: Decodable {
    var id: String?
    var ending: String?
    var ended_ns: UInt64
  }
  var calls: [Call]
}

/// Calls the control routes of the simulator; each call has one answer.
public final class SimulatorProbe {
  private let upstream: any Upstream
  private let url: String
  private var running: [ObjectIdentifier: Reply] = [:]

  /// `url` is the simulator's, without a path.
  public init(upstream: any Upstream, url: String) {
    self.upstream = upstream
    self.url = url
  }

  /// The text of `GET /sim/stats`; nil where the simulator did not answer.
  public func statistics(_ then: @escaping (String?) -> Void) { ask("GET", "/sim/stats", then) }

  public func counts(_ then: @escaping (ProviderCounts?) -> Void) {
    statistics { text in then(text.flatMap(ProviderCounts.init(text:))) }
  }

  public func reset(_ then: @escaping (String?) -> Void) { ask("POST", "/sim/reset", then) }

  /// Compares when clients left with when the simulator noticed.
  public func departures(_ leftAt: [String: UInt64], _ then: @escaping (Departures?) -> Void) {
    ask("GET", "/sim/calls") { text in
      guard let text, let log = try? JSONDecoder().decode(CallLog.self, from: Data(text.utf8)) else { return then(nil) }
      self.statistics { stats in
        let counts = stats.flatMap(ProviderCounts.init(text:))
        then(Self.departures(leftAt, log, stillRunning: counts?.in_flight ?? 0))
      }
    }
  }

  private static func departures(_ leftAt: [String: UInt64], _ log: CallLog, stillRunning: Int) -> Departures {
    var delays = Times()
    for call in log.calls {
      guard let id = call.id, let left = leftAt[id], call.ending?.hasPrefix("left") == true else { continue }
      delays.append(call.ended_ns > left ? Double(call.ended_ns - left) / 1e6 : 0)
    }
    var result = Departures()
    result.clients = leftAt.count
    result.noticed = delays.count
    result.unnoticed = stillRunning
    result.neverSent = max(0, leftAt.count - delays.count - stillRunning)
    result.median = delays.percentile(0.5) ?? 0
    result.worst = delays.percentile(1) ?? 0
    return result
  }

  private func ask(_ method: String, _ path: String, _ then: @escaping (String?) -> Void) {
    let reply = Reply()
    reply.ended = { [unowned self] text in
      running[ObjectIdentifier(reply)] = nil
      then(text)
    }
    running[ObjectIdentifier(reply)] = reply
    let timeouts = UpstreamTimeouts(
      connect: .seconds(2), firstByte: .seconds(5), idle: .seconds(5), total: .seconds(10))
    _ = upstream.begin(
      UpstreamRequest(
        provider: Fleet.providerName, method: method, url: url + path, fields: HeaderFields(), body: [],
        timeouts: timeouts),
      events: reply)
  }
}

/// Collects one small answer.
private final class Reply: UpstreamEvents {
  var ended: ((String?) -> Void)?
  private var status = 0
  private var bytes: [UInt8] = []

  func upstreamResponded(_ head: ResponseHead) { status = head.status }
  func upstreamReceived(_ bytes: ArraySlice<UInt8>) { self.bytes += bytes }
  func upstreamEnded(_ ending: UpstreamEnding) {
    ended?(ending == .completed && status == 200 ? String(decoding: bytes, as: UTF8.self) : nil)
  }
}
