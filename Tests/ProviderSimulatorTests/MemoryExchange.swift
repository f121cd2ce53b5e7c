// An exchange and a clock in memory, for tests of the simulator without sockets.
import HTTPMessage

@testable import ProviderSimulator

/// Time that stands still until a test moves it.
final class ManualTime: SimulatorTime {
  private(set) var now: UInt64 = 1_000_000_000
  var wallSeconds: Double { 1_795_000_000 + Double(now) / 1e9 }
  var rang: (() -> Void)?
  private(set) var alarm: UInt64?

  func setAlarm(at deadline: UInt64) { alarm = deadline }

  /// Moves to each alarm in turn, and at last by the rest of `milliseconds`.
  func advance(milliseconds: Int) {
    let end = now + UInt64(milliseconds) * 1_000_000
    while let next = alarm, next <= end {
      now = max(now, next)
      alarm = nil
      rang?()
    }
    now = end
  }
}

/// Records the answer; the client may leave or read slowly.
final class MemoryExchange: HTTPExchange {
  let head: RequestHead
  let body: [UInt8]
  var context: AnyObject?
  var connectionContext: AnyObject?
  var pendingBytes = 0
  var isClosed = false
  let peer = "memory"
  /// While true, bytes that are sent count as pending.
  var isSlow = false
  private(set) var response: ResponseHead?
  private(set) var received: [UInt8] = []
  private(set) var isFinished = false
  private(set) var isAborted = false

  init(_ method: String, _ target: String, fields: [(name: String, value: String)] = [], body: String = "") {
    head = RequestHead(method: method, target: target, fields: HeaderFields(fields))
    self.body = Array(body.utf8)
  }

  var status: Int? { response?.status }
  var text: String { String(decoding: received, as: UTF8.self) }
  func field(_ name: String) -> String? { response?.fields.first(named: name) }
  /// Payloads of the `data:` lines.
  var frames: [String] {
    text.split(separator: "\n").filter { $0.hasPrefix("data: ") }.map { String($0.dropFirst(6)) }
  }

  func releaseBody() {}
  func respond(_ head: ResponseHead) { response = head }
  func send(_ bytes: ArraySlice<UInt8>) {
    received += bytes
    if isSlow { pendingBytes += bytes.count }
  }
  func finish(trailers: HeaderFields?) {
    isFinished = true
    isClosed = true
  }
  func abort() {
    isAborted = true
    isClosed = true
  }
}

/// A simulator with its clock, and calls made against it.
struct Bench {
  let time = ManualTime()
  let simulator: ProviderSimulator

  init(_ change: (inout SimulatorConfiguration) -> Void = { _ in }) {
    var configuration = SimulatorConfiguration()
    configuration.firstToken = .milliseconds(10)
    configuration.outputTokens = 10...10
    change(&configuration)
    simulator = ProviderSimulator(configuration, time: time)
  }

  @discardableResult
  func call(
    _ method: String, _ target: String, _ fields: [(name: String, value: String)] = [], body: String = ""
  ) -> MemoryExchange {
    let exchange = MemoryExchange(method, target, fields: fields, body: body)
    simulator.exchangeBegan(exchange)
    if !exchange.isClosed { simulator.exchangeReady(exchange) }
    return exchange
  }

  func chat(_ more: String = "", _ fields: [(name: String, value: String)] = []) -> MemoryExchange {
    let body = "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"12345678\"}]\(more)}"
    return call("POST", "/v1/chat/completions", fields, body: body)
  }

  func message(_ more: String = "", _ fields: [(name: String, value: String)] = []) -> MemoryExchange {
    let body =
      "{\"model\":\"m\",\"max_tokens\":1000,\"messages\":[{\"role\":\"user\",\"content\":\"12345678\"}]\(more)}"
    return call("POST", "/v1/messages", [("anthropic-version", "2023-06-01")] + fields, body: body)
  }

  func leave(_ exchange: MemoryExchange) {
    exchange.isClosed = true
    simulator.exchangeEnded(exchange, .clientLeft)
  }

  /// A number of `/sim/stats`, by path: `refused.concurrency`.
  func stat(_ path: String) -> Double? { Document(call("GET", "/sim/stats").text)?.number(path) }
}
