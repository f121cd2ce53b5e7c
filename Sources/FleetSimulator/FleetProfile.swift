// The named loads: what each shows, the provider that it is made for, and its groups.

/// A load with a name.
public struct FleetProfile: Sendable {
  public var name: String
  /// What the load shows, in one line.
  public var purpose: String
  /// The flags of `tollgate provider-simulator` for which its figures are meant.
  public var provider: String
  public var groups: [AgentGroup]
  /// The share of a token budget at which calls are made; nil where tokens do not matter.
  public var tokenLoad: Double?
  /// How many seconds calls may take to finish after the last one was begun; 0 where the figures count only what
  /// finished in time.
  public var drain = 10.0

  public static let all: [FleetProfile] = [
    demo, steer, order, endlessHigh, tokens3x, fairTenants, fairSessions, leave,
  ]

  /// The factor by which the pace must stretch so that the load is ``tokenLoad`` times a budget of `tokensPerMinute`.
  public func paceFactor(tokensPerMinute: Int) -> Double {
    guard let tokenLoad, tokensPerMinute > 0 else { return 1 }
    let offered = groups.reduce(0.0) { sum, group in
      guard case .every(let interval) = group.pace else { return sum }
      let input = Double(group.inputBytes.lowerBound + group.inputBytes.upperBound) / 8
      return sum + Double(group.agents) * 60_000 / Double(interval) * max(input, Double(group.outputCap))
    }
    return offered / (tokenLoad * Double(tokensPerMinute))
  }

  public static func named(_ name: String) -> FleetProfile? { all.first { $0.name == name } }

  /// Everything at once, as the demonstration shows it.
  public static let demo = FleetProfile(
    name: "demo", purpose: "a working day: background sessions, subagents, compaction, a user who steers",
    provider: "--concurrency 50 --tokens-per-minute 900000",
    groups: [
      AgentGroup(name: "steer", agents: 4, pace: .every(milliseconds: 800)).with {
        $0.kind = "steer"
        $0.inputBytes = 400...800
        $0.outputTokens = 20...40
      },
      AgentGroup(name: "background", agents: 50, pace: .backToBack(think: 0...0)).with { $0.kind = "background" },
      AgentGroup(name: "subagents", agents: 12, pace: .backToBack(think: 50...250)).with {
        $0.kind = "follow-up"
        $0.session = "tree-1"
      },
      AgentGroup(name: "compaction", agents: 4, pace: .backToBack(think: 500...1500)).with {
        $0.kind = "compaction"
        $0.inputBytes = 20_000...40_000
        $0.outputTokens = 60...90
        $0.isStream = false
      },
    ])

  public static let steer = FleetProfile(
    name: "steer", purpose: "50 background sessions back to back with 0.4 s calls, and a high call every 100 ms",
    provider: "--concurrency 50",
    groups: [
      AgentGroup(name: "steer", agents: 1, pace: .every(milliseconds: 100)).with {
        $0.priority = "high"
        $0.delay = 1000
      },
      AgentGroup(name: "background", agents: 50, pace: .backToBack(think: 0...0)).with { $0.priority = "low" },
    ])

  public static let order = FleetProfile(
    name: "order", purpose: "120 low, 20 normal and 20 high calls queue at once for 4 permits",
    provider: "--concurrency 4",
    groups: [
      AgentGroup(name: "low", agents: 120, pace: .once).with { $0.priority = "low" },
      AgentGroup(name: "normal", agents: 20, pace: .once).with {
        $0.priority = "normal"
        $0.delay = 50
      },
      AgentGroup(name: "high", agents: 20, pace: .once).with {
        $0.priority = "high"
        $0.delay = 100
      },
    ].map { $0.with { $0.outputTokens = 10...10 } })

  public static let endlessHigh = FleetProfile(
    name: "endless-high",
    purpose: "low calls queue behind high ones without end on 4 permits, and get their floor share",
    provider: "--concurrency 4",
    groups: [
      AgentGroup(name: "high", agents: 12, pace: .backToBack(think: 0...0)).with { $0.priority = "high" },
      AgentGroup(name: "low", agents: 40, pace: .once).with {
        $0.priority = "low"
        $0.delay = 200
      },
    ].map { $0.with { $0.outputTokens = 10...10 } }, drain: 0)

  public static let tokens3x = FleetProfile(
    name: "tokens-3x", purpose: "three times the token budget in calls of mixed sizes, 20 % of them high",
    provider: "--tokens-per-minute 600000",
    groups: [
      AgentGroup(name: "high", agents: 1, pace: .every(milliseconds: 250)).with {
        $0.priority = "high"
        $0.inputBytes = 2000...10_000
      },
      AgentGroup(name: "small", agents: 1, pace: .every(milliseconds: 100)).with {
        $0.inputBytes = 400...4000
      },
      AgentGroup(name: "large", agents: 1, pace: .every(milliseconds: 100)).with {
        $0.priority = "low"
        $0.inputBytes = 8000...32_000
        $0.outputCap = 1000
        $0.outputTokens = 100...400
        $0.tokensPerSecond = 400
      },
    ], tokenLoad: 3, drain: 0)

  public static let fairTenants = FleetProfile(
    name: "fair-tenants", purpose: "a tenant with 50 sessions and one with a single session get equal tokens",
    provider: "--concurrency 20",
    groups: [
      AgentGroup(name: "many", agents: 50, pace: .backToBack(think: 0...0)).with { $0.tenant = "many" },
      AgentGroup(name: "one", agents: 50, pace: .backToBack(think: 0...0)).with {
        $0.tenant = "one"
        $0.session = "only"
      },
    ], drain: 0)

  public static let fairSessions = FleetProfile(
    name: "fair-sessions", purpose: "a session with 50 parallel subagents gets what a session with 20 gets",
    provider: "--concurrency 20",
    groups: [
      AgentGroup(name: "tree", agents: 50, pace: .backToBack(think: 0...0)).with { $0.session = "tree" },
      AgentGroup(name: "single-1", agents: 20, pace: .backToBack(think: 0...0)).with { $0.session = "single-1" },
      AgentGroup(name: "single-2", agents: 20, pace: .backToBack(think: 0...0)).with { $0.session = "single-2" },
    ], drain: 0)

  public static let leave = FleetProfile(
    name: "leave", purpose: "60 clients leave: while queued, before the first byte, in mid-stream",
    provider: "--concurrency 40",
    groups: [
      AgentGroup(name: "reading", agents: 20, pace: .once).with {
        $0.outputTokens = 1000...1000
        $0.outputCap = 1000
        $0.patience = .leavesAfterFirstByte(milliseconds: 900)
      },
      AgentGroup(name: "waiting", agents: 20, pace: .once).with {
        $0.firstToken = 30_000
        $0.patience = .leavesAfter(milliseconds: 1000)
      },
      AgentGroup(name: "queued", agents: 20, pace: .once).with {
        $0.delay = 300
        $0.patience = .leavesAfter(milliseconds: 400)
      },
    ])
}
