// Numbers of models for the predictors: invented names do not take those of models that the policy knows.
import Testing

@testable import AdmissionCore

@Suite struct RouteTableTests {
  private let candidates = [Candidate(provider: "p")]
  private let route = Route(legs: [])

  private func number(_ table: inout RouteTable, _ model: String, listed: Bool) -> ModelNumber {
    table.cached(model: model, candidates: candidates)?.model
      ?? table.add(route, model: model, candidates: candidates, isListed: listed).model
  }

  @Test func inventedNamesLeaveTheListedModelsTheirNumbers() {
    var table = RouteTable()
    for index in 0..<10_000 {
      let given = number(&table, "invented-\(index)", listed: false)
      table.taught(given)
      #expect(given.position <= 32)
    }
    var seen: Set<ModelNumber> = []
    for index in 0..<96 { seen.insert(number(&table, "real-\(index)", listed: true)) }
    #expect(seen == Set((33...128).map { ModelNumber($0) }))
    // Nobody lost a number to another, and who comes after the last shares number 0.
    for index in 0..<96 { table.taught(number(&table, "real-\(index)", listed: true)) }
    #expect(number(&table, "real-96", listed: true) == 0)
    #expect(number(&table, "real-7", listed: true) == number(&table, "real-7", listed: true))
  }

  @Test func aNameThatTaughtNothingMakesRoom() {
    var table = RouteTable()
    for index in 0..<96 { _ = number(&table, "priced-but-invented-\(index)", listed: true) }
    let first = number(&table, "real", listed: true)
    #expect(first != .shared)
    table.taught(first)
    for index in 0..<500 { _ = number(&table, "more-\(index)", listed: true) }
    #expect(number(&table, "real", listed: true) == first)
    #expect(table.cached(model: "priced-but-invented-0", candidates: candidates) == nil)
  }

  @Test func modelsKeepTheirNumbersOverANewPolicy() {
    var table = RouteTable()
    let before = number(&table, "m", listed: true)
    table.taught(before)
    table.removeAll()
    #expect(number(&table, "m", listed: true) == before)
    #expect(table.count == 1)
  }
}
