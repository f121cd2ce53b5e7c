// A model with a breaker of its own: every event in every state, and what it leaves alone.
import Testing

@testable import AdmissionCore

@Suite struct ModelBreakerTests {
  enum Way: CaseIterable, Sendable { case provider, model }
  enum State: String, CaseIterable, Sendable { case closed, open, halfOpen = "half_open", forcedOpen, forcedClosed }
  enum Event: CaseIterable, Sendable {
    case success, failure, truncated, throttled, clientLeft, clientError, late, recovery, open, close, auto

    var isTheCallsEnd: Bool {
      [.success, .failure, .truncated, .throttled, .clientLeft, .clientError].contains(self)
    }
  }

  static let breaker = BreakerPolicy(failures: 2, recovery: .seconds(10))

  /// The same breaker, once as the provider's and once as the model's.
  static func bench(_ way: Way) -> Bench {
    let own = way == .model ? breaker : nil
    return Bench(
      AdmissionPolicy(
        providers: [
          ProviderPolicy(
            id: "p", modelLimits: [ModelLimits(models: "m*", limits: Limits(), breaker: own)], learnLimits: false,
            breaker: way == .provider ? breaker : .api, retry: RetryPolicy(attempts: 1))
        ], bands: Bench.plainBands))
  }

  static func state(_ bench: Bench, _ way: Way) -> String {
    let provider = bench.core.snapshot(at: bench.now).providers[0]
    return (way == .model ? provider.models[0].breaker : provider.breaker)?.state.rawValue ?? "none"
  }

  /// Brings the breaker into the state. Returns a call that was let through before and is still out.
  static func enter(_ state: State, _ bench: inout Bench) -> RequestID {
    let old = bench.submit(session: "old")
    if state == .open || state == .halfOpen {
      for _ in 0..<2 {
        let id = bench.submit()
        bench.settle(id, .failed())
      }
    }
    if state == .halfOpen { bench.run(for: .seconds(10)) }
    if state == .forcedOpen { bench.send(.operatorCommanded(.openBreaker("p"))) }
    if state == .forcedClosed { bench.send(.operatorCommanded(.closeBreaker("p"))) }
    return old
  }

  /// The state after the event.
  static func after(_ event: Event, in state: State) -> String {
    switch (event, state) {
    case (.open, _): "open"
    case (.close, _), (.auto, _): "closed"
    case (.late, .halfOpen): "half_open"
    case (_, .forcedOpen): "open"
    case (_, .forcedClosed): "closed"
    case (.failure, .closed), (.truncated, .closed): "open"
    case (_, .closed): "closed"
    case (.recovery, .open): "half_open"
    case (_, .open): "open"
    case (.success, .halfOpen): "closed"
    case (.failure, .halfOpen), (.truncated, .halfOpen): "open"
    case (_, .halfOpen): "half_open"
    }
  }

  @Test(arguments: Way.allCases, State.allCases) func everyEventInEveryState(way: Way, state: State) {
    for event in Event.allCases {
      var bench = Self.bench(way)
      let old = Self.enter(state, &bench)
      // The probe, or the call that the event is about; none passes while it is open.
      let call = bench.submit()
      let runs = state != .open && state != .forcedOpen
      #expect(bench.isGranted(call) == runs)
      let wanted = Self.after(event, in: state)
      if !runs, event.isTheCallsEnd {
        // A call that waits has no attempt that could end.
        #expect(Self.state(bench, way) == wanted, "\(way) \(state) \(event)")
        continue
      }
      switch event {
      case .success: bench.settle(call)
      case .failure, .truncated:
        let verdict: Verdict = event == .failure ? .failed() : .truncated
        bench.settle(call, verdict, began: event == .truncated)
        let again = bench.submit()
        if state == .closed { bench.settle(again, verdict, began: event == .truncated) }
      case .throttled: bench.settle(call, .throttled(retryAfter: .milliseconds(1)))
      case .clientLeft: bench.settle(call, .clientLeft)
      case .clientError: bench.settle(call, .clientError, answer: true)
      case .late: bench.settle(old, .failed())
      case .recovery:
        let wait = bench.submit(deadline: bench.now + .seconds(60))
        _ = wait
        bench.run(for: .seconds(10))
      case .open: bench.send(.operatorCommanded(.openBreaker("p")))
      case .close: bench.send(.operatorCommanded(.closeBreaker("p")))
      case .auto: bench.send(.operatorCommanded(.automateBreaker("p")))
      }
      #expect(Self.state(bench, way) == wanted, "\(way) \(state) \(event)")
    }
  }

  @Test func failuresOfTheModelTripItsOwnBreakerAlone() {
    var bench = Self.bench(.model)
    for number in 0..<8 {
      let id = bench.submit(model: "m1", deadline: bench.now + .seconds(1))
      #expect(bench.isGranted(id) == (number < 2))
      if bench.isGranted(id) { bench.settle(id, .failed()) }
    }
    #expect(Self.state(bench, .model) == "open" && Self.state(bench, .provider) == "closed")
    let other = bench.submit(model: "other")
    #expect(bench.isGranted(other))
    let waiting = bench.submit(session: "w", model: "m2")
    #expect(bench.core.blocker(of: waiting, at: bench.now) == .modelBreakerOpen("p", model: "m*"))
    // The others of the provider go past it meanwhile.
    let third = bench.submit(session: "x", model: "other")
    #expect(bench.isGranted(third))
    let notices = bench.notices.compactMap { notice -> String? in
      if case .breakerChanged(_, let model, let state, _) = notice { "\(model ?? "-") \(state.rawValue)" } else { nil }
    }
    #expect(notices == ["m* open"])
    // And failures of the others are none of the model's business.
    for _ in 0..<4 {
      let id = bench.submit(model: "other")
      bench.settle(id, .failed())
    }
    #expect(Self.state(bench, .provider) == "closed")
  }

  @Test func aModelsSuccessDoesNotHideThatTheProviderFails() {
    var bench = Self.bench(.model)
    for _ in 0..<5 {
      let good = bench.submit(model: "m1")
      bench.settle(good)
      let bad = bench.submit(model: "other")
      bench.settle(bad, .failed())
    }
    #expect(Self.state(bench, .provider) == "open")
    // But as the provider's probe it counts.
    let probe = bench.submit(model: "m1")
    bench.run(for: .seconds(30))
    #expect(bench.isGranted(probe))
    bench.settle(probe)
    #expect(Self.state(bench, .provider) == "closed")
  }

  @Test func whenOpenRejectHoldsForTheModelToo() {
    var bench = Bench(
      AdmissionPolicy(
        providers: [
          ProviderPolicy(
            id: "p",
            modelLimits: [
              ModelLimits(
                models: "m*", limits: Limits(),
                breaker: BreakerPolicy(failures: 1, recovery: .seconds(1), whenOpen: .reject))
            ], retry: RetryPolicy(attempts: 1))
        ], bands: Bench.plainBands))
    let id = bench.submit()
    bench.settle(id, .failed())
    let late = bench.submit()
    #expect(bench.outcome(late) == .rejectedNoCapacity)
    let other = bench.submit(model: "other")
    #expect(bench.isGranted(other))
  }

  @Test func aPolicyGivesAndTakesTheBreaker() {
    var bench = Self.bench(.model)
    for _ in 0..<2 {
      let id = bench.submit()
      bench.settle(id, .failed())
    }
    let waiting = bench.submit()
    #expect(!bench.isGranted(waiting))
    var policy = bench.core.policy
    policy.providers[0].modelLimits[0].breaker = nil
    bench.send(.policyReplaced(policy))
    #expect(bench.isGranted(waiting) && Self.state(bench, .model) == "none")
    policy.providers[0].modelLimits[0].breaker = Self.breaker
    bench.send(.policyReplaced(policy))
    #expect(Self.state(bench, .model) == "closed")
  }
}
