// The simulated provider: each limit at and over, both ways of charging, moods.
import AdmissionCore
import Testing

@testable import PolicyLab

@Suite struct SimulatedProviderTests {
  private let start = Instant(nanoseconds: 0)
  private func call(_ input: Int64, _ output: Int64 = 0) -> Charge { Charge(requests: 1, input: input, output: output) }

  @Test func refusesOverItsConcurrencyAndCounts() {
    var provider = SimulatedProvider(truth: ProviderTruth(id: "p", limits: Limits(concurrency: 2)), at: start)
    let answer1 = provider.receive(call(1), model: nil, draw: 0, at: start)
    #expect(answer1 == .accepted)
    let answer2 = provider.receive(call(1), model: nil, draw: 0, at: start)
    #expect(answer2 == .accepted)
    let answer3 = provider.receive(call(1), model: nil, draw: 0, at: start)
    #expect(answer3 == .refused(retryAfter: .seconds(1), isAboutConcurrency: true))
    #expect(provider.inFlight == 2 && provider.refusals == 1)
    provider.end(atDoor: call(1), actual: call(1), model: nil, at: start + .seconds(1))
    let answer4 = provider.receive(call(1), model: nil, draw: 0, at: start + .seconds(1))
    #expect(answer4 == .accepted)
    #expect(provider.busy == 2_000_000_000)
  }

  @Test func refusesWhatItsBucketsDoNotHold() {
    var provider = SimulatedProvider(
      truth: ProviderTruth(id: "p", limits: Limits(inputTokensPerMinute: 100)), at: start)
    let answer5 = provider.receive(call(60), model: nil, draw: 0, at: start)
    #expect(answer5 == .accepted)
    let answer6 = provider.receive(call(60), model: nil, draw: 0, at: start)
    #expect(answer6 == .refused(retryAfter: .seconds(1)))
    let answer7 = provider.receive(call(60), model: nil, draw: 0, at: start + .seconds(12))
    #expect(answer7 == .accepted)
  }

  @Test func chargesTheCapAtTheDoorWhereThatIsItsRuleAndKeepsIt() {
    let truth = ProviderTruth(id: "p", limits: Limits(tokensPerMinute: 1000), admissionTokens: .maxTokens)
    var provider = SimulatedProvider(truth: truth, at: start)
    let door = provider.doorCharge(input: 100, outputCap: 800)
    #expect(door.input == 100 && door.output == 800 && door.tokens == 800)
    let answer8 = provider.receive(door, model: nil, draw: 0, at: start)
    #expect(answer8 == .accepted)
    #expect(provider.available(.tokens, at: start) == 200)
    provider.end(atDoor: door, actual: call(100, 50), model: nil, at: start)
    #expect(provider.available(.tokens, at: start) == 200)
    #expect(provider.charged == 800)
  }

  @Test func keepsALimitPerModel() {
    let narrow = ModelLimits(models: "big-*", limits: Limits(concurrency: 1))
    var provider = SimulatedProvider(truth: ProviderTruth(id: "p", limits: Limits(), modelLimits: [narrow]), at: start)
    let big = provider.modelIndex("big-1")
    #expect(big == 0 && provider.modelIndex("small") == nil)
    let answer9 = provider.receive(call(1), model: big, draw: 0, at: start)
    #expect(answer9 == .accepted)
    let answer10 = provider.receive(call(1), model: big, draw: 0, at: start)
    #expect(answer10 != .accepted)
    let answer11 = provider.receive(call(1), model: nil, draw: 0, at: start)
    #expect(answer11 == .accepted)
  }

  @Test func moodsAnswerAndAreNotCountedAsOvershoot() {
    var provider = SimulatedProvider(truth: ProviderTruth(id: "p", limits: Limits()), at: start)
    provider.mood = .throttling(retryAfter: nil)
    let answer12 = provider.receive(call(1), model: nil, draw: 0, at: start)
    #expect(answer12 == .refused(retryAfter: nil))
    provider.mood = .refusingKeys
    let answer13 = provider.receive(call(1), model: nil, draw: 0, at: start)
    #expect(answer13 == .keyRefused)
    provider.mood = .failing(percent: 50)
    let answer14 = provider.receive(call(1), model: nil, draw: 49, at: start)
    #expect(answer14 == .failing(retryAfter: nil))
    let answer15 = provider.receive(call(1), model: nil, draw: 50, at: start)
    #expect(answer15 == .accepted)
    #expect(provider.refusals == 0 && provider.ill == 3 && provider.inFlight == 2)
  }
}
