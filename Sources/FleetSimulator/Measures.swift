// What a fleet measured: counts and times per group, as text for machines.

/// Times in milliseconds. Each is kept, since a run has thousands, not millions.
public struct Times: Sendable {
  public private(set) var values: [Double] = []
  private var isSorted = true

  public init() {}

  public mutating func append(_ value: Double) {
    values.append(value)
    isSorted = false
  }

  public var count: Int { values.count }

  /// The percentile by nearest rank; nil without values.
  public mutating func percentile(_ share: Double) -> Double? {
    if !isSorted {
      values.sort()
      isSorted = true
    }
    guard !values.isEmpty else { return nil }
    return values[min(values.count - 1, max(0, Int((share * Double(values.count)).rounded(.up)) - 1))]
  }

  mutating func json() -> String {
    guard let middle = percentile(0.5), let high = percentile(0.99), let most = values.last else { return "null" }
    return "{\"p50\":\(Self.text(middle)),\"p99\":\(Self.text(high)),\"max\":\(Self.text(most)),\"count\":\(count)}"
  }

  /// Rounded to a hundredth of a millisecond, the precision of the clocks here.
  static func text(_ value: Double) -> String { String((value * 100).rounded() / 100) }
}

/// What one group measured.
public struct GroupMeasures: Sendable {
  public var name: String
  public var started = 0
  public var completed = 0
  /// Calls that were complete before the last call was begun.
  public var completedInTime = 0
  /// Final failures as the client saw them, by status; `connection` where there was none.
  public var errors: [String: Int] = [:]
  public var left = 0
  public var unfinished = 0
  public var retries = 0
  /// Answers of 429, 503 or 529, including those after which a retry succeeded.
  public var refusalsSeen = 0
  public var inputTokens = 0
  public var outputTokens = 0
  /// `x-tollgate-queue-ms`.
  public var queue = Times()
  /// From the first attempt to the first byte, minus the time that an idle provider takes.
  public var wait = Times()
  /// From the first attempt to the first byte.
  public var firstByte = Times()

  public init(name: String) { self.name = name }

  public var failures: Int { errors.values.reduce(0, +) }

  mutating func json(seconds: Double) -> String {
    let failures = errors.sorted { $0.key < $1.key }.map { "\"\($0.key)\":\($0.value)" }.joined(separator: ",")
    return """
      {"name":"\(name)","started":\(started),"completed":\(completed),\
      "per_second":\(Times.text(seconds > 0 ? Double(completedInTime) / seconds : 0)),"errors":{\(failures)},"left":\(left),\
      "unfinished":\(unfinished),"retries":\(retries),"refusals_seen":\(refusalsSeen),\
      "tokens":{"input":\(inputTokens),"output":\(outputTokens)},"queue_ms":\(queue.json()),"wait_ms":\(wait.json()),\
      "first_byte_ms":\(firstByte.json())}
      """
  }
}

/// What a whole run measured.
public struct FleetMeasures: Sendable {
  public var groups: [GroupMeasures]
  /// Seconds in which calls were begun.
  public var seconds = 0.0
  /// The group of each call, in the order in which answers began, as runs of equal names.
  public private(set) var order: [(name: String, count: Int)] = []
  /// When clients left, by `x-sim-id`: nanoseconds of the monotonic clock.
  public var leftAt: [String: UInt64] = [:]

  public init(groups: [String]) { self.groups = groups.map { GroupMeasures(name: $0) } }

  public var started: Int { groups.reduce(0) { $0 + $1.started } }
  public var completed: Int { groups.reduce(0) { $0 + $1.completed } }
  public var failures: Int { groups.reduce(0) { $0 + $1.failures } }
  public var unfinished: Int { groups.reduce(0) { $0 + $1.unfinished } }

  /// True where calls ended and none of them had any answer.
  public var neverConnected: Bool {
    failures > 0 && order.isEmpty
      && groups.allSatisfy { $0.completed == 0 && $0.errors.keys.allSatisfy { $0 == "connection" } }
  }

  mutating func noteFirstByte(_ name: String) {
    if order.last?.name == name {
      order[order.count - 1].count += 1
    } else {
      order.append((name, 1))
    }
  }

  /// One JSON object. `provider` is the text of `/sim/stats`; `departures` says how the provider noticed that clients
  /// left.
  public mutating func json(profile: String, provider: String?, departures: Departures?) -> String {
    var parts: [String] = []
    for index in groups.indices { parts.append(groups[index].json(seconds: seconds)) }
    let runs = order.prefix(1000).map { "[\"\($0.name)\",\($0.count)]" }.joined(separator: ",")
    return """
      {"profile":"\(profile)","seconds":\(Times.text(seconds)),"started":\(started),"completed":\(completed),\
      "client_errors":\(failures),"unfinished":\(unfinished),"groups":[\(parts.joined(separator: ","))],\
      "order":[\(runs)],"departures":\(departures?.json ?? "null"),"provider":\(provider ?? "null")}
      """
  }
}

/// How the provider noticed that clients left.
public struct Departures: Sendable, Equatable {
  public var clients = 0
  /// Calls that never reached the provider.
  public var neverSent = 0
  /// Calls whose end the provider saw.
  public var noticed = 0
  /// Calls that the provider still works on.
  public var unnoticed = 0
  /// Milliseconds from leaving to the provider's notice.
  public var worst = 0.0
  public var median = 0.0

  public init() {}

  var json: String {
    """
    {"clients":\(clients),"never_sent":\(neverSent),"noticed":\(noticed),"unnoticed":\(unnoticed),\
    "median_ms":\(Times.text(median)),"worst_ms":\(Times.text(worst))}
    """
  }
}
