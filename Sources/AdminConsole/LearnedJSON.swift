// What the broker has learned from others, as `learned` in `GET /api/v1/status`: whole numbers with a unit, from what, and
// since when.
import AdmissionCore
import BrokerEngine
import TextForms

enum LearnedJSON {
  static func members(_ json: inout JSONWriter, _ snapshot: BrokerSnapshot) {
    let learned = snapshot.learned
    json.key("learned")
    json.array(learned.values) { json, value in
      json.object { json in
        json.member("provider", value.provider.name)
        json.member("what", name(value.what))
        json.member("model", value.model)
        json.member("key", value.key?.name)
        let (number, unit) = amount(value, snapshot.clock)
        json.member("value", number)
        json.member("unit", unit)
        json.member("from", text(value.source))
        if case .usage(let calls, let stored) = value.source {
          json.member("calls", calls)
          json.member("stored_calls", stored)
        }
        json.member("since", time: snapshot.clock.wallNanoseconds(value.since))
      }
    }
    json.member("learned_left_out", learned.leftOut)
  }

  /// A limit in the row of what it holds for.
  static func limit(
    _ json: inout JSONWriter, _ limit: AdmissionSnapshot.Learned, of provider: ProviderID, _ clock: SnapshotClock
  ) {
    let value = LearnedValue(
      provider: provider, model: limit.model, key: limit.key, what: LearnedValue.What(limit.quantity),
      value: limit.value, source: LearnedValue.Source(limit.source), since: limit.since)
    json.object { json in
      json.member("what", name(value.what))
      let (number, unit) = amount(value, clock)
      json.member("value", number)
      json.member("unit", unit)
      json.member("from", text(value.source))
      json.member("since", time: clock.wallNanoseconds(value.since))
    }
  }

  private static func name(_ what: LearnedValue.What) -> String {
    switch what {
    case .concurrency: "concurrency"
    case .perMinute(let dimension): dimension.name + "_per_minute"
    case .atOnce: "requests_at_once"
    case .dayEnd(let rate): rate.dimension.name + "_day_end"
    case .perHour(let rate): rate.dimension.name + "_per_hour"
    case .inputRatio: "input_estimate"
    case .cachedShortfall: "cached_input_shortfall"
    case .sharedPrefix: "shared_prefix"
    case .output(let priority): "output_" + priority.name
    case .duration: "duration"
    case .firstByte(let isStream): isStream ? "first_byte_stream" : "first_byte_whole"
    }
  }

  private static func amount(_ value: LearnedValue, _ clock: SnapshotClock) -> (number: Int64, unit: String) {
    func units(_ dimension: Dimension) -> String { dimension == .requests ? "requests" : "tokens" }
    /// A ratio in 1/1024, in whole parts of a hundred.
    func percent(_ ratio: Int64) -> Int64 { (ratio * 100 + 512) / 1024 }
    switch value.what {
    case .concurrency: return (value.value, "calls")
    case .perMinute(let dimension): return (value.value, units(dimension) + "/min")
    case .atOnce: return (value.value, "requests")
    case .dayEnd: return (clock.wallNanoseconds(at: UInt64(max(0, value.value))) / 1_000_000, "unix_ms")
    case .perHour(let rate): return (value.value, units(rate.dimension) + "/h")
    case .inputRatio, .cachedShortfall: return (percent(value.value), "%")
    case .sharedPrefix, .output: return (value.value, "tokens")
    case .duration, .firstByte: return (value.value / 1_000_000, "ms")
    }
  }

  static func text(_ source: LearnedValue.Source) -> String {
    switch source {
    case .headers: "rate-limit headers"
    case .storedHeaders: "rate-limit headers before the start, stored"
    case .refusals: "refusals (429) without numbers"
    case .usage(let calls, let stored):
      stored == 0
        ? "usage of \(calls) calls"
        : stored == calls
          ? "usage of \(calls) calls before the start, stored"
          : "usage of \(calls) calls, \(stored) of them before the start, stored"
    }
  }
}
