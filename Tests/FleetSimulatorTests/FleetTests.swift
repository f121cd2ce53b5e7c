// Agents by their pace, what they send, what is counted; and a whole run over real sockets against the simulator.
import EventLoop
import HTTPDoubles
import HTTPEndpoint
import ProviderSimulator
import Testing
import UpstreamHTTP

@testable import FleetSimulator

@Suite struct FleetTests {
  private func fleet(
    _ loop: EventLoop, _ upstream: ScriptedUpstream, _ groups: [AgentGroup], hints: Bool = true
  ) -> Fleet {
    var options = FleetOptions(baseURL: "http://p/v1")
    options.sendsHints = hints
    return Fleet(loop: loop, upstream: upstream, groups: groups, options: options)
  }

  @Test func callSaysWhoAsksAndWhatForUnlessTheURLIsAProviders() throws {
    let loop = try EventLoop()
    let group = AgentGroup(name: "g", agents: 1, pace: .once).with {
      $0.priority = "high"
      $0.tenant = "t"
      $0.inputBytes = 100...100
      $0.outputCap = 7
    }
    for hints in [true, false] {
      let upstream = ScriptedUpstream()
      let fleet = fleet(loop, upstream, [group], hints: hints)
      fleet.start()
      turn(loop) { upstream.calls.count == 1 }
      let call = upstream.calls[0]
      #expect(call.request.url == "http://p/v1/chat/completions")
      #expect(call.field("authorization") == "Bearer fleet")
      #expect(call.body.contains("\"max_tokens\":7,\"stream\":true"))
      #expect(call.field("x-tollgate-priority") == (hints ? "high" : nil))
      #expect(call.field("x-tollgate-tenant") == (hints ? "t" : nil))
      #expect(call.field("x-tollgate-session") == (hints ? "g-0" : nil))
      fleet.abandon()
    }
  }

  @Test(arguments: [0, 1, 70, 71, 5000])
  func promptHasItsLength(input: Int) {
    let empty = Fleet.body(input: 0, cap: 5, isStream: true).count
    #expect(Fleet.body(input: input, cap: 5, isStream: true).count == empty + input)
  }

  @Test func backToBackAgentCallsAgainAfterItsAnswer() throws {
    let loop = try EventLoop()
    let upstream = ScriptedUpstream()
    let fleet = fleet(loop, upstream, [AgentGroup(name: "g", agents: 2, pace: .backToBack(think: 0...0))])
    fleet.start()
    turn(loop) { upstream.calls.count == 2 }
    upstream.calls[0].respond(200, [], ["{}"])
    #expect(upstream.calls.count == 2)
    turn(loop) { upstream.calls.count == 3 }
    upstream.calls[1].respond(500, [], ["{}"])
    turn(loop) { upstream.calls.count == 4 }
    var isIdle = false
    fleet.idle = { isIdle = true }
    fleet.stop()
    #expect(!isIdle)
    upstream.calls[2].respond(200, [], ["{}"])
    upstream.calls[3].respond(200, [], ["{}"])
    #expect(isIdle)
    #expect(fleet.measures.started == 4)
    #expect(fleet.measures.completed == 3)
    #expect(fleet.measures.groups[0].errors == ["500": 1])
  }

  @Test func steadyAgentDoesNotWaitForAnswers() throws {
    let loop = try EventLoop()
    let upstream = ScriptedUpstream()
    let fleet = fleet(loop, upstream, [AgentGroup(name: "g", agents: 1, pace: .every(milliseconds: 1))])
    fleet.start()
    // A late turn may start several calls at once.
    turn(loop) { upstream.calls.count >= 3 }
    let started = upstream.calls.count
    fleet.abandon()
    #expect(fleet.measures.unfinished == started)
    #expect(upstream.calls.allSatisfy { $0.isCancelled })
    #expect(fleet.callsUnderWay == 0)
  }

  @Test func everyProfileIsWhole() {
    for profile in FleetProfile.all {
      #expect(!profile.purpose.isEmpty)
      #expect(Set(profile.groups.map(\.name)).count == profile.groups.count)
      #expect(FleetProfile.named(profile.name)?.groups == profile.groups)
    }
    #expect(FleetProfile.named("nonsense") == nil)
  }

  @Test func tokenLoadIsThreeTimesTheBudget() {
    let factor = FleetProfile.tokens3x.paceFactor(tokensPerMinute: 600_000)
    #expect(FleetProfile.tokens3x.paceFactor(tokensPerMinute: 1_200_000) == factor / 2)
    #expect(FleetProfile.steer.paceFactor(tokensPerMinute: 600_000) == 1)
    // 1500, 550 and 5000 tokens at 4, 10 and 10 calls per second.
    #expect(abs(factor - (1500.0 * 4 + 550 * 10 + 5000 * 10) * 60 / 1_800_000) < 1e-9)
  }

  private func run(
    concurrency: Int, _ groups: [AgentGroup], seconds: Double, interrupts: Bool = false
  ) throws -> (outcome: FleetOutcome, statistics: String) {
    let loop = try EventLoop()
    var configuration = SimulatorConfiguration()
    configuration.concurrency = concurrency
    let simulator = ProviderSimulator(configuration, time: LoopTime(loop))
    let server = HTTPServer(loop: loop, handler: simulator)
    let address = try server.listen(.tcp(host: "127.0.0.1", port: 0))
    let upstream = try CurlUpstream(loop: loop)
    upstream.configure(provider: "fleet", ProviderTransport(proxy: ""))
    let fleet = Fleet(
      loop: loop, upstream: upstream, groups: groups, options: FleetOptions(baseURL: "http://\(address)/v1"))
    let probe = SimulatorProbe(upstream: upstream, url: "http://\(address)")
    let run = FleetRun(loop: loop, fleet: fleet, probe: probe, seconds: seconds, drain: 10)
    var outcome: FleetOutcome?
    run.start { outcome = $0 }
    if interrupts {
      turn(loop) { fleet.callsUnderWay > 0 }
      run.interrupt()
    }
    turn(loop) { outcome != nil }
    upstream.close()
    server.close()
    return (try #require(outcome), simulator.statisticsJSON)
  }

  private func quick(_ name: String, agents: Int) -> AgentGroup {
    AgentGroup(name: name, agents: agents, pace: .once).with {
      $0.firstToken = 5
      $0.tokensPerSecond = 0
    }
  }

  @Test func wholeRunAgreesWithTheProvidersCounts() throws {
    let (outcome, _) = try run(concurrency: 100, [quick("a", agents: 20), quick("b", agents: 10)], seconds: 60)
    #expect(outcome.measures.completed == 30)
    #expect(outcome.measures.failures == 0)
    #expect(outcome.counts?.completed == 30)
    #expect(outcome.counts?.refused_total == 0)
    #expect(outcome.measures.groups[0].outputTokens == 20 * 30)
    #expect(outcome.measures.order.reduce(0) { $0 + $1.count } == 30)
  }

  @Test func refusalsOfAProviderAreClientErrors() throws {
    let slow = quick("a", agents: 5).with { $0.firstToken = 200 }
    let (outcome, _) = try run(concurrency: 2, [slow], seconds: 60)
    #expect(outcome.measures.completed == 2)
    #expect(outcome.measures.groups[0].errors == ["429": 3])
    #expect(outcome.counts?.refused_total == 3)
  }

  @Test func clientsThatLeaveAreComparedWithTheProvidersView() throws {
    let leaving = quick("a", agents: 4).with {
      $0.firstToken = 60_000
      $0.patience = .leavesAfter(milliseconds: 50)
    }
    let (outcome, _) = try run(concurrency: 100, [leaving], seconds: 60)
    #expect(outcome.measures.groups[0].left == 4)
    #expect(outcome.departures?.clients == 4)
    #expect(outcome.departures?.noticed == 4)
    #expect(outcome.departures?.unnoticed == 0)
  }

  @Test func interruptedRunStillHasItsFigures() throws {
    let (outcome, _) = try run(
      concurrency: 100, [quick("a", agents: 3).with { $0.firstToken = 60_000 }], seconds: 60, interrupts: true)
    #expect(outcome.measures.started == outcome.measures.unfinished)
    #expect(outcome.measures.unfinished > 0)
    #expect(outcome.counts != nil)
  }

  @Test func groupsStartInTurn() throws {
    let loop = try EventLoop()
    let upstream = ScriptedUpstream()
    let fleet = fleet(loop, upstream, [quick("a", agents: 3), quick("b", agents: 2)])
    fleet.start()
    turn(loop) { upstream.calls.count == 5 }
    #expect(upstream.calls.compactMap { $0.field("x-tollgate-session") } == ["a-0", "b-0", "a-1", "b-1", "a-2"])
    fleet.abandon()
  }
}
