// A share of requests, with a floor for quiet brokers.
import Testing

@testable import AdmissionCore

@Suite struct RetryBudgetTests {
  @Test func tenAtTheStartThenTheShare() {
    var budget = RetryBudget()
    let now = Instant(nanoseconds: 0)
    var granted = 0
    for _ in 0..<20 where budget.withdraw(at: now) { granted += 1 }
    #expect(granted == 10)
    for _ in 0..<100 { budget.deposit(percent: 20) }
    granted = 0
    for _ in 0..<50 where budget.withdraw(at: now) { granted += 1 }
    #expect(granted == 20)
    granted = 0
    for _ in 0..<50 where budget.withdraw(at: now + .seconds(3)) { granted += 1 }
    #expect(granted == 3)
    for _ in 0..<10_000 { budget.deposit(percent: 20) }
    granted = 0
    for _ in 0..<500 where budget.withdraw(at: now + .seconds(3)) { granted += 1 }
    #expect(granted == 100)
  }
}
