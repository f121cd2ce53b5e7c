// A fleet of simulated agents on one event loop: each agent is a small state machine that calls, reads, thinks and
// calls again.
import AdmissionCore
import EventLoop
import HTTPMessage

/// How a fleet is run.
public struct FleetOptions: Sendable {
  /// The base URL as an SDK takes it: `http://127.0.0.1:4141/v1`.
  public var baseURL: String
  /// The number of retries that each client makes, like SDKs; with 0 the figures show every refusal.
  public var retries = 0
  /// False omits the `x-tollgate-*` fields, for runs without a broker.
  public var sendsHints = true
  public var seed: UInt64 = 1
  /// Stretches the open-loop pace by this factor; above 0.
  public var paceFactor = 1.0
  public var key = "fleet"

  public init(baseURL: String) { self.baseURL = baseURL }
}

public final class Fleet {
  /// The name under which the fleet's calls are pooled.
  static let providerName = "fleet"

  public private(set) var measures: FleetMeasures
  private let loop: EventLoop
  private let upstream: any Upstream
  private let groups: [AgentGroup]
  private let options: FleetOptions
  private var random: SeededRandom
  private var agents: [Agent] = []
  private var calls: [Int: FleetCall] = [:]
  private var lastCall = 0
  private var isStopped = false
  private var began: UInt64 = 0
  /// Called when no call is under way and none will be made.
  public var idle: (() -> Void)?

  public init(loop: EventLoop, upstream: any Upstream, groups: [AgentGroup], options: FleetOptions) {
    self.loop = loop
    self.upstream = upstream
    self.groups = groups
    self.options = options
    random = SeededRandom(seed: options.seed)
    measures = FleetMeasures(groups: groups.map(\.name))
  }

  public var callsUnderWay: Int { calls.count }

  /// True where every agent makes only one call and has made it.
  private var isExhausted: Bool {
    groups.allSatisfy { $0.pace == .once } && measures.started == groups.reduce(0) { $0 + $1.agents }
  }

  public func start() {
    began = loop.now
    // One agent of each group in turn, so that no group takes all permits before the others call.
    for number in 0..<(groups.map(\.agents).max() ?? 0) {
      for (index, group) in groups.enumerated() where number < group.agents {
        let agent = Agent(fleet: self, group: index, number: number, loop: loop)
        agents.append(agent)
        agent.start()
      }
    }
  }

  /// Begins no new calls; running calls go on.
  public func stop() {
    guard !isStopped else { return }
    isStopped = true
    measures.seconds = Double(loop.now - began) / 1e9
    for agent in agents { agent.stop() }
    if calls.isEmpty { idle?() }
  }

  /// Ends the running calls, which count as unfinished.
  public func abandon() {
    stop()
    for call in calls.values { call.abandon(.unfinished) }
  }

  // MARK: For agents

  fileprivate func pace(of group: Int) -> AgentGroup { groups[group] }

  fileprivate func think(_ range: ClosedRange<Int>) -> Int { random.pick(range) }

  /// Milliseconds between the calls of an agent that does not wait for answers.
  fileprivate func interval(_ milliseconds: Int) -> Double { Double(milliseconds) * options.paceFactor }

  fileprivate func call(group index: Int, agent: Int, then: @escaping () -> Void) {
    guard !isStopped else { return }
    let group = groups[index]
    lastCall += 1
    let number = lastCall
    let id = "\(group.name)-\(number)"
    let input = random.pick(group.inputBytes)
    let output = random.pick(group.outputTokens)
    measures.groups[index].started += 1
    let call = FleetCall(
      loop: loop, upstream: upstream,
      plan: plan(group, agent: agent, id: id, input: input, output: output),
      jitter: Double(random.next() >> 11) / 9_007_199_254_740_992,
      firstByteSeen: { [unowned self] in measures.noteFirstByte(group.name) },
      ended: { [unowned self] result in
        calls[number] = nil
        record(result, group: index, id: id, input: input, output: output)
        if !isStopped { then() }
        if calls.isEmpty, isStopped || isExhausted { idle?() }
      })
    calls[number] = call
    call.start()
  }

  private func plan(_ group: AgentGroup, agent: Int, id: String, input: Int, output: Int) -> CallPlan {
    var fields = HeaderFields(reservingBytes: 512, fields: 16)
    fields.append(name: "content-type", value: "application/json")
    fields.append(name: "authorization", value: "Bearer " + options.key)
    fields.append(name: "x-sim-id", value: id)
    fields.append(name: "x-sim-first-token-ms", value: String(group.firstToken))
    fields.append(name: "x-sim-tokens-per-second", value: String(group.tokensPerSecond))
    fields.append(name: "x-sim-output-tokens", value: String(output))
    if options.sendsHints {
      if let priority = group.priority { fields.append(name: "x-tollgate-priority", value: priority) }
      if let kind = group.kind { fields.append(name: "x-tollgate-kind", value: kind) }
      if let tenant = group.tenant { fields.append(name: "x-tollgate-tenant", value: tenant) }
      fields.append(name: "x-tollgate-session", value: group.session ?? "\(group.name)-\(agent)")
    }
    return CallPlan(
      url: options.baseURL + "/chat/completions", fields: fields,
      body: Self.body(input: input, cap: group.outputCap, isStream: group.isStream, opening: id + ". "),
      patience: group.patience,
      retries: options.retries)
  }

  private static let phrase = Array("Open the gate for the call that matters most and let the others wait. ".utf8)

  /// A chat with `input` bytes of text, of which the first are `opening`: calls that begin alike would read each other's
  /// prompt from the provider's cache.
  static func body(input: Int, cap: Int, isStream: Bool, opening: String = "") -> [UInt8] {
    var body = Array("{\"model\":\"sim-large\",\"messages\":[{\"role\":\"user\",\"content\":\"".utf8)
    body.reserveCapacity(body.count + input + 120)
    body += opening.utf8.prefix(input)
    var left = input - min(input, opening.utf8.count)
    while left > 0 {
      body += phrase.prefix(left)
      left -= phrase.count
    }
    let stream = isStream ? ",\"stream\":true,\"stream_options\":{\"include_usage\":true}" : ""
    body += Array("\"}],\"max_tokens\":\(cap)\(stream)}".utf8)
    return body
  }

  private func record(_ result: CallResult, group index: Int, id: String, input: Int, output: Int) {
    let group = groups[index]
    measures.groups[index].retries += result.retries
    measures.groups[index].refusalsSeen += result.refusalsSeen
    if let firstByte = result.firstByte {
      let milliseconds = Double(firstByte) / 1e6
      measures.groups[index].firstByte.append(milliseconds)
      let generation =
        group.isStream || group.tokensPerSecond == 0 ? 0 : Double(output) * 1000 / Double(group.tokensPerSecond)
      measures.groups[index].wait.append(max(0, milliseconds - Double(group.firstToken) - generation))
    }
    if let queued = result.queueMilliseconds { measures.groups[index].queue.append(queued) }
    switch result.ending {
    case .completed:
      measures.groups[index].completed += 1
      if !isStopped { measures.groups[index].completedInTime += 1 }
      measures.groups[index].inputTokens += (input + 3) / 4
      measures.groups[index].outputTokens += min(output, group.outputCap)
    case .failed(let status):
      measures.groups[index].errors[status.map { String($0) } ?? "connection", default: 0] += 1
    case .left:
      measures.groups[index].left += 1
      measures.leftAt[id] = loop.now
    case .unfinished: measures.groups[index].unfinished += 1
    }
  }
}

/// One agent: it waits for its start, then calls at its pace.
private final class Agent {
  private unowned let fleet: Fleet
  private let group: Int
  private let number: Int
  private let loop: EventLoop
  private var timer: LoopTimer?
  private var next: UInt64 = 0

  init(fleet: Fleet, group: Int, number: Int, loop: EventLoop) {
    self.fleet = fleet
    self.group = group
    self.number = number
    self.loop = loop
  }

  func start() {
    let settings = fleet.pace(of: group)
    timer = LoopTimer(loop) { [unowned self] in act() }
    // Agents of an open-loop group share the interval evenly, so that they do not call in step.
    var delay = Double(settings.delay)
    if case .every(let interval) = settings.pace {
      delay += fleet.interval(interval) * Double(number) / Double(max(1, settings.agents))
    }
    next = loop.now + UInt64(delay * 1e6)
    timer?.schedule(at: next)
  }

  func stop() { timer = nil }

  private func act() {
    switch fleet.pace(of: group).pace {
    case .once: fleet.call(group: group, agent: number) {}
    case .every(let interval):
      next += UInt64(fleet.interval(interval) * 1e6)
      timer?.schedule(at: next)
      fleet.call(group: group, agent: number) {}
    case .backToBack(let think):
      fleet.call(group: group, agent: number) { [unowned self] in
        let pause = fleet.think(think)
        // Uses the timer even without a pause: a refused agent must not call again inside the callback of the answer.
        timer?.schedule(after: .milliseconds(pause))
      }
    }
  }
}
