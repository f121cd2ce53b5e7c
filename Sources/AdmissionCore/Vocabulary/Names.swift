// The names that the core knows things by, and the units it counts in. Never a secret, never a client's text beyond a
// name.

/// A request, once, as its client sent it. 128 bits so that it can be the ULID that the client sees.
public struct RequestID: Hashable, Comparable, Sendable {
  public var high: UInt64
  public var low: UInt64
  public init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }
  /// The low half is random in a ULID: hashing the high half, a time, would only cost.
  public func hash(into hasher: inout Hasher) { hasher.combine(low) }
  public static func < (left: RequestID, right: RequestID) -> Bool {
    left.high == right.high ? left.low < right.low : left.high < right.high
  }
}

/// One committed placement. Never reused within a process.
public struct LeaseID: Hashable, Sendable {
  public var rawValue: UInt64
  public init(rawValue: UInt64) { self.rawValue = rawValue }
}

public struct ProviderID: Hashable, Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
  public var name: String
  public init(_ name: String) { self.name = name }
  public init(stringLiteral value: String) { name = value }
  public var description: String { name }
}

/// An upstream API key's id within its provider; the secret stays in the shell.
public struct KeyID: Hashable, Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
  public var name: String
  public init(_ name: String) { self.name = name }
  public init(stringLiteral value: String) { name = value }
  public var description: String { name }
}

public struct TenantID: Hashable, Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
  public var name: String
  public init(_ name: String) { self.name = name }
  public init(stringLiteral value: String) { name = value }
  public var description: String { name }
}

/// What is served in turn inside a tenant: an agent's whole tree of calls.
public struct SessionID: Hashable, Sendable, ExpressibleByStringLiteral, CustomStringConvertible {
  public var name: String
  public init(_ name: String) { self.name = name }
  public init(stringLiteral value: String) { name = value }
  public var description: String { name }
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
  /// 1,000 USD: what one call can be taken to cost, whatever its provider says.
  public static let mostPerCall = Money(nanodollars: 1_000_000_000_000)
  /// 1,000,000 USD: what one attempt can be taken to cost. The results of a batch are one attempt for all of its calls.
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

/// The one way in which a request ended (CONTRACT section 6): metric label, log field, API field.
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

/// Which limit of a rate it is: what is counted, and over how long.
public enum RateLimit: UInt8, CaseIterable, Sendable {
  case requestsPerMinute, inputTokensPerMinute, outputTokensPerMinute, tokensPerMinute
  case requestsPerSecond
  /// Days end when the shell says so.
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

  /// Of the dimension alone where it is by the minute, as it has always been called.
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
  /// Input and output together, as OpenAI counts.
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
