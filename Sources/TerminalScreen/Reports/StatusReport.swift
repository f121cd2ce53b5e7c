// The parts of the admin API's answers that operators are shown. Names are those of the API in camel case.
//
// Promises: fields that a broker of another version, or the view of one tenant, lacks are absent here and nothing else; what
// is a number in one version and a text in another is taken as both.

/// A decimal amount, in JSON a text or a number.
public struct Amount: Decodable, Sendable, Equatable {
  public var text: String

  public init(from decoder: any Decoder) throws {
    let value = try decoder.singleValueContainer()
    if let text = try? value.decode(String.self) {
      self.text = text
    } else if let whole = try? value.decode(Int64.self) {
      text = "\(whole)"
    } else {
      text = "\(try value.decode(Double.self))"
    }
  }
}

/// The parts of `/api/v1/status` that are shown.
public struct StatusReport: Decodable, Sendable {
  public struct Bands: Decodable, Sendable {
    public var high: Int
    public var normal: Int
    public var low: Int
    public var all: Int { high + normal + low }
  }
  /// A time for each class, where there is one.
  public struct Times: Decodable, Sendable {
    public var high: Int64?
    public var normal: Int64?
    public var low: Int64?
    var longest: Int64? { [high, normal, low].compactMap { $0 }.max() }
  }
  public struct Kept: Decodable, Sendable {
    public var high: Int64?
    public var normal: Int64?
    public var low: Int64?
    /// `2 for high, 5 for normal`; empty where nothing is kept.
    var text: String {
      [("high", high), ("normal", normal), ("low", low)].compactMap { name, count in
        count.flatMap { $0 > 0 ? "\($0) for \(name)" : nil }
      }.joined(separator: ", ")
    }
  }
  public struct Bucket: Decodable, Sendable {
    public var dimension: String
    public var available: Int64
    public var capacity: Int64
    public var inUse: Int64?
    public var kept: Kept?
    public var fullAt: String?
    public var perMinute: Int64?
  }
  public struct Breaker: Decodable, Sendable {
    public var state: String
    public var reason: String?
    public var since: String?
    public var until: String?
  }
  /// A model that rests at one key only.
  public struct KeyModel: Decodable, Sendable {
    public var model: String
    public var until: String?
    public var reason: String?
  }
  public struct Key: Decodable, Sendable {
    public var id: String
    public var secret: String?
    public var state: String
    public var until: String?
    public var reason: String?
    public var expires: String?
    public var inFlight: Int
    public var concurrencyLimit: Int?
    /// The learned limit, where it is the one in force.
    public var learnedConcurrency: Int?
    public var policyConcurrency: Int?
    public var learnedFrom: String?
    public var learnedSince: String?
    public var buckets: [Bucket]?
    public var models: [KeyModel]?
  }
  /// One of the provider's models, with a rest where there is one.
  public struct Model: Decodable, Sendable {
    public var models: String
    public var state: String
    public var until: String?
    public var reason: String?
    public var inFlight: Int?
    public var concurrencyLimit: Int?
    /// The learned limit, where it is the one in force.
    public var learnedConcurrency: Int?
    public var policyConcurrency: Int?
    public var learnedFrom: String?
    public var learnedSince: String?
    public var buckets: [Bucket]?
    public var breaker: Breaker?
    var name: String { models.isEmpty ? "calls without a model" : models }
  }
  public struct Provider: Decodable, Sendable {
    public var id: String
    /// `cooling` while the provider has asked all calls for a pause.
    public var state: String
    public var until: String?
    public var reason: String?
    public var models: [Model]?
    public var inFlight: Int
    public var concurrencyLimit: Int?
    /// What was learned, where it is lower than the policy's.
    public var learnedConcurrency: Int?
    public var policyConcurrency: Int?
    public var reservedPermits: Kept?
    public var buckets: [Bucket]?
    public var breaker: Breaker
    public var keys: [Key]?
    public var queued: Bands
    public var oldestWaitMs: Times?
    public var throttledLastMinute: Int64?
    public var callsLastMinute: Int64?
    public var slowStart: SlowStart?
  }
  /// Calls that wait much longer than usual for their first byte.
  public struct SlowStart: Decodable, Sendable {
    public var calls: Int
    public var text: String
  }
  public struct Tenant: Decodable, Sendable {
    public var id: String
    public var inFlight: Int
    public var queued: Int
    public var weight: Int
    public var concurrencyLimit: Int?
    public var buckets: [Bucket]?
    public var listed: Bool?
    /// Since the start; nil where that is not known.
    public var spentUsd: Amount?
    /// Attempts whose price is not known: they are in no amount.
    public var unpricedCalls: Int?
    public var oldestWaitMs: Int64?
  }
  /// A value that the broker has learned.
  public struct Learned: Decodable, Sendable {
    public var provider: String
    public var what: String
    public var model: String?
    public var key: String?
    public var value: Int64
    public var unit: String
    public var from: String
    public var since: String?
  }
  /// What an operator must do something about.
  public struct Problem: Decodable, Sendable {
    /// `critical` or `warning`.
    public var severity: String?
    public var text: String
  }
  /// What a waiting call waits for.
  public struct WaitsFor: Decodable, Sendable {
    public var blocker: String?
    public var provider: String?
    public var text: String?
    /// In words where there are some.
    var shown: String { text ?? blocker ?? "" }
  }
  public struct PriorityClass: Decodable, Sendable {
    public var queued: Int
    public var oldestMs: Int64?
    public var predictedWaitMs: Int64?
    public var waitsFor: WaitsFor?
  }
  public struct Classes: Decodable, Sendable {
    public var high: PriorityClass
    public var normal: PriorityClass
    public var low: PriorityClass
  }
  /// An alert that fires.
  public struct Alert: Decodable, Sendable {
    public var name: String
    public var severity: String?
    public var since: String?
    public var text: String?
  }
  public struct Totals: Decodable, Sendable {
    public var callsLastMinute: Int64?
    public var tokensLastMinute: Int64?
    public var costLastHourUsd: Amount?
    public var throttledLastMinute: Int64?
  }

  public var version: String
  public var draining: Bool
  public var startedAt: String
  public var headline: String?
  public var queued: Bands?
  public var running: Int?
  /// Requests whose bodies are still on the way.
  public var arriving: Int?
  public var classes: Classes?
  public var providers: [Provider]?
  public var tenants: [Tenant]?
  public var budgets: [BudgetRow]?
  /// `ok`, or why the ledger cannot be written.
  public var ledger: String?
  /// US dollars since the start, as far as prices are known.
  public var spentUsd: String?
  /// Attempts whose price is not known: they are in no amount.
  public var unpricedCalls: Int?
  public var problems: [Problem]?
  public var alerts: [Alert]?
  public var totals: Totals?
  public var learned: [Learned]?
  /// How many learned values the answer lacks.
  public var learnedLeftOut: Int?

  var allProviders: [Provider] { providers ?? [] }
}

/// A budget in `/api/v1/budgets` and `/api/v1/status`.
public struct BudgetRow: Decodable, Sendable {
  public var id: String
  /// `broker`, `tenant`, `client_key` or `session`.
  public var scope: String?
  public var tenant: String?
  /// Of the session or the client key.
  public var name: String?
  /// A window's name, or the length of a rolling one: `5h`.
  public var per: String?
  public var onExceed: String
  public var unit: String
  public var limit: String
  public var raised: String
  public var spent: String
  public var held: String
  public var remaining: String
  /// What the call needed that was refused last; nil where such a call would go now.
  public var refusedNeed: String?
  /// `ok`, `warned`, `refusing` or `used_up`.
  public var state: String?
  /// How far it is used up, in words; nil where its calls go on as usual.
  public var text: String?
  public var waiting: Int
  public var windowEnds: String?
  /// What is spent in an hour, in the budget's unit.
  public var burn: String?
  /// Before the window's end.
  public var runsOutAt: String?

  private struct Name: CodingKey {
    var stringValue: String
    var intValue: Int? { nil }
    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
  }

  public init(from decoder: any Decoder) throws {
    let fields = try decoder.container(keyedBy: Name.self)
    func text(_ name: String) throws -> String { try fields.decode(String.self, forKey: Name(stringValue: name)) }
    id = try text("id")
    func optional(_ name: String) throws -> String? {
      try fields.decodeIfPresent(String.self, forKey: Name(stringValue: name))
    }
    scope = try optional("scope")
    tenant = try optional("tenant")
    name = try optional("name")
    per = try optional("per")
    onExceed = try text("onExceed")
    let unit = try text("unit")
    self.unit = unit
    let suffix = unit.prefix(1).uppercased() + unit.dropFirst()
    // `limitUsd` is a text with decimals, `limitTokens` a whole number.
    func amount(_ name: String) throws -> String {
      let name = Name(stringValue: name + suffix)
      return unit == "usd"
        ? try fields.decode(String.self, forKey: name) : "\(try fields.decode(Int64.self, forKey: name))"
    }
    limit = try amount("limit")
    raised = try amount("raised")
    spent = try amount("spent")
    held = try amount("held")
    remaining = try amount("remaining")
    state = try optional("state")
    self.text = try optional("text")
    waiting = try fields.decode(Int.self, forKey: Name(stringValue: "waiting"))
    windowEnds = try fields.decodeIfPresent(String.self, forKey: Name(stringValue: "windowEnds"))
    func optionalAmount(_ name: String) throws -> String? {
      try fields.decodeIfPresent(Amount.self, forKey: Name(stringValue: name))?.text
    }
    refusedNeed = try optionalAmount("refusedNeed\(suffix)")
    burn = try optionalAmount("burn\(suffix)PerHour")
    runsOutAt = try fields.decodeIfPresent(String.self, forKey: Name(stringValue: "runsOutAt"))
  }

  /// An amount as a table shows it: dollars, or a number and its unit.
  public func shown(_ amount: String) -> String {
    unit == "usd" ? AmountText.dollars(amount) : "\(amount) \(unit)"
  }

  /// The state in words: `used up`.
  var shownState: String { (state ?? "-").replacing("_", with: " ") }
  /// True where it lets no more calls through.
  var refuses: Bool { onExceed == "reject" && (state == "refusing" || state == "used_up") }

  /// The burn rate as a table shows it: it is no exact amount.
  public var shownBurn: String? {
    burn.map { unit == "usd" ? AmountText.shortDollars($0) : shown($0) }
  }

  /// How much of the limit is spent and held, in hundredths; nil where the limit is 0.
  var percent: Int? {
    guard let limit = Double(limit), limit > 0, let spent = Double(spent), let held = Double(held) else { return nil }
    return Int(min(9999, max(0, (spent + held) / limit * 100)))
  }
}

/// The answer of `/api/v1/budgets`.
public struct BudgetReport: Decodable, Sendable {
  public struct Raise: Decodable, Sendable {
    public var tenant: String?
    public var budget: String?
    /// Exactly one of the three is given.
    public var usd: String?
    public var tokens: Int64?
    public var requests: Int64?
    public var until: String

    var amount: String {
      usd.map { AmountText.dollars($0) } ?? tokens.map { "\($0) tokens" } ?? "\(requests ?? 0) requests"
    }
  }
  public var budgets: [BudgetRow]
  public var raises: [Raise]?
}

/// The answer of `/api/v1/requests`.
public struct RequestReport: Decodable, Sendable {
  public struct Entry: Decodable, Sendable {
    public var id: String
    public var state: String
    /// True while its body is still on the way.
    public var arriving: Bool?
    public var outcome: String?
    public var arrivedAt: String?
    public var tenant: String
    public var session: String
    public var priority: String
    public var kind: String?
    public var model: String
    public var provider: String?
    public var key: String?
    public var queuedMs: Int64
    public var firstByteMs: Int64?
    public var totalMs: Int64?
    /// From its arrival to its end, or to now.
    public var ageMs: Int64?
    public var attempts: Int
    public var inputTokens: Int64
    public var outputTokens: Int64
    public var costUsd: String?
    public var predictedWaitMs: Int64?
    public var waitsFor: StatusReport.WaitsFor?

    /// The outcome where it has ended, else the state.
    public var shownState: String { outcome ?? (arriving == true ? "arriving" : state) }
    /// True where it waits for its turn.
    public var isWaiting: Bool { state == "queued" && arriving != true }
    /// How long it has waited in the queue; nothing of a request that is not in it yet.
    public var shownWait: String { arriving == true ? "-" : SpanText.text(milliseconds: queuedMs) }
    /// What it waits for; `-` where it does not.
    public var shownReason: String { arriving == true ? "the rest of its body" : waitsFor?.shown ?? "-" }
    /// How long it has taken; with a plus while it goes on.
    public var shownTime: String {
      if let totalMs { return SpanText.text(milliseconds: totalMs) }
      return ageMs.map { SpanText.text(milliseconds: $0) + "+" } ?? "-"
    }
  }
  public var requests: [Entry]
}

/// The answer of `/api/v1/sessions`.
public struct SessionReport: Decodable, Sendable {
  public struct Agent: Decodable, Sendable {
    public var agent: String
    public var running: Int
    public var waiting: Int
  }
  public struct Session: Decodable, Sendable {
    public var tenant: String
    public var session: String
    public var running: Int
    public var waiting: Int
    public var oldestWaitMs: Int64?
    public var requests: Int64?
    public var inputTokens: Int64?
    public var outputTokens: Int64?
    public var costUsd: Amount?
    public var lastAt: String?
    public var agents: [Agent]?
  }
  public var sessions: [Session]
  public var leftOut: Int?
}
