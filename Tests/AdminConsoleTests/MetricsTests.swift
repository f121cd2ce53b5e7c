// The metrics' page: both formats, numbers, bounds, and the page of documentation that lists them.
import AdmissionCore
import Foundation
import Testing

@testable import AdminConsole
@testable import BrokerEngine

@Suite struct MetricsFormatTests {
  private static let openMetrics = MetricsFormat.openMetrics(version: "1.0.0")

  @Test(arguments: [
    [], [""], ["*/*"], ["text/plain"], ["text/plain;version=0.0.4"], ["text/html, */*;q=0.1"], ["application/json"],
    ["application/openmetrics-text;version=2.0.0"], ["application/openmetrics-text;q=0"],
    ["application/openmetrics-text;q=0.4,text/plain;version=0.0.4;q=0.5"], ["application/openmetrics-text;q=many"],
    ["application/openmetrics-text;q=-1"], ["text/plain, application/openmetrics-text"], [",;,=;q=;;,"],
    ["application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,*/*;q=0.1"],
  ])
  func theClassicFormatUnlessTheOtherIsAskedFor(_ accept: [String]) {
    #expect(MetricsFormat.wanted(by: accept) == .classic)
    #expect(MetricsFormat.classic.contentType == "text/plain; version=0.0.4; charset=utf-8")
  }

  @Test(arguments: [
    ["application/openmetrics-text"], ["application/openmetrics-text; version=1.0.0; charset=utf-8"],
    ["Application/OpenMetrics-Text;Version=\"1.0.0\""], ["text/plain;q=0.5", "application/openmetrics-text;q=0.6"],
    ["application/openmetrics-text, text/plain"],
    // What Prometheus 2.42 and 3 send.
    [
      "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
        + "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    ],
    [
      "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
        + "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
        + "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
    ],
  ])
  func openMetricsWhereItIsLikedBest(_ accept: [String]) {
    #expect(MetricsFormat.wanted(by: accept) == Self.openMetrics)
    #expect(Self.openMetrics.contentType == "application/openmetrics-text; version=1.0.0; charset=utf-8")
  }

  @Test func theVersionIsTheOneThatWasAskedFor() {
    let old = MetricsFormat.wanted(by: ["application/openmetrics-text;version=0.0.1"])
    #expect(old.contentType == "application/openmetrics-text; version=0.0.1; charset=utf-8")
  }
}

@Suite struct MetricsPageTests {
  @Test(arguments: [
    (0.0, "0"), (-0.0, "0"), (0.1 + 0.2, "0.3"), (1.5, "1.5"), (-2, "-2"), (1.0 / 3, "0.333333"), (1e-7, "1e-07"),
    (1_000_000_007, "1000000007"), (1e17, "100000000000000000"), (1e300, "1e+300"), (.infinity, "+Inf"),
    (-.infinity, "-Inf"), (.nan, "NaN"), (1_763_720_000.25, "1763720000.25"),
  ])
  func numbersHaveNoNoise(_ value: Double, _ text: String) {
    #expect(MetricsPage.number(value) == text)
  }

  @Test(arguments: [
    (0, "0"), (1, "0.000000001"), (-1_500_000_000, "-1.5"), (12_300_000_000, "12.3"), (.max, "9223372036.854775807"),
    (.min, "-9223372036.854775808"),
  ])
  func moneyAndTimesAreExact(_ billionths: Int64, _ text: String) {
    #expect(MetricsPage.decimal(billionths: billionths) == text)
  }

  @Test func labelsAreEscaped() {
    var page = MetricsPage(.classic)
    page.begin(.buildInfo)
    page.sample(["q\"b\\c\nd"], 1.5)
    #expect(
      String(decoding: page.bytes, as: UTF8.self).hasSuffix("tollgate_build_info{version=\"q\\\"b\\\\c\\nd\"} 1.5\n"))
  }

  @Test func eachFormatHasItsHeads() {
    func text(_ format: MetricsFormat) -> String {
      var page = MetricsPage(format)
      page.only(.cpu, 2)
      return String(decoding: page.finished(), as: UTF8.self)
    }
    #expect(
      text(.classic) == """
        # HELP process_cpu_seconds_total CPU time, user and system.
        # TYPE process_cpu_seconds_total counter
        process_cpu_seconds_total 2

        """)
    #expect(
      text(.openMetrics(version: "1.0.0")) == """
        # HELP process_cpu_seconds CPU time, user and system.
        # TYPE process_cpu_seconds counter
        # UNIT process_cpu_seconds seconds
        process_cpu_seconds_total 2
        # EOF

        """)
  }

  @Test func bucketsShowTheirExamplesInOpenMetrics() {
    var metrics = BrokerMetrics()
    metrics.waited(.high, .milliseconds(20), RequestID(high: 0, low: 1), at: 5_000_000_000)
    func text(_ format: MetricsFormat) -> String {
      var page = MetricsPage(format, wallOffset: 1_763_720_000_000_000_000)
      page.begin(.queueWait)
      page.histogram(["high"], metrics.queueWait[0], exemplars: metrics.waitExemplars[0])
      return String(decoding: page.bytes, as: UTF8.self)
    }
    let band = Int(Priority.high.rawValue)
    #expect(band == 0)
    let line = "tollgate_queue_wait_seconds_bucket{priority=\"high\",le=\"0.025\"} 1"
    let example = " # {request_id=\"00000000000000000000000001\"} 0.02 1763720005"
    #expect(text(.openMetrics(version: "1.0.0")).contains(line + example + "\n"))
    #expect(text(.classic).contains(line + "\n"))
    #expect(!text(.classic).contains(" # "))
    for format in [MetricsFormat.classic, .openMetrics(version: "1.0.0")] {
      #expect(text(format).contains("le=\"1.0\"} 1\n"))
      #expect(text(format).contains("le=\"+Inf\"} 1\n"))
      #expect(
        text(format).hasSuffix("_sum{priority=\"high\"} 0.02\ntollgate_queue_wait_seconds_count{priority=\"high\"} 1\n")
      )
    }
  }
}

@Suite struct MetricsTextTests {
  private static func source(
    providers: [AdmissionSnapshot.Provider] = [], tenants: [AdmissionSnapshot.Tenant] = [],
    budgets: [BudgetReading] = [], classes: [AdmissionSnapshot.ClassQueue] = []
  ) -> MetricsSource {
    MetricsSource(
      core: AdmissionSnapshot(
        providers: providers, tenants: tenants, queuedByBand: [0, 0, 0], queuedBytes: 0, running: 0, openLeases: 0,
        queueStorage: 0, isDraining: false, budgets: budgets, classes: classes),
      counted: BrokerMetrics(), now: Instant(nanoseconds: 100_000_000_000))
  }

  private func lines(_ source: MetricsSource) -> Set<String> {
    Set(
      String(decoding: MetricsText.render(source, as: .classic), as: UTF8.self).split(separator: "\n").map(String.init))
  }

  private static func provider(_ number: Int) -> AdmissionSnapshot.Provider {
    let buckets = RateLimit.allCases.map {
      AdmissionSnapshot.Bucket(
        dimension: $0.dimension, rate: $0, available: -123_456_789, capacity: 2_000_000_000, inUse: 1)
    }
    return AdmissionSnapshot.Provider(
      id: ProviderID("provider-number-\(number)"), inFlight: 3, concurrencyLimit: 50, inFlightByBand: [1, 2, 0],
      buckets: buckets,
      models: (0..<10).map {
        AdmissionSnapshot.Model(
          pattern: "model-\($0)-*", inFlight: 1, concurrencyLimit: 5, buckets: buckets,
          breaker: AdmissionSnapshot.Breaker(state: .halfOpen))
      }, breaker: AdmissionSnapshot.Breaker(state: .open),
      keys: (0..<4).map {
        AdmissionSnapshot.Key(
          id: KeyID("key-\($0)"), state: .cooling, inFlight: 2, concurrencyLimit: 10, buckets: buckets)
      }, queuedByBand: [1, 0, 9], reservedPermits: [5, 0, 0])
  }

  private static func reading(
    _ id: String, _ account: BudgetAccount, _ period: BudgetWindow.Period = .day, unit: BudgetUnit = .usd,
    spent: Int64 = 0, end: Instant? = nil
  ) -> BudgetReading {
    BudgetReading(
      id: id, account: account, window: BudgetWindow(period), unit: unit,
      limit: Money(nanodollars: 10_000_000_000), spent: Money(nanodollars: spent), held: .zero, onExceed: .reject,
      warnAtPercent: 80, windowEnd: end)
  }

  @Test func eachFamilyIsThereOnceInTheOrderOfTheList() {
    for format in [MetricsFormat.classic, .openMetrics(version: "1.0.0")] {
      let text = String(
        decoding: MetricsText.render(Self.source(providers: [Self.provider(1)]), as: format), as: UTF8.self)
      let names = text.split(separator: "\n").filter { $0.hasPrefix("# TYPE ") }.map {
        String($0.split(separator: " ")[2])
      }
      #expect(Set(names).count == names.count)
      #expect(Set(names) == Set(MetricFamily.all.map { format == .classic ? $0.name : $0.base }))
    }
    #expect(Set(MetricFamily.all.map(\.name)).count == MetricFamily.all.count)
  }

  @Test func providersKeysAndModelsShowTheirLimits() {
    let lines = lines(Self.source(providers: [Self.provider(1)]))
    for line in [
      "tollgate_inflight{provider=\"provider-number-1\"} 3",
      "tollgate_class_inflight{provider=\"provider-number-1\",priority=\"normal\"} 2",
      "tollgate_reserved_permits{provider=\"provider-number-1\",priority=\"high\"} 5",
      "tollgate_bucket_available{provider=\"provider-number-1\",dimension=\"tokens_per_day\"} -123456789",
      "tollgate_bucket_in_use{provider=\"provider-number-1\",dimension=\"requests\"} 1",
      "tollgate_breaker_state{provider=\"provider-number-1\"} 2",
      "tollgate_model_breaker_state{provider=\"provider-number-1\",model=\"model-0-*\"} 1",
      "tollgate_model_concurrency_limit{provider=\"provider-number-1\",model=\"model-0-*\"} 5",
      "tollgate_key_state{provider=\"provider-number-1\",key=\"key-3\"} 1",
      "tollgate_key_inflight{provider=\"provider-number-1\",key=\"key-3\"} 2",
      "tollgate_key_concurrency_limit{provider=\"provider-number-1\",key=\"key-3\"} 10",
      "tollgate_key_bucket_capacity{provider=\"provider-number-1\",key=\"key-3\",dimension=\"input_tokens\"} 2000000000",
    ] {
      #expect(lines.contains(line), "\(line)")
    }
  }

  @Test func classesShowHowLongTheyWait() {
    let lines = lines(
      Self.source(classes: [
        AdmissionSnapshot.ClassQueue(
          priority: .high, queued: 1, waitingSince: Instant(nanoseconds: 97_500_000_000), predictedWait: .seconds(4)),
        AdmissionSnapshot.ClassQueue(priority: .low, queued: 0),
      ]))
    #expect(lines.contains("tollgate_queue_oldest_seconds{priority=\"high\"} 2.5"))
    #expect(lines.contains("tollgate_queue_oldest_seconds{priority=\"low\"} 0"))
    #expect(lines.contains("tollgate_predicted_wait_seconds{priority=\"high\"} 4"))
    #expect(!lines.contains { $0.hasPrefix("tollgate_predicted_wait_seconds{priority=\"low\"") })
  }

  @Test func budgetsShowWhenTheyEndAndNamesOfClientsStayOut() {
    let acme = AdmissionSnapshot.Tenant(id: "acme", inFlight: 1, queued: 2, buckets: [], weight: 1)
    let guest = AdmissionSnapshot.Tenant(id: "guest", inFlight: 1, queued: 2, buckets: [], weight: 1, isListed: false)
    var source = Self.source(
      tenants: [acme, guest],
      budgets: [
        Self.reading("broker/day", .broker, spent: 300_000_000, end: Instant(nanoseconds: 160_000_000_000)),
        Self.reading("acme/total", .tenant("acme"), .total, unit: .tokens, spent: 12),
        Self.reading("acme/total#2", .tenant("acme"), .total),
        Self.reading("guest/day", .tenant("guest")),
        Self.reading("acme/session/s/day", .session("s", of: "acme")),
      ])
    source.runsOut = ["broker/day": .seconds(30)]
    let lines = lines(source)
    for line in [
      "tollgate_budget_spent{scope=\"broker\",window=\"day\",unit=\"usd\"} 0.3",
      "tollgate_budget_spent_usd{scope=\"broker\",window=\"day\"} 0.3",
      "tollgate_budget_warn_ratio{scope=\"broker\",window=\"day\",unit=\"usd\"} 0.8",
      "tollgate_budget_window_left_seconds{scope=\"broker\",window=\"day\",unit=\"usd\"} 60",
      "tollgate_budget_runs_out_seconds{scope=\"broker\",window=\"day\",unit=\"usd\"} 30",
      "tollgate_budget_spent{scope=\"acme\",window=\"total\",unit=\"tokens\"} 12",
      "tollgate_budget_limit_usd{scope=\"acme\",window=\"total#2\"} 10",
      "tollgate_tenant_queue_depth{tenant=\"acme\"} 2",
    ] {
      #expect(lines.contains(line), "\(line)")
    }
    #expect(!lines.contains { $0.contains("guest") || $0.contains("session/") })
    #expect(!lines.contains { $0.hasPrefix("tollgate_budget_window_left_seconds{scope=\"acme\"") })
  }

  @Test(arguments: [
    (2, 1_000_000_000, 28_800), (10, 1_000_000_000, 0), (12, 1, 0), (2, .max, 0), (0, 1, 9_000_000_000),
  ])
  func aBudgetLastsAsLongAsWhatIsLeftOfIt(_ spentDollars: Int64, _ perHour: Int64, _ seconds: Int64) {
    let reading = Self.reading("broker/day", .broker, spent: spentDollars * 1_000_000_000)
    #expect(MetricsSource.lasts(reading, perHour: perHour).nanoseconds / 1_000_000_000 == seconds)
  }

  /// 50 providers, 500 tenants with budgets, 500 models, and a provider that invents statuses.
  private static func full() -> MetricsSource {
    let bucket = AdmissionSnapshot.Bucket(
      dimension: .tokens, rate: .tokensPerMinute, available: 200_000, capacity: 200_000)
    let names = (0..<500).map { TenantID("tenant-number-\($0)") }
    var source = source(
      providers: (0..<50).map(provider),
      tenants: names.map {
        AdmissionSnapshot.Tenant(id: $0, inFlight: 1, queued: 1, concurrencyLimit: 10, buckets: [bucket], weight: 1)
      },
      budgets: names.map {
        reading("\($0)/day", .tenant($0), spent: 1_234_567_891, end: Instant(nanoseconds: .max))
      })
    var metrics = BrokerMetrics()
    let usage = Usage(
      inputTokens: 123_456, cacheReadTokens: 100_000, cacheWriteTokens: 3_000, outputTokens: 4_000,
      reasoningTokens: 1_000)
    for number in 0..<50 {
      let provider = "provider-number-\(number)"
      for priority in Priority.allCases {
        for outcome in Outcome.allCases {
          metrics.requests.add(
            BrokerMetrics.RequestLabels(provider: provider, priority: priority, outcome: outcome))
        }
      }
      for status in 0..<1000 {
        metrics.upstreamResponses.add(
          BrokerMetrics.StatusLabels(provider: provider, status: LabelPolicy.status(status)))
      }
      metrics.firstByte.count(provider, from: .firstByte) { $0.observe(.milliseconds(80)) }
      for model in 0..<500 {
        for tenant in stride(from: model % 25, to: 500, by: 25) {
          let labels = BrokerMetrics.TokenLabels(
            provider: provider, model: "a-model-with-a-name-\(model)", tenant: names[tenant].name)
          metrics.count(
            usage, Money(nanodollars: 1_234_567), for: LabelPolicy.bounded(labels, among: metrics.tokens))
        }
        let labels = BrokerMetrics.EstimateLabels(provider: provider, model: "a-model-with-a-name-\(model)")
        metrics.count(estimated: 7, actual: 8, for: LabelPolicy.bounded(labels, among: metrics.estimates))
      }
    }
    source.counted = metrics
    return source
  }

  @Test func thePageIsBounded() {
    let page = MetricsText.render(Self.full(), as: .openMetrics(version: "1.0.0"))
    #expect(page.count < 8 << 20, "\(page.count) bytes")
    #expect(page.count > 1 << 20, "\(page.count) bytes: is the scene what it says?")
    let lines = page.split(separator: UInt8(ascii: "\n"))
    let series = Set(lines.map { line in Array(line.prefix { $0 != UInt8(ascii: "}") }) })
    #expect(series.count == lines.count, "a series is there twice")
  }
}

/// docs/reference/metrics.md has a row for each metric, with its type and labels.
@Suite struct MetricsReferenceTests {
  private static let page: String = {
    let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    let url = folder.appendingPathComponent("../../docs/reference/metrics.md").standardizedFileURL
    return (try? String(contentsOf: url, encoding: .utf8)) ?? ""
  }()

  /// The rows, by the names in their first column.
  private static let rows: [String: [Substring]] = {
    var rows: [String: [Substring]] = [:]
    for line in page.split(separator: "\n") where line.hasPrefix("| `") {
      let cells = line.split(separator: "|")
      for (index, name) in cells[0].split(separator: "`", omittingEmptySubsequences: false).enumerated()
      where index % 2 == 1 { rows[String(name)] = Array(cells) }
    }
    return rows
  }()

  @Test func eachMetricHasItsRowAndEachRowItsMetric() throws {
    #expect(Set(Self.rows.keys) == Set(MetricFamily.all.map(\.name)))
    for family in MetricFamily.all {
      let cells = try #require(Self.rows[family.name])
      #expect(cells.count == 4, "\(family.name)")
      #expect(cells[1].contains(family.kind.rawValue), "\(family.name) is a \(family.kind)")
      let labels = cells[2].split(separator: "`", omittingEmptySubsequences: false).enumerated()
        .filter { $0.offset % 2 == 1 }.map { String($0.element) }
      #expect(labels == family.labels, "\(family.name)")
    }
  }

  @Test func everyValueOfAClosedLabelIsTold() {
    let dimensions = RateLimit.allCases.map(\.name)
    #expect(dimensions.count == 7)
    let others =
      ["bodies", "queued", "retry", "decoding", "records"] + OurBug.allCases.map(\.rawValue)
      + ImpossibleNumber.allCases.map(\.rawValue) + BudgetUnit.allCases.map(\.rawValue)
      + ["input", "cache_read", "cache_write", "output", "reasoning", "data", "admin"]
      + CacheLoss.allCases.map(\.rawValue)
    for value in dimensions + others { #expect(Self.page.contains("`\(value)`"), "\(value)") }
  }
}
