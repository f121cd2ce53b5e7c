// Counts ended calls for a collector of OpenTelemetry, in the metrics that its conventions have for generative AI, and adds
// what the broker counts anyway.
//
// Promise: names that clients choose are no properties of metrics, but for models that the policy's labels allow
// (`LabelPolicy`); each metric has a bounded number of points.
import AdmissionCore
import Telemetry

public struct CallMeter {
  private var duration = Instrument(
    "gen_ai.client.operation.duration", unit: "s", help: "How long an attempt took, from sending it to its end.",
    bounds: [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92])
  private var tokens = Instrument(
    "gen_ai.client.token.usage", unit: "{token}", help: "Tokens of an attempt, as its provider told them.",
    bounds: [
      1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262_144, 1_048_576, 4_194_304, 16_777_216, 67_108_864,
    ])
  private var firstToken = Instrument(
    "gen_ai.server.time_to_first_token", unit: "s",
    help: "From sending an attempt to the first byte of its answer, where it succeeded.",
    bounds: [
      0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    ])

  public init() {}

  /// - Parameters:
  ///   - model: the label of the call's model.
  ///   - providers: by the names of the policy.
  public mutating func ended(_ record: RequestRecord, model: String, _ providers: [String: ProviderLabels]) {
    guard record.attemptCount > 0, let operation = GenAI.operation(at: record.path) else { return }
    for attempt in record.attempts {
      guard let ended = attempt.ended else { continue }
      var attributes = [Attribute("gen_ai.operation.name", operation)]
      if let labels = providers[attempt.provider] {
        attributes += [
          Attribute("gen_ai.provider.name", labels.name), Attribute("server.address", labels.host),
          Attribute("server.port", labels.port),
        ]
      }
      attributes += [Attribute("gen_ai.request.model", model), Attribute("tollgate.provider", attempt.provider)]
      let error = GenAI.error(attempt).map { [Attribute("error.type", $0)] } ?? []
      duration.record(CallMeter.seconds(from: attempt.began, to: ended), attributes + error)
      if attempt.verdict == .success, let first = attempt.firstByte {
        firstToken.record(CallMeter.seconds(from: attempt.began, to: first), attributes)
      }
      // The conventions forbid to guess.
      guard let usage = attempt.usage, !usage.isEstimated else { continue }
      for (type, count) in [("input", usage.inputTokens), ("output", usage.outputTokens)] {
        tokens.record(Double(count.value), attributes + [Attribute("gen_ai.token.type", type)])
      }
    }
  }

  private static func seconds(from start: UInt64, to end: UInt64) -> Double {
    end > start ? Double(end - start) / 1e9 : 0
  }

  /// All metrics as they are now.
  public func metrics(_ broker: Operator) -> [Metric] {
    let load = broker.load()
    func classes<Value: Hashable & Sendable>(_ value: (Priority) -> Value) -> [Metric.Point<Value>] {
      Priority.allCases.map { Metric.Point([Attribute("tollgate.priority", $0.name)], value($0)) }
    }
    var wait = Metric(
      "tollgate.queue.wait", unit: "s", help: "Time between a call's arrival and its grant.",
      .distributions(
        classes { priority in
          let counted = broker.metrics.queueWait[Int(priority.rawValue)]
          return Distribution(bounds: counted.bounds, counts: counted.counts, sum: counted.sum)
        }))
    wait.since = broker.wallNanoseconds(at: broker.startInstant)
    return [
      duration.metric, tokens.metric, firstToken.metric, wait,
      Metric(
        "tollgate.queue.depth", unit: "{call}", help: "Calls that wait.",
        .levels(classes { load.queuedByBand[Int($0.rawValue)] })),
      Metric(
        "tollgate.calls.in_flight", unit: "{call}", help: "Calls that run at providers.",
        .levels(load.inFlight.map { Metric.Point([Attribute("tollgate.provider", $0.provider.name)], $0.calls) })),
    ].filter { $0.pointCount > 0 }
  }
}

extension Operator {
  /// How many calls wait and run.
  public func load() -> AdmissionLoad { services.dispatcher.load() }
  /// The model's name as metrics have it.
  public func label(ofModel name: String) -> String { services.counters.label(ofModel: name) }
  /// Continues clients' traces and begins new ones; nil where no collector is told.
  public var tracer: Tracer? {
    get { services.tracer }
    set { services.tracer = newValue }
  }
}
