// The metrics in Prometheus' text format (version 0.0.4). Names and labels are those of docs/reference/metrics.md.
import AdmissionCore
import BrokerEngine
import HTTPMessage

enum MetricsText {
  /// - Parameter ledger: entries that wait to be written, and entries that were lost.
  static func render(
    _ broker: Operator, _ process: ProcessFigures, ledger: (pending: Int, lost: Int), version: String
  ) -> [UInt8] {
    var page = MetricsPage()
    let snapshot = broker.snapshot()
    let metrics = broker.metrics
    requests(&page, metrics)
    gauges(&page, snapshot)
    memory(&page, broker.memory)
    histograms(&page, metrics)
    upstream(&page, metrics)
    tokens(&page, metrics)
    budgets(&page, snapshot)
    page.family("tollgate_unknown_hints_total", "counter", "Hint headers whose value is not known, by header.")
    for (header, count) in metrics.unknownHints.sorted(by: { $0.key < $1.key }) {
      page.sample("tollgate_unknown_hints_total", [("header", header)], Double(count))
    }
    page.family("tollgate_probes_total", "counter", "Looks at the front door and browsers' preflights, answered here.")
    page.sample("tollgate_probes_total", [], Double(metrics.probes))
    page.family("tollgate_abandoned_leases_total", "counter", "Leases dropped unsettled: anything but 0 is a bug.")
    page.sample("tollgate_abandoned_leases_total", [], Double(broker.abandonedLeases))
    page.family(
      "tollgate_log_lines_dropped_total", "counter", "Lines of the log that were lost: not read, or not writable.")
    page.sample("tollgate_log_lines_dropped_total", [], Double(process.logLinesDropped))
    page.family(
      "tollgate_our_bugs_total", "counter",
      "What should be impossible, thrown out and served around: anything but 0 is a bug.")
    for kind in OurBug.allCases {
      page.sample("tollgate_our_bugs_total", [("kind", kind.rawValue)], Double(broker.ourBugs(kind)))
    }
    page.family(
      "tollgate_impossible_numbers_total", "counter",
      "Numbers of providers that cannot be true and were cut or ignored.")
    for source in ImpossibleNumber.allCases {
      page.sample(
        "tollgate_impossible_numbers_total", [("source", source.rawValue)],
        Double(metrics.impossibleNumbers[source, default: 0]))
    }
    page.family("tollgate_ledger_obstacle", "gauge", "1 while the ledger cannot be written and new work is refused.")
    page.sample("tollgate_ledger_obstacle", [], broker.ledgerObstacle == nil ? 0 : 1)
    page.family("tollgate_ledger_pending", "gauge", "Entries that wait to be written into the ledger.")
    page.sample("tollgate_ledger_pending", [], Double(ledger.pending))
    page.family(
      "tollgate_ledger_lost_total", "counter", "Entries for which the ledger had no room: above 0 its sums are short.")
    page.sample("tollgate_ledger_lost_total", [], Double(ledger.lost))
    page.family("tollgate_draining", "gauge", "1 while the broker drains.")
    page.sample("tollgate_draining", [], broker.isDraining ? 1 : 0)
    page.family("tollgate_build_info", "gauge", "Always 1; the version is a label.")
    page.sample("tollgate_build_info", [("version", version)], 1)
    self.process(&page, process)
    return page.bytes
  }

  private static func requests(_ page: inout MetricsPage, _ metrics: BrokerMetrics) {
    page.family("tollgate_requests_total", "counter", "Requests that ended, by outcome.")
    let rows = metrics.requests.sorted {
      ($0.key.provider, $0.key.priority.rawValue, $0.key.outcome.rawValue)
        < ($1.key.provider, $1.key.priority.rawValue, $1.key.outcome.rawValue)
    }
    for (labels, count) in rows {
      page.sample(
        "tollgate_requests_total",
        [("provider", labels.provider), ("priority", labels.priority.name), ("outcome", labels.outcome.rawValue)],
        Double(count))
    }
  }

  private static func gauges(_ page: inout MetricsPage, _ snapshot: AdmissionSnapshot) {
    page.family("tollgate_queue_depth", "gauge", "Requests that wait, by the provider that they prefer.")
    for provider in snapshot.providers {
      for priority in Priority.allCases {
        page.sample(
          "tollgate_queue_depth", [("provider", provider.id.name), ("priority", priority.name)],
          Double(provider.queuedByBand[Int(priority.rawValue)]))
      }
    }
    page.family("tollgate_queue_bytes", "gauge", "Bytes held by requests that wait.")
    page.sample("tollgate_queue_bytes", [], Double(snapshot.queuedBytes))
    page.family("tollgate_inflight", "gauge", "Calls that run upstream.")
    for provider in snapshot.providers {
      page.sample("tollgate_inflight", [("provider", provider.id.name)], Double(provider.inFlight))
    }
    page.family("tollgate_concurrency_limit", "gauge", "Calls that may run at a time; absent where there is no limit.")
    for provider in snapshot.providers {
      if let limit = provider.concurrencyLimit {
        page.sample("tollgate_concurrency_limit", [("provider", provider.id.name)], Double(limit))
      }
    }
    page.family("tollgate_bucket_available", "gauge", "Units left in a bucket; negative while a debt is worked off.")
    eachBucket(snapshot) { page.sample("tollgate_bucket_available", $0, Double($1.available)) }
    page.family("tollgate_bucket_capacity", "gauge", "Units that a bucket can hold.")
    eachBucket(snapshot) { page.sample("tollgate_bucket_capacity", $0, Double($1.capacity)) }
    page.family("tollgate_breaker_state", "gauge", "0 closed, 1 half open, 2 open.")
    for provider in snapshot.providers {
      page.sample("tollgate_breaker_state", [("provider", provider.id.name)], number(provider.breaker.state))
    }
    page.family("tollgate_model_breaker_state", "gauge", "As tollgate_breaker_state, of models with their own breaker.")
    for provider in snapshot.providers {
      for model in provider.models {
        guard let breaker = model.breaker else { continue }
        page.sample(
          "tollgate_model_breaker_state", [("provider", provider.id.name), ("model", model.pattern)],
          number(breaker.state))
      }
    }
    page.family("tollgate_key_state", "gauge", "0 usable, 1 cooling, 2 disabled.")
    for provider in snapshot.providers {
      for key in provider.keys {
        let state = number(key.state)
        page.sample("tollgate_key_state", [("provider", provider.id.name), ("key", key.id.name)], state)
      }
    }
  }

  private static func number(_ state: BreakerCondition) -> Double {
    switch state {
    case .closed: 0
    case .halfOpen: 1
    case .open: 2
    }
  }

  private static func number(_ state: KeyCondition) -> Double {
    switch state {
    case .usable: 0
    case .cooling: 1
    case .disabled: 2
    }
  }

  private static func memory(_ page: inout MetricsPage, _ memory: MemoryAccount) {
    page.family("tollgate_memory_bytes", "gauge", "Memory of clients' making, by what it is held for.")
    for use in MemoryAccount.Use.allCases {
      page.sample("tollgate_memory_bytes", [("use", use.name)], Double(memory.bytes(use)))
    }
    page.family("tollgate_memory_limit_bytes", "gauge", "The most that all uses together may hold.")
    page.sample("tollgate_memory_limit_bytes", [], Double(memory.limit))
  }

  private static func eachBucket(
    _ snapshot: AdmissionSnapshot, _ body: ([(String, String)], AdmissionSnapshot.Bucket) -> Void
  ) {
    for provider in snapshot.providers {
      for bucket in provider.buckets {
        body([("provider", provider.id.name), ("dimension", bucket.rate.name)], bucket)
      }
    }
  }

  /// Sessions have no metric, since clients choose their names.
  private static func budgets(_ page: inout MetricsPage, _ snapshot: AdmissionSnapshot) {
    let readings = snapshot.budgets.filter { reading in
      switch reading.account.scope {
      case .broker: true
      case .tenant, .clientKey: snapshot.listedTenants.contains(reading.account.tenant)
      case .session: false
      }
    }
    func labels(_ reading: BudgetReading) -> [(String, String)] {
      // A second budget of the same account and period needs a different name.
      let mark = reading.id.firstIndex(of: "#").map { String(reading.id[$0...]) } ?? ""
      return [("scope", reading.account.label), ("window", reading.window.name + mark)]
    }
    let all = readings
    let inDollars = all.filter { $0.unit == .usd }
    page.family("tollgate_budget_spent", "gauge", "Spent in the window that holds, in the budget's unit.")
    for reading in all {
      page.sample("tollgate_budget_spent", labels(reading) + unit(reading), amount(reading.spent, reading))
    }
    page.family("tollgate_budget_held", "gauge", "What running calls hold, in the budget's unit.")
    for reading in all {
      page.sample("tollgate_budget_held", labels(reading) + unit(reading), amount(reading.held, reading))
    }
    page.family(
      "tollgate_budget_limit", "gauge", "What may be spent in the window, raises included, in the budget's unit.")
    for reading in all {
      page.sample("tollgate_budget_limit", labels(reading) + unit(reading), amount(reading.limit, reading))
    }
    page.family(
      "tollgate_budget_spent_usd", "gauge", "US dollars spent in the window that holds; running calls not counted.")
    for reading in inDollars {
      page.sample("tollgate_budget_spent_usd", labels(reading), Double(reading.spent.nanodollars) / 1e9)
    }
    page.family("tollgate_budget_held_usd", "gauge", "US dollars that running calls hold.")
    for reading in inDollars {
      page.sample("tollgate_budget_held_usd", labels(reading), Double(reading.held.nanodollars) / 1e9)
    }
    page.family("tollgate_budget_limit_usd", "gauge", "US dollars that may be spent in the window, raises included.")
    for reading in inDollars {
      page.sample("tollgate_budget_limit_usd", labels(reading), Double(reading.limit.nanodollars) / 1e9)
    }
  }

  private static func unit(_ reading: BudgetReading) -> [(String, String)] { [("unit", reading.unit.rawValue)] }

  private static func amount(_ amount: Money, _ reading: BudgetReading) -> Double {
    Double(amount.nanodollars) / (reading.unit == .usd ? 1e9 : 1)
  }

  private static func histograms(_ page: inout MetricsPage, _ metrics: BrokerMetrics) {
    page.family("tollgate_queue_wait_seconds", "histogram", "Time between the body's arrival and the grant.")
    for priority in Priority.allCases {
      page.histogram(
        "tollgate_queue_wait_seconds", [("priority", priority.name)], metrics.queueWait[Int(priority.rawValue)])
    }
    page.family("tollgate_time_to_first_byte_seconds", "histogram", "Time between the grant and the provider's head.")
    for (provider, histogram) in metrics.firstByte.sorted(by: { $0.key < $1.key }) {
      page.histogram("tollgate_time_to_first_byte_seconds", [("provider", provider)], histogram)
    }
    page.family("tollgate_overhead_seconds", "histogram", "Our own time in a request, queue and provider excluded.")
    page.histogram("tollgate_overhead_seconds", [], metrics.overhead)
  }

  private static func upstream(_ page: inout MetricsPage, _ metrics: BrokerMetrics) {
    page.family("tollgate_upstream_responses_total", "counter", "Answers of providers, by status.")
    let responses = metrics.upstreamResponses.sorted {
      ($0.key.provider, $0.key.status) < ($1.key.provider, $1.key.status)
    }
    for (labels, count) in responses {
      page.sample(
        "tollgate_upstream_responses_total", [("provider", labels.provider), ("status", String(labels.status))],
        Double(count))
    }
    page.family("tollgate_upstream_retries_total", "counter", "Attempts that were followed by another, by reason.")
    let retries = metrics.upstreamRetries.sorted {
      ($0.key.provider, $0.key.reason.rawValue) < ($1.key.provider, $1.key.reason.rawValue)
    }
    for (labels, count) in retries {
      page.sample(
        "tollgate_upstream_retries_total", [("provider", labels.provider), ("reason", labels.reason.rawValue)],
        Double(count))
    }
  }

  private static func tokens(_ page: inout MetricsPage, _ metrics: BrokerMetrics) {
    page.family(
      "tollgate_tokens_total", "counter",
      "Tokens. input is what no cache served; reasoning is part of output; the other types do not overlap.")
    let rows = metrics.tokens.sorted {
      ($0.key.provider, $0.key.model, $0.key.tenant) < ($1.key.provider, $1.key.model, $1.key.tenant)
    }
    for (labels, counts) in rows {
      let types = [
        ("input", counts.input), ("cache_read", counts.cacheRead), ("cache_write", counts.cacheWrite),
        ("output", counts.output), ("reasoning", counts.reasoning),
      ]
      for (type, count) in types {
        page.sample(
          "tollgate_tokens_total",
          [("provider", labels.provider), ("model", labels.model), ("tenant", labels.tenant), ("type", type)],
          Double(count))
      }
    }
    page.family("tollgate_cost_usd_total", "counter", "US dollars, where the price is known.")
    for (labels, counts) in rows where counts.cost > .zero {
      page.sample(
        "tollgate_cost_usd_total",
        [("provider", labels.provider), ("model", labels.model), ("tenant", labels.tenant)],
        Double(counts.cost.nanodollars) / 1e9)
    }
    caches(&page, metrics)
    page.family(
      "tollgate_estimate_ratio", "gauge", "Input tokens that the provider counted over those reserved for them.")
    let estimates = metrics.estimates.sorted { ($0.key.provider, $0.key.model) < ($1.key.provider, $1.key.model) }
    for (labels, sums) in estimates where sums.estimated > 0 {
      page.sample(
        "tollgate_estimate_ratio", [("provider", labels.provider), ("model", labels.model)],
        Double(sums.actual) / Double(sums.estimated))
    }
  }

  private static func caches(_ page: inout MetricsPage, _ metrics: BrokerMetrics) {
    page.family("tollgate_cache_read_share", "gauge", "Share of the input since the start that a prompt cache gave.")
    var inputs: [String: (read: Double, all: Double)] = [:]
    for (labels, counts) in metrics.tokens.sorted(by: { $0.key.provider < $1.key.provider }) {
      let read = Double(counts.cacheRead)
      inputs[labels.provider, default: (0, 0)].read += read
      inputs[labels.provider, default: (0, 0)].all += read + Double(counts.input) + Double(counts.cacheWrite)
    }
    for (provider, input) in inputs.sorted(by: { $0.key < $1.key }) where input.all > 0 {
      page.sample("tollgate_cache_read_share", [("provider", provider)], input.read / input.all)
    }
    page.family(
      "tollgate_cache_lost_usd_total", "counter",
      "US dollars that input cost more because a prompt cache was not read, by the reason, where the price is known.")
    for reason in CacheLoss.allCases {
      guard let lost = metrics.cacheLost[reason] else { continue }
      page.sample("tollgate_cache_lost_usd_total", [("reason", reason.rawValue)], Double(lost.nanodollars) / 1e9)
    }
  }

  private static func process(_ page: inout MetricsPage, _ process: ProcessFigures) {
    page.family("process_resident_memory_bytes", "gauge", "Resident memory.")
    page.sample("process_resident_memory_bytes", [], Double(process.residentBytes))
    page.family("process_virtual_memory_bytes", "gauge", "Virtual memory.")
    page.sample("process_virtual_memory_bytes", [], Double(process.virtualBytes))
    page.family("process_cpu_seconds_total", "counter", "CPU time, user and system.")
    page.sample("process_cpu_seconds_total", [], process.cpuSeconds)
    page.family("process_open_fds", "gauge", "Open descriptors.")
    page.sample("process_open_fds", [], Double(process.openDescriptors))
    page.family("process_start_time_seconds", "gauge", "When the process began, in seconds since 1970.")
    page.sample("process_start_time_seconds", [], process.startTimeSeconds)
  }
}

/// A page of metrics that is being written.
struct MetricsPage {
  private(set) var bytes: [UInt8] = []

  mutating func family(_ name: String, _ type: String, _ help: String) {
    bytes.append(contentsOf: "# HELP \(name) \(help)\n# TYPE \(name) \(type)\n".utf8)
  }

  mutating func sample(_ name: String, _ labels: [(String, String)], _ value: Double) {
    bytes.append(contentsOf: name.utf8)
    write(labels)
    bytes.append(contentsOf: " \(MetricsPage.number(value))\n".utf8)
  }

  mutating func histogram(_ name: String, _ labels: [(String, String)], _ histogram: Histogram) {
    var total = 0
    for (index, bound) in histogram.bounds.enumerated() {
      total += histogram.counts[index]
      sample(name + "_bucket", labels + [("le", MetricsPage.number(bound))], Double(total))
    }
    sample(name + "_bucket", labels + [("le", "+Inf")], Double(histogram.count))
    sample(name + "_sum", labels, histogram.sum)
    sample(name + "_count", labels, Double(histogram.count))
  }

  private mutating func write(_ labels: [(String, String)]) {
    guard !labels.isEmpty else { return }
    bytes.append(UInt8(ascii: "{"))
    for (index, (name, value)) in labels.enumerated() {
      if index > 0 { bytes.append(UInt8(ascii: ",")) }
      bytes.append(contentsOf: "\(name)=\"".utf8)
      for byte in value.utf8 {
        switch byte {
        case UInt8(ascii: "\\"), UInt8(ascii: "\""): bytes.append(contentsOf: [UInt8(ascii: "\\"), byte])
        case 0x0A: bytes.append(contentsOf: "\\n".utf8)
        default: bytes.append(byte)
        }
      }
      bytes.append(UInt8(ascii: "\""))
    }
    bytes.append(UInt8(ascii: "}"))
  }

  /// Whole numbers without a fraction, others in Swift's shortest form.
  static func number(_ value: Double) -> String {
    value == value.rounded() && value.magnitude < 1e15 ? String(Int64(value)) : "\(value)"
  }
}
