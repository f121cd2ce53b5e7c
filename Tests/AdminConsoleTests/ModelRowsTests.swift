// The rows of models in the status, and the limits learned for models in the metrics.
import AdmissionCore
import Foundation
import Testing
import TextForms

@testable import AdminConsole
@testable import BrokerEngine

@Suite struct ModelRowsTests {
  private typealias Learned = AdmissionSnapshot.Learned

  private static func learned(
    _ model: String?, _ quantity: Learned.Quantity, _ value: Int64, key: KeyID? = nil,
    from source: Learned.Source = .refusals
  ) -> Learned {
    Learned(
      quantity: quantity, model: model, key: key, value: value, source: source, since: Instant(nanoseconds: 5_000_000))
  }

  private static func provider(
    _ id: ProviderID = "p", _ patterns: [String] = [], resting: [AdmissionSnapshot.ModelRest] = [], learned: [Learned]
  ) -> AdmissionSnapshot.Provider {
    AdmissionSnapshot.Provider(
      id: id, inFlight: 0, inFlightByBand: [0, 0, 0], buckets: [],
      models: patterns.map { AdmissionSnapshot.Model(pattern: $0, inFlight: 1, concurrencyLimit: 20, buckets: []) },
      breaker: AdmissionSnapshot.Breaker(state: .closed), keys: [], queuedByBand: [0, 0, 0], resting: resting,
      learned: learned)
  }

  private struct Row: Decodable, Equatable {
    struct Limit: Decodable, Equatable {
      var what: String
      var value: Int
      var unit: String
      var from: String
      var since: String
    }
    var models: String
    var listed: Bool
    var state: String
    var concurrencyLimit: Int?
    var learnedConcurrency: Int?
    var learnedLimits: [Limit]
  }

  private func rows(_ provider: AdmissionSnapshot.Provider) throws -> [Row] {
    var json = JSONWriter()
    StatusJSON.models(&json, provider, SnapshotClock(now: 5_000_000, wall: 1_000_000_000_000_000_000))
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    return try decoder.decode([Row].self, from: Data(json.bytes))
  }

  @Test func aModelOfWhichOnlyAPaceWasLearnedHasARow() throws {
    let rows = try rows(
      Self.provider(learned: [
        Self.learned("haiku", .perMinute(.tokens), 90_000), Self.learned("haiku", .perMinute(.requests), 60),
        Self.learned("opus", .atOnce, 4, from: .headers),
      ]))
    #expect(rows.map(\.models) == ["haiku", "opus"])
    #expect(rows.allSatisfy { !$0.listed && $0.state == "usable" && $0.learnedConcurrency == nil })
    let since = "2001-09-09T01:46:40.000Z"
    let from = "refusals (429) without numbers"
    #expect(
      rows[0].learnedLimits == [
        Row.Limit(what: "tokens_per_minute", value: 90_000, unit: "tokens/min", from: from, since: since),
        Row.Limit(what: "requests_per_minute", value: 60, unit: "requests/min", from: from, since: since),
      ])
    #expect(rows[1].learnedLimits.map(\.what) == ["requests_at_once"])
    #expect(rows[1].learnedLimits.map(\.from) == ["rate-limit headers"])
  }

  @Test func eachModelHasOneRow() throws {
    let resting = AdmissionSnapshot.ModelRest(model: "rests", until: nil, reason: .slowDown)
    let rows = try rows(
      Self.provider(
        "p", ["m*"], resting: [resting],
        learned: [
          Self.learned("m*", .perMinute(.tokens), 5), Self.learned("rests", .perMinute(.tokens), 6),
          Self.learned("new", .concurrency, 7), Self.learned("new", .perMinute(.tokens), 8),
          // Limits of the provider and of a key are in their own rows.
          Self.learned(nil, .perMinute(.tokens), 9), Self.learned("new", .perMinute(.requests), 10, key: "k"),
          Self.learned("only at a key", .perMinute(.requests), 11, key: "k"),
        ]))
    #expect(rows.map(\.models) == ["m*", "rests", "new"])
    #expect(rows.map(\.listed) == [true, false, false])
    #expect(rows.map { $0.learnedLimits.map(\.value) } == [[5], [6], [8]])
    #expect(rows.map(\.concurrencyLimit) == [20, nil, 7])
    #expect(rows.map(\.learnedConcurrency) == [nil, nil, 7])
  }

  /// Clients choose the names of models.
  @Test func limitsLearnedForModelsAreMetricsUnderBoundedNames() {
    let known: Set = ["gpt-6", "gpt-6-mini"]
    let core = AdmissionSnapshot(
      providers: [
        Self.provider(
          "a", ["gpt-6", "o*"],
          learned: [
            // An entry's limit stands with the entry.
            Self.learned("gpt-6", .concurrency, 3), Self.learned("gpt-6-mini", .concurrency, 4),
            Self.learned("gpt-6-mini", .perMinute(.tokens), 1), Self.learned(nil, .concurrency, 2),
            Self.learned("gpt-6-mini", .concurrency, 1, key: "k"),
          ] + (0..<1000).map { Self.learned("made up \($0)", .concurrency, Int64(1000 - $0)) }),
        Self.provider("b", learned: [Self.learned("gpt-6", .concurrency, 5)]),
        // A glob that is called as all others are.
        Self.provider("c", ["other"], learned: [Self.learned("made up", .concurrency, 6)]),
      ], tenants: [], queuedByBand: [0, 0, 0], queuedBytes: 0, running: 0, openLeases: 0, queueStorage: 0,
      isDraining: false)
    let limits = MetricsSource.learnedLimits(core) { known.contains($0) ? $0 : "other" }
    typealias Limit = MetricsSource.LearnedLimit
    #expect(
      limits == [
        Limit(provider: "a", model: "gpt-6-mini", limit: 4), Limit(provider: "a", model: "other", limit: 1),
        Limit(provider: "b", model: "gpt-6", limit: 5),
      ])
    var source = MetricsSource(core: core, counted: BrokerMetrics(), now: Instant(nanoseconds: 0))
    source.learnedLimits = limits
    let page = String(decoding: MetricsText.render(source, as: .classic), as: UTF8.self)
    let lines = page.split(separator: "\n").filter { $0.hasPrefix("tollgate_model_concurrency_limit{") }
    #expect(
      lines == [
        "tollgate_model_concurrency_limit{provider=\"a\",model=\"gpt-6\"} 20",
        "tollgate_model_concurrency_limit{provider=\"a\",model=\"o*\"} 20",
        "tollgate_model_concurrency_limit{provider=\"c\",model=\"other\"} 20",
        "tollgate_model_concurrency_limit{provider=\"a\",model=\"gpt-6-mini\"} 4",
        "tollgate_model_concurrency_limit{provider=\"a\",model=\"other\"} 1",
        "tollgate_model_concurrency_limit{provider=\"b\",model=\"gpt-6\"} 5",
      ])
  }
}
