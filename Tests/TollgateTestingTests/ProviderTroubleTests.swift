// What a witness knows of a provider in trouble: counted to the worst, and over when a later call proves it.
import AdmissionCore
import Testing

@testable import TollgateTesting

@Suite struct ProviderTroubleTests {
  private let start = Instant(nanoseconds: 0)

  @Test func aBreakerMayHaveOpenedAtItsThresholdOnly() {
    var trouble = ProviderTrouble()
    let policy = BreakerPolicy(failures: 2, recovery: .seconds(1))
    trouble.failed(counted: nil, policy)
    trouble.failed(counted: 0, policy)
    #expect(!trouble.mayBeClosed, "each counter by itself")
    trouble.succeeded(model: "m", key: nil, counted: nil, grantedAt: start)
    trouble.failed(counted: nil, policy)
    #expect(!trouble.mayBeClosed, "a success begins the count anew")
    trouble.failed(counted: nil, policy)
    #expect(trouble.mayBeClosed)
    trouble.succeeded(model: "m", key: nil, counted: nil, grantedAt: start)
    #expect(trouble.mayBeClosed, "nobody but the core knows which call was the probe")
  }

  @Test func aPauseIsOverWhenALaterCallSucceeds() {
    var trouble = ProviderTrouble()
    trouble.throttled(model: "m", key: nil, at: start + .seconds(1))
    #expect(trouble.mayBeClosed)
    trouble.succeeded(model: "m", key: nil, counted: nil, grantedAt: start + .seconds(1))
    #expect(trouble.mayBeClosed, "it was granted before")
    trouble.succeeded(model: "other", key: nil, counted: nil, grantedAt: start + .seconds(2))
    #expect(trouble.mayBeClosed, "another model's")
    trouble.succeeded(model: "m", key: nil, counted: nil, grantedAt: start + .seconds(2))
    #expect(!trouble.mayBeClosed)
  }

  @Test func aRefusedKeyIsGoneForItsModels() {
    var trouble = ProviderTrouble()
    var policy = ProviderPolicy(id: "p", limits: Limits(), learnLimits: false)
    #expect(trouble.hasUsableKey(for: "m", policy), "it has none at all")
    policy.keys = [KeyPolicy(id: "a"), KeyPolicy(id: "b", models: ["big*"])]
    trouble.keyRefused("a", at: start)
    #expect(trouble.hasUsableKey(for: "big-1", policy) && !trouble.hasUsableKey(for: "m", policy))
    trouble.succeeded(model: "m", key: "a", counted: nil, grantedAt: start + .seconds(1))
    #expect(trouble.hasUsableKey(for: "m", policy))
  }

  @Test func aLearnedLimitHoldsOnceItIsTold() {
    func learned(
      _ model: String?, _ value: Int64, key: KeyID? = nil, _ quantity: AdmissionSnapshot.Learned.Quantity = .concurrency
    ) -> AdmissionSnapshot.Learned {
      .init(quantity: quantity, model: model, key: key, value: value, source: .refusals, since: start)
    }
    var trouble = ProviderTrouble()
    trouble.told([learned(nil, 3)])
    #expect(trouble.learnedLimit(nil) == nil, "nothing was learned")
    trouble.learned(isExact: true)
    #expect(trouble.mayBeClosed && trouble.learnedLimit(nil) == nil)
    trouble.told([learned(nil, 3), learned("m", 1), learned("m", 9, key: "k")])
    #expect(
      !trouble.mayBeClosed && trouble.learnedLimit(nil) == 3 && trouble.learnedLimit("m") == 1
    )
    trouble.told([])
    #expect(!trouble.mayBeClosed && trouble.learnedLimit(nil) == nil && trouble.learnedLimit("m") == nil)
    trouble.told([learned(nil, 3), learned("m", 900, .perMinute(.tokens))])
    #expect(trouble.mayBeClosed, "how many tokens are there now is not told")
    trouble = ProviderTrouble()
    trouble.learned(isExact: false)
    trouble.told([learned(nil, 3)])
    #expect(trouble.mayBeClosed, "more than a number of calls may have been learned")
  }
}
