// The names by which the core knows things, and the units in which it counts. They hold no secret, and no text of a
// client beyond a name.

/// One request as its client sent it. 128 bits, so that it can be the ULID that the client sees.
public struct RequestID: Hashable, Comparable, Sendable {
  public var high: UInt64
  public var low: UInt64
  public init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }
  /// The low half of a ULID is random; hashing the high half too, a time, would add nothing.
  public func hash(into hasher: inout Hasher) { hasher.combine(low) }
  public static func < (left: RequestID, right: RequestID) -> Bool {
    left.high == right.high ? left.low < right.low : left.high < right.high
  }
}

/// One committed placement. A number is never reused within a process.
public struct LeaseID: Hashable, Sendable {
  public var rawValue: UInt64
  public init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// What the core knows by a name alone. Two types of names never mix, though both are text.
public protocol Named: Hashable, Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
  var name: String { get }
  init(_ name: String)
}

extension Named {
  public init(stringLiteral value: String) { self.init(value) }
  public var description: String { name }
}

public struct ProviderID: Named {
  public var name: String
  public init(_ name: String) { self.name = name }
}

/// An upstream API key's id within its provider; the secret stays in the shell.
public struct KeyID: Named {
  public var name: String
  public init(_ name: String) { self.name = name }
}

public struct TenantID: Named {
  public var name: String
  public init(_ name: String) { self.name = name }
}

/// What is served in turn inside a tenant: an agent's whole tree of calls.
public struct SessionID: Named {
  public var name: String
  public init(_ name: String) { self.name = name }
}

/// One agent of a session, such as a subagent, with a conversation and so a prompt prefix of its own. The empty name is
/// the session's main agent.
public struct AgentID: Named {
  public var name: String
  public init(_ name: String) { self.name = name }
}

/// The start of a client key's hash, in hexadecimal: enough to tell a tenant's keys apart, useless for calling.
public struct ClientKeyID: Named {
  public var name: String
  public init(_ name: String) { self.name = name }
}

extension Int64 {
  /// Stop at the ends of the range instead of overflowing.
  public func saturatingAdding(_ other: Int64) -> Int64 {
    let (sum, overflow) = addingReportingOverflow(other)
    return overflow ? (other > 0 ? .max : .min) : sum
  }
  public func saturatingSubtracting(_ other: Int64) -> Int64 {
    let (difference, overflow) = subtractingReportingOverflow(other)
    return overflow ? (other < 0 ? .max : .min) : difference
  }
  public func saturatingMultiplied(by other: Int64) -> Int64 {
    let (product, overflow) = multipliedReportingOverflow(by: other)
    return overflow ? ((self < 0) == (other < 0) ? .max : .min) : product
  }
}

/// Nano-dollars: 1 USD is 1,000,000,000.
public struct Money: Hashable, Comparable, Sendable {
  public var nanodollars: Int64
  public init(nanodollars: Int64) { self.nanodollars = nanodollars }
  public static let zero = Money(nanodollars: 0)
  /// 1,000 USD: the most that one call is taken to cost, whatever its provider says.
  public static let mostPerCall = Money(nanodollars: 1_000_000_000_000)
  /// 1,000,000 USD: the most that one attempt is taken to cost. Reading a batch's results is one attempt that pays for
  /// all calls of the batch.
  public static let mostPerAttempt = Money(nanodollars: 1_000_000_000_000_000)
  public static func < (left: Money, right: Money) -> Bool { left.nanodollars < right.nanodollars }
  /// Stops at the ends of the range instead of overflowing.
  public static func + (left: Money, right: Money) -> Money {
    Money(nanodollars: left.nanodollars.saturatingAdding(right.nanodollars))
  }
  /// Stops at the ends of the range instead of overflowing.
  public static func - (left: Money, right: Money) -> Money {
    Money(nanodollars: left.nanodollars.saturatingSubtracting(right.nanodollars))
  }
  /// Stops at the ends of the range instead of overflowing.
  public mutating func add(_ other: Money) { self = self + other }
  /// A decimal with nine places: `0.012300000`.
  public var text: String {
    let magnitude = nanodollars.magnitude
    let places = String(magnitude % 1_000_000_000)
    return (nanodollars < 0 ? "-" : "") + String(magnitude / 1_000_000_000) + "."
      + String(repeating: "0", count: 9 - places.utf8.count) + places
  }
}

/// A request's class, served from the band of the same name.
public enum Priority: UInt8, CaseIterable, Comparable, Sendable {
  case high = 0
  case normal = 1
  case low = 2
  /// Ordered by importance: `low < normal < high`.
  public static func < (left: Priority, right: Priority) -> Bool { left.rawValue > right.rawValue }
  public var name: String {
    switch self {
    case .high: "high"
    case .normal: "normal"
    case .low: "low"
    }
  }
}

/// The one way in which a request ended (docs/reference/errors.md): metric label, log field, API field.
public enum Outcome: String, CaseIterable, Sendable {
  case completed
  case clientLeftQueued = "client_left_queued"
  case clientLeftRunning = "client_left_running"
  case truncated
  case upstreamError = "upstream_error"
  case failedUpstream = "failed_upstream"
  case rejectedQueueFull = "rejected_queue_full"
  case evictedMaxWait = "evicted_max_wait"
  case rejectedNoCapacity = "rejected_no_capacity"
  case rejectedDraining = "rejected_draining"
  case rejectedBudget = "rejected_budget"
  case rejectedTenantLimit = "rejected_tenant_limit"
  case rejectedUnauthenticated = "rejected_unauthenticated"
  case rejectedModel = "rejected_model"
  case rejectedMalformed = "rejected_malformed"
  case rejectedTooLarge = "rejected_too_large"
  case rejectedUpgrade = "rejected_upgrade"
  case rejectedOrigin = "rejected_origin"
}

/// The kinds of rate limits: what is counted, and over which period.
public enum RateLimit: UInt8, CaseIterable, Sendable {
  case requestsPerMinute, inputTokensPerMinute, outputTokensPerMinute, tokensPerMinute
  case requestsPerSecond
  /// The shell says when days end.
  case requestsPerDay, tokensPerDay

  public var dimension: Dimension {
    switch self {
    case .requestsPerMinute, .requestsPerSecond, .requestsPerDay: .requests
    case .inputTokensPerMinute: .inputTokens
    case .outputTokensPerMinute: .outputTokens
    case .tokensPerMinute, .tokensPerDay: .tokens
    }
  }

  public var period: Span {
    switch self {
    case .requestsPerSecond: .seconds(1)
    case .requestsPerDay, .tokensPerDay: .seconds(86_400)
    default: .seconds(60)
    }
  }

  public var isPerMinute: Bool { period == .seconds(60) }
  public var isPerDay: Bool { period == .seconds(86_400) }

  /// For limits per minute the dimension's name alone, for compatibility.
  public var name: String {
    switch self {
    case .requestsPerSecond: "requests_per_second"
    case .requestsPerDay: "requests_per_day"
    case .tokensPerDay: "tokens_per_day"
    default: dimension.name
    }
  }
}

/// What buckets count.
public enum Dimension: UInt8, CaseIterable, Sendable {
  case requests = 0
  case inputTokens = 1
  case outputTokens = 2
  /// Input and output together, as OpenAI counts them.
  case tokens = 3
  public var name: String {
    switch self {
    case .requests: "requests"
    case .inputTokens: "input_tokens"
    case .outputTokens: "output_tokens"
    case .tokens: "tokens"
    }
  }
}
