// Every metric that Tollgate has: its name, type, unit, labels and a sentence of help. docs/reference/metrics.md has the same list;
// a test compares the two.

/// One metric with all its label combinations.
struct MetricFamily: Sendable {
  enum Kind: String, Sendable { case counter, gauge, histogram }

  /// As Prometheus' classic format has it: counters end in `_total`.
  let name: String
  let kind: Kind
  /// The end of the name where it is a unit, for OpenMetrics.
  let unit: String?
  let labels: [String]
  let help: String

  private static let units = ["seconds", "bytes", "usd", "ratio"]

  private init(_ kind: Kind, _ name: String, _ labels: [String], _ help: String) {
    self.kind = kind
    self.name = name
    self.labels = labels
    self.help = help
    let base = MetricFamily.base(name, kind)
    unit = MetricFamily.units.first { base.hasSuffix("_" + $0) }
  }

  /// The name of the family in OpenMetrics, where only a counter's samples end in `_total`.
  var base: String { MetricFamily.base(name, kind) }

  private static func base(_ name: String, _ kind: Kind) -> String {
    kind == .counter && name.hasSuffix("_total") ? String(name.dropLast("_total".count)) : name
  }

  private static func counter(_ name: String, _ labels: [String], _ help: String) -> MetricFamily {
    MetricFamily(.counter, name, labels, help)
  }
  private static func gauge(_ name: String, _ labels: [String], _ help: String) -> MetricFamily {
    MetricFamily(.gauge, name, labels, help)
  }
  private static func histogram(_ name: String, _ labels: [String], _ help: String) -> MetricFamily {
    MetricFamily(.histogram, name, labels, help)
  }
  private static func counter(_ name: String, _ help: String) -> MetricFamily { counter(name, [], help) }
  private static func gauge(_ name: String, _ help: String) -> MetricFamily { gauge(name, [], help) }
  private static func histogram(_ name: String, _ help: String) -> MetricFamily { histogram(name, [], help) }

  // MARK: Requests and queues

  static let requests = counter(
    "tollgate_requests_total", ["provider", "priority", "outcome"], "Requests that ended, by outcome.")
  static let queueDepth = gauge(
    "tollgate_queue_depth", ["provider", "priority"], "Requests that wait, by the provider that they prefer.")
  static let queueOldest = gauge(
    "tollgate_queue_oldest_seconds", ["priority"], "How long the oldest waiting request has waited; 0 if none waits.")
  static let predictedWait = gauge(
    "tollgate_predicted_wait_seconds", ["priority"], "What a request that came now would wait; absent if unknown.")
  static let queueBytes = gauge("tollgate_queue_bytes", "Bytes held by requests that wait.")
  static let queueWait = histogram(
    "tollgate_queue_wait_seconds", ["priority"], "Time between the body's arrival and the grant.")
  static let overhead = histogram(
    "tollgate_overhead_seconds", "Our own time in a request, queue and provider excluded.")
  static let unknownHints = counter(
    "tollgate_unknown_hints_total", ["header"], "Hint headers whose value is not known, by header.")
  static let probes = counter(
    "tollgate_probes_total", "Looks at the front door and browsers' preflights, answered here.")
  static let openConnections = gauge("tollgate_open_connections", ["port"], "Open connections of clients, by port.")
  static let memory = gauge(
    "tollgate_memory_bytes", ["use"], "Memory of clients' making, by what it is held for.")
  static let memoryLimit = gauge("tollgate_memory_limit_bytes", "The most that all uses together may hold.")

  // MARK: Providers, their models and keys

  static let inFlight = gauge("tollgate_inflight", ["provider"], "Calls that run upstream.")
  static let classInFlight = gauge(
    "tollgate_class_inflight", ["provider", "priority"], "Calls that run upstream, by class.")
  static let concurrencyLimit = gauge(
    "tollgate_concurrency_limit", ["provider"], "Calls that may run at a time; absent where there is no limit.")
  static let reservedPermits = gauge(
    "tollgate_reserved_permits", ["provider", "priority"], "Permits that only this class may take now.")
  static let bucketAvailable = gauge(
    "tollgate_bucket_available", ["provider", "dimension"], "Units left; negative while a debt is worked off.")
  static let bucketCapacity = gauge(
    "tollgate_bucket_capacity", ["provider", "dimension"], "Units that a bucket can hold.")
  static let bucketInUse = gauge(
    "tollgate_bucket_in_use", ["provider", "dimension"], "Units that running calls have reserved.")
  static let breakerState = gauge("tollgate_breaker_state", ["provider"], "0 closed, 1 half open, 2 open.")
  static let modelBreakerState = gauge(
    "tollgate_model_breaker_state", ["provider", "model"],
    "As tollgate_breaker_state, of models with their own breaker.")
  static let modelInFlight = gauge(
    "tollgate_model_inflight", ["provider", "model"], "Calls that run upstream, of models with their own limits.")
  static let modelConcurrencyLimit = gauge(
    "tollgate_model_concurrency_limit", ["provider", "model"],
    "As tollgate_concurrency_limit, of these models and of those for which one was learned.")
  static let modelBucketAvailable = gauge(
    "tollgate_model_bucket_available", ["provider", "model", "dimension"],
    "As tollgate_bucket_available, of models with their own limits.")
  static let modelBucketCapacity = gauge(
    "tollgate_model_bucket_capacity", ["provider", "model", "dimension"],
    "As tollgate_bucket_capacity, of these models.")
  static let keyState = gauge("tollgate_key_state", ["provider", "key"], "0 usable, 1 cooling, 2 disabled.")
  static let keyInFlight = gauge(
    "tollgate_key_inflight", ["provider", "key"], "Calls that run upstream with this key.")
  static let keyConcurrencyLimit = gauge(
    "tollgate_key_concurrency_limit", ["provider", "key"], "Calls that may run with this key; absent without a limit.")
  static let keyBucketAvailable = gauge(
    "tollgate_key_bucket_available", ["provider", "key", "dimension"],
    "As tollgate_bucket_available, of keys with their own limits.")
  static let keyBucketCapacity = gauge(
    "tollgate_key_bucket_capacity", ["provider", "key", "dimension"], "As tollgate_bucket_capacity, of these keys.")
  static let upstreamResponses = counter(
    "tollgate_upstream_responses_total", ["provider", "status"], "Answers of providers, by status.")
  static let upstreamRetries = counter(
    "tollgate_upstream_retries_total", ["provider", "reason"], "Attempts that were followed by another, by reason.")
  static let firstByte = histogram(
    "tollgate_time_to_first_byte_seconds", ["provider"], "Time between the grant and the provider's head.")

  // MARK: Tenants

  static let tenantInFlight = gauge("tollgate_tenant_inflight", ["tenant"], "Calls that run upstream for this tenant.")
  static let tenantQueueDepth = gauge("tollgate_tenant_queue_depth", ["tenant"], "Requests of this tenant that wait.")
  static let tenantConcurrencyLimit = gauge(
    "tollgate_tenant_concurrency_limit", ["tenant"], "Calls that may run for this tenant; absent without a limit.")
  static let tenantBucketAvailable = gauge(
    "tollgate_tenant_bucket_available", ["tenant", "dimension"],
    "As tollgate_bucket_available, of tenants with their own limits.")
  static let tenantBucketCapacity = gauge(
    "tollgate_tenant_bucket_capacity", ["tenant", "dimension"], "As tollgate_bucket_capacity, of these tenants.")

  // MARK: Tokens and money

  static let tokens = counter(
    "tollgate_tokens_total", ["provider", "model", "tenant", "type"],
    "Tokens. input is what no cache served; reasoning is part of output; the other types do not overlap.")
  static let cost = counter(
    "tollgate_cost_usd_total", ["provider", "model", "tenant"], "US dollars, where the price is known.")
  static let cacheReadShare = gauge(
    "tollgate_cache_read_share", ["provider"], "Share of the input since the start that a prompt cache gave.")
  static let cacheLost = counter(
    "tollgate_cache_lost_usd_total", ["reason"],
    "US dollars that input cost more because a prompt cache was not read, by the reason, where the price is known.")
  static let estimateRatio = gauge(
    "tollgate_estimate_ratio", ["provider", "model"],
    "Input tokens that the provider counted over those reserved for them.")
  private static let budget = ["scope", "window", "unit"]
  static let budgetSpent = gauge(
    "tollgate_budget_spent", budget, "Spent in the window that holds, in the budget's unit.")
  static let budgetHeld = gauge("tollgate_budget_held", budget, "What running calls hold, in the budget's unit.")
  static let budgetLimit = gauge(
    "tollgate_budget_limit", budget, "What may be spent in the window, raises included, in the budget's unit.")
  static let budgetWarn = gauge(
    "tollgate_budget_warn_ratio", budget,
    "The share of the limit from which on the budget is reported as nearly used up.")
  static let budgetRefusing = gauge(
    "tollgate_budget_refusing", budget,
    "1 while the newest call needed more than is left of a budget that refuses, else 0.")
  static let budgetWindowLeft = gauge(
    "tollgate_budget_window_left_seconds", budget, "Until the window ends; absent where it never does.")
  static let budgetRunsOut = gauge(
    "tollgate_budget_runs_out_seconds", budget,
    "Until the limit is reached at the present rate; absent where nothing is spent.")
  static let budgetSpentUSD = gauge(
    "tollgate_budget_spent_usd", ["scope", "window"],
    "US dollars spent in the window that holds; running calls not counted.")
  static let budgetHeldUSD = gauge(
    "tollgate_budget_held_usd", ["scope", "window"], "US dollars that running calls hold.")
  static let budgetLimitUSD = gauge(
    "tollgate_budget_limit_usd", ["scope", "window"], "US dollars that may be spent in the window, raises included.")

  // MARK: The broker itself

  static let ledgerObstacle = gauge(
    "tollgate_ledger_obstacle", "1 while the ledger cannot be written and new work is refused.")
  static let ledgerPending = gauge("tollgate_ledger_pending", "Entries that wait to be written into the ledger.")
  static let webhookDeliveries = counter(
    "tollgate_webhook_deliveries_total", ["result"], "Messages to webhooks that were delivered, failed or dropped.")
  static let otlpDropped = counter(
    "tollgate_otlp_dropped_total", "Spans and points of metrics that the collector of `otlp:` did not take.")
  static let ledgerLag = gauge(
    "tollgate_ledger_lag_seconds", "How long the oldest of these entries has waited; 0 where none waits.")
  static let ledgerLost = counter(
    "tollgate_ledger_lost_total", "Entries for which the ledger had no room: above 0 its sums are short.")
  static let logLinesDropped = counter(
    "tollgate_log_lines_dropped_total", "Lines of the log that were lost: not read, or not writable.")
  static let abandonedLeases = counter(
    "tollgate_abandoned_leases_total", "Leases dropped unsettled: anything but 0 is a bug.")
  static let ourBugs = counter(
    "tollgate_our_bugs_total", ["kind"],
    "What should be impossible, thrown out and served around: anything but 0 is a bug.")
  static let impossibleNumbers = counter(
    "tollgate_impossible_numbers_total", ["source"],
    "Numbers of providers that cannot be true and were cut or ignored.")
  static let draining = gauge("tollgate_draining", "1 while the broker drains.")
  static let buildInfo = gauge("tollgate_build_info", ["version"], "Always 1; the version is a label.")
  static let residentMemory = gauge("process_resident_memory_bytes", "Resident memory.")
  static let virtualMemory = gauge("process_virtual_memory_bytes", "Virtual memory.")
  static let cpu = counter("process_cpu_seconds_total", "CPU time, user and system.")
  static let openDescriptors = gauge("process_open_fds", "Open descriptors.")
  static let startTime = gauge("process_start_time_seconds", "When the process began, in seconds since 1970.")

  /// All of them, in the order of the page.
  static let all: [MetricFamily] = [
    requests, queueDepth, queueOldest, predictedWait, queueBytes, queueWait, overhead, unknownHints, probes,
    openConnections, memory, memoryLimit,
    inFlight, classInFlight, concurrencyLimit, reservedPermits, bucketAvailable, bucketCapacity, bucketInUse,
    breakerState, modelBreakerState, modelInFlight, modelConcurrencyLimit, modelBucketAvailable, modelBucketCapacity,
    keyState, keyInFlight, keyConcurrencyLimit, keyBucketAvailable, keyBucketCapacity, upstreamResponses,
    upstreamRetries, firstByte,
    tenantInFlight, tenantQueueDepth, tenantConcurrencyLimit, tenantBucketAvailable, tenantBucketCapacity,
    tokens, cost, cacheReadShare, cacheLost, estimateRatio, budgetSpent, budgetHeld, budgetLimit, budgetWarn,
    budgetRefusing,
    budgetWindowLeft, budgetRunsOut, budgetSpentUSD, budgetHeldUSD, budgetLimitUSD,
    ledgerObstacle, ledgerPending, ledgerLag, ledgerLost, webhookDeliveries, otlpDropped, logLinesDropped,
    abandonedLeases, ourBugs,
    impossibleNumbers,
    draining, buildInfo, residentMemory, virtualMemory, cpu, openDescriptors, startTime,
  ]
}
