// Writes spans and metrics in the JSON form of OTLP: ids in hexadecimal, whole numbers of 64 bits as texts, kinds as numbers.
//
// Promise: the text is JSON whatever the names in it contain.
import TextForms

/// Whose spans and metrics they are.
public struct TelemetrySource: Hashable, Sendable {
  /// The conventions that names follow.
  public static let schema = "https://opentelemetry.io/schemas/1.41.0"

  public var version: String
  /// Different for each process.
  public var instance: String
  public init(version: String, instance: String) {
    self.version = version
    self.instance = instance
  }

  var resource: [Attribute] {
    [
      Attribute("service.name", "tollgate"), Attribute("service.version", version),
      Attribute("service.instance.id", instance),
    ]
  }
}

public enum TelemetryJSON {
  /// The body of a request to `/v1/traces`.
  public static func traces(_ spans: [TraceSpan], of source: TelemetrySource) -> [UInt8] {
    var json = JSONWriter(reserving: 1_024 + spans.count * 1_024)
    document("resourceSpans", "scopeSpans", "spans", of: source, &json) { json in
      json.array(spans) { write($1, to: &$0) }
    }
    return json.bytes
  }

  /// The body of a request to `/v1/metrics`. Sums are those since the start.
  /// - Parameters:
  ///   - start: since when it was counted, in nanoseconds since 1970.
  ///   - now: the same.
  public static func metrics(_ metrics: [Metric], since start: Int64, now: Int64, of source: TelemetrySource) -> [UInt8]
  {
    var json = JSONWriter(reserving: 16 << 10)
    document("resourceMetrics", "scopeMetrics", "metrics", of: source, &json) { json in
      json.array(metrics) { write($1, since: start, now: now, to: &$0) }
    }
    return json.bytes
  }

  private static func document(
    _ outer: StaticString, _ scoped: StaticString, _ items: StaticString, of source: TelemetrySource,
    _ json: inout JSONWriter, _ write: (inout JSONWriter) -> Void
  ) {
    json.object { json in
      json.key(outer)
      json.array(CollectionOfOne(())) { json, _ in
        json.object { json in
          json.object("resource") { attributes(source.resource, to: &$0) }
          json.key(scoped)
          json.array(CollectionOfOne(())) { json, _ in
            json.object { json in
              json.object("scope") { json in
                json.member("name", "tollgate")
                json.member("version", source.version)
              }
              json.key(items)
              write(&json)
              json.member("schemaUrl", TelemetrySource.schema)
            }
          }
          json.member("schemaUrl", TelemetrySource.schema)
        }
      }
    }
  }

  private static func write(_ span: TraceSpan, to json: inout JSONWriter) {
    json.object { json in
      json.member("traceId", span.trace.text)
      json.member("spanId", span.id.text)
      if !span.state.isEmpty { json.member("traceState", span.state) }
      if let parent = span.parent { json.member("parentSpanId", parent.text) }
      // Sampled; whether the parent is known to be remote; whether it is.
      json.member("flags", 0x101 | (span.parentIsRemote ? 0x200 : 0))
      json.member("name", span.name)
      json.member("kind", span.kind.rawValue)
      json.member("startTimeUnixNano", String(span.start))
      json.member("endTimeUnixNano", String(span.end))
      attributes(span.attributes, to: &json)
      if !span.events.isEmpty {
        json.key("events")
        json.array(span.events) { json, event in
          json.object { json in
            json.member("timeUnixNano", String(event.at))
            json.member("name", event.name)
          }
        }
      }
      if let error = span.error {
        json.object("status") { json in
          if !error.isEmpty { json.member("message", Attribute.cut(error)) }
          json.member("code", 2)
        }
      }
    }
  }

  private static func write(_ metric: Metric, since start: Int64, now: Int64, to json: inout JSONWriter) {
    func times(_ json: inout JSONWriter) {
      json.member("startTimeUnixNano", String(metric.since ?? start))
      json.member("timeUnixNano", String(now))
    }
    json.object { json in
      json.member("name", metric.name)
      json.member("description", metric.help)
      json.member("unit", metric.unit)
      switch metric.points {
      case .levels(let points):
        json.object("sum") { json in
          json.key("dataPoints")
          json.array(points) { json, point in
            json.object { json in
              attributes(point.attributes, to: &json)
              times(&json)
              json.member("asInt", String(point.value))
            }
          }
          json.member("aggregationTemporality", 2)
          json.member("isMonotonic", false)
        }
      case .distributions(let points):
        json.object("histogram") { json in
          json.key("dataPoints")
          json.array(points) { json, point in
            json.object { json in
              attributes(point.attributes, to: &json)
              times(&json)
              json.member("count", String(point.value.count))
              json.key("sum")
              json.value(decimal: point.value.sum)
              json.key("bucketCounts")
              json.array(point.value.counts) { $0.value(String($1)) }
              json.key("explicitBounds")
              json.array(point.value.bounds) { $0.value(decimal: $1) }
            }
          }
          json.member("aggregationTemporality", 2)
        }
      }
    }
  }

  private static func attributes(_ attributes: [Attribute], to json: inout JSONWriter) {
    json.key("attributes")
    json.array(attributes) { json, attribute in
      json.object { json in
        json.member("key", attribute.name)
        json.object("value") { json in
          switch attribute.value {
          case .text(let text): json.member("stringValue", text)
          case .whole(let number): json.member("intValue", String(number))
          case .decimal(let number):
            json.key("doubleValue")
            json.value(decimal: number)
          case .flag(let flag): json.member("boolValue", flag)
          }
        }
      }
    }
  }
}
