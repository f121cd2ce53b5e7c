// What is known of a wait, in numbers: for `explain`, status and the dashboard.

/// Why a request waits, how much is missing, and when that will be there.
public struct BlockerReading: Sendable, Hashable {
  public var blocker: Blocker
  /// The provider where that is; nil where it is at none.
  public var provider: ProviderID?
  /// What the request needs: units of a bucket, or permits.
  public var needed: Int64?
  /// How much of it is there for the request now: what is kept for others does not count. Below zero while a debt is
  /// worked off.
  public var available: Int64?
  /// When it will be there if nobody takes it and nothing is given back; nil where that is not known.
  public var thereAt: Instant?
  /// Requests before it in its lane.
  public var beforeInLane: Int

  public init(
    blocker: Blocker, provider: ProviderID? = nil, needed: Int64? = nil, available: Int64? = nil,
    thereAt: Instant? = nil, beforeInLane: Int = 0
  ) {
    self.blocker = blocker
    self.provider = provider
    self.needed = needed
    self.available = available
    self.thereAt = thereAt
    self.beforeInLane = beforeInLane
  }
}

/// How a waiting request stands.
public struct WaitReading: Sendable, Hashable {
  public var reading: BlockerReading
  /// How many requests of its class are expected to go before it, those of its lane included.
  public var beforeInClass: Int
  /// How many wait in the classes above, which go first but for its class's share; nil where no class is above.
  public var waitingAbove: Int?
  /// How long it will still wait; nil where nobody can tell.
  public var rest: Span?

  public init(reading: BlockerReading, beforeInClass: Int, waitingAbove: Int? = nil, rest: Span?) {
    self.reading = reading
    self.beforeInClass = beforeInClass
    self.waitingAbove = waitingAbove
    self.rest = rest
  }
}

/// A call that was granted while another waited.
public struct WentAhead: Sendable, Hashable {
  public var request: RequestID
  public var priority: Priority
  /// The rule by which it went before.
  public var rule: DispatchRule
  public var provider: ProviderID
  public var at: Instant

  public init(request: RequestID, priority: Priority, rule: DispatchRule, provider: ProviderID, at: Instant) {
    self.request = request
    self.priority = priority
    self.rule = rule
    self.provider = provider
    self.at = at
  }
}

/// Those who went ahead: the newest one by one, the others counted.
public struct WentAheadList: Sendable {
  public struct Sum: Sendable, Hashable {
    public var priority: Priority
    public var rule: DispatchRule
    public var count: Int

    public init(priority: Priority, rule: DispatchRule, count: Int) {
      self.priority = priority
      self.rule = rule
      self.count = count
    }
  }
  /// Newest first.
  public var newest: [WentAhead] = []
  public var sums: [Sum] = []
  /// False where the record of grants does not reach back to the beginning of the wait.
  public var isComplete = true

  public init() {}
}
