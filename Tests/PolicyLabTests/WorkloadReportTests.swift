// The named workloads and their report: deterministic, complete, quantiles.
import AdmissionCore
import Testing

@testable import PolicyLab

@Suite struct WorkloadReportTests {
  private let policy = AdmissionPolicy(
    providers: [ProviderPolicy(id: "alpha", limits: Limits(concurrency: 50, tokensPerMinute: 20_000_000))])

  @Test(arguments: Workload.allCases) func everyWorkloadReportsTheSameForTheSameSeed(_ workload: Workload) throws {
    var short = workload.scenario(policy: policy, seed: 3)
    short.horizon = Instant(nanoseconds: 1_500_000_000)
    let one = Simulation<Admission>.run(short, observer: nil)
    let two = Simulation<Admission>.run(short, observer: nil)
    let text = WorkloadReport.text(title: workload.rawValue, scenario: short, result: one)
    #expect(text == WorkloadReport.text(title: workload.rawValue, scenario: short, result: two))
    #expect(one.grants > 50)
    for part in ["class", "wait p99", "high", "normal", "low", "provider", "alpha", "seed 3"] {
      #expect(text.contains(part), "\(part) is missing in\n\(text)")
    }
  }

  @Test func namesAreTheContractsAndOthersAreRefused() {
    #expect(
      WorkloadReport.names == ["coding-fleet", "overload-3x", "fair-tenants", "cancel-storm", "provider-429"])
    #expect(WorkloadReport.run("nothing-like-it", policy: policy) == nil)
  }

  @Test func quantilesAreOfTheSortedValues() {
    #expect(WorkloadReport.quantile([], 50) == nil)
    #expect(WorkloadReport.quantile([7], 99) == 7)
    let hundred = (1...100).map { Int64($0) }
    #expect(WorkloadReport.quantile(hundred, 50) == 50)
    #expect(WorkloadReport.quantile(hundred, 99) == 99)
    #expect(WorkloadReport.quantile(hundred, 100) == 100)
    #expect(WorkloadReport.quantile([1, 2, 3], 50) == 2)
  }
}
