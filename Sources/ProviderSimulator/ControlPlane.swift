// The simulator's own routes under /sim/: counts, the log of calls, scheduled faults, reset.
import Foundation
import HTTPMessage

/// The body of `POST /sim/faults`.
private struct FaultOrder: Decodable {
  var fault: String
  var after_ms: Int?
  var for_ms: Int?
  var times: Int?
  var key: String?
  var model: String?
  var path: String?
  var retry_after: Int?
}

extension ProviderSimulator {
  func control(_ exchange: any HTTPExchange) {
    switch (exchange.head.method, exchange.head.path) {
    case ("GET", "/sim/health"):
      reply(exchange, 200, "{\"status\":\"ok\"}")
    case ("GET", "/sim/stats"):
      reply(exchange, 200, statisticsJSON)
    case ("GET", "/sim/calls"):
      reply(exchange, 200, "{\"calls\":[" + statistics.records.map(\.json).joined(separator: ",") + "]}")
    case ("POST", "/sim/reset"):
      reset()
      reply(exchange, 200, "{}")
    case ("DELETE", "/sim/faults"):
      faults.clear()
      reply(exchange, 200, "{}")
    case ("POST", "/sim/faults"):
      order(exchange)
    default:
      let routes = "GET /sim/{health,stats,calls}, POST /sim/{faults,reset}, DELETE /sim/faults"
      reply(exchange, 404, "{\"error\":\"no such route; there are \(routes)\"}")
    }
  }

  private func order(_ exchange: any HTTPExchange) {
    guard let order = try? JSONDecoder().decode(FaultOrder.self, from: Data(exchange.body)),
      let fault = Fault(rawValue: order.fault)
    else {
      let names = Fault.allCases.map(\.rawValue).joined(separator: ", ")
      reply(exchange, 400, "{\"error\":\"fault must be one of: \(names)\"}")
      return
    }
    let from = time.now &+ Self.nanoseconds(order.after_ms ?? 0)
    faults.add(
      ScheduledFault(
        fault: fault, from: from, until: order.for_ms.map { from &+ Self.nanoseconds($0) } ?? .max,
        remaining: order.times, key: order.key, model: order.model, pathPrefix: order.path,
        retryAfter: order.retry_after))
    reply(exchange, 200, "{\"from_ns\":\(from)}")
  }

  /// Converts milliseconds, limited to a year.
  private static func nanoseconds(_ milliseconds: Int) -> UInt64 {
    UInt64(min(max(0, milliseconds), 31_536_000_000)) * 1_000_000
  }

  private func reply(_ exchange: any HTTPExchange, _ status: Int, _ json: String) {
    exchange.respond(status: status, fields: [("content-type", "application/json")], body: Array(json.utf8))
  }
}
