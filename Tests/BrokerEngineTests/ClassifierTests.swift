// Each source of a class, in its order, valid and invalid; the clamp; the reasons in words.
import AdmissionCore
import HTTPMessage
import PolicyFile
import Testing

@testable import BrokerEngine

@Suite struct ClassifierTests {
  private func classify(
    _ headers: [String: String] = [:], policy: Policy = Policy(), path: String = "/v1/messages", model: String? = "m",
    tenant: String = "default", hints: [String: String] = [:], isFree: Bool = false,
    lastTurn: (String?) -> Priority? = { _ in nil }
  ) -> Classification {
    let facts = ClassificationFacts(path: path, model: model, tenant: tenant, pathHints: hints, isFree: isFree)
    let ofClient = ClientHints(
      HeaderFields(headers.map { (name: $0, value: $1) }), isCount: path.hasSuffix("/count_tokens"), hasTools: true)
    return Classifier(policy).classify(facts, hints: ofClient, header: { headers[$0] }, lastTurn: lastTurn)
  }

  private func rule(_ priority: Priority, _ change: (inout Rule) -> Void) -> Rule {
    var rule = Rule(priority: priority)
    change(&rule)
    return rule
  }

  /// A policy in which every source says something else.
  private var full: Policy {
    var policy = Policy()
    policy.defaultPriority = .low
    policy.kinds["nightly"] = .low
    policy.rules = [
      rule(.high) { $0.path = "/v1/embeddings" },
      rule(.low) {
        $0.model = "gpt-*"
        $0.tenant = "acme"
        $0.headers = [Rule.HeaderPattern("user-agent", "*nightly*")]
      },
    ]
    var acme = Tenant(id: "acme")
    acme.priority = .normal
    var clamped = Tenant(id: "clamped")
    clamped.maxPriority = .low
    var template = Tenant(id: "*")
    template.maxPriority = .normal
    policy.tenants = [acme, clamped, template]
    return policy
  }

  @Test func nothingSaidIsTheDefault() {
    let result = classify()
    #expect(result.priority == .normal)
    #expect(result.reason == "default_priority")
    #expect(result.kind == nil)
    #expect(result.unknownHints.isEmpty)
  }

  @Test(arguments: [("high", Priority.high), ("HIGH", .high), ("Normal", .normal), (" low ", .low), ("LoW\t", .low)])
  func priorityHeaderInAnyCase(_ value: String, _ expected: Priority) {
    let result = classify(["x-tollgate-priority": value])
    #expect(result.priority == expected)
    #expect(result.reason == "header x-tollgate-priority")
  }

  @Test(arguments: ["", " ", "urgent", "highest", "1", "hıgh"])
  func unknownPriorityIsCountedAndFallsThrough(_ value: String) {
    let result = classify(["x-tollgate-priority": value, "x-tollgate-kind": "steer"])
    #expect(result.priority == .high)
    #expect(result.reason == "header x-tollgate-kind: steer")
    #expect(result.unknownHints.map(\.header) == ["x-tollgate-priority"])
    #expect(result.unknownHints.map(\.value) == [value])
  }

  @Test func builtInKinds() {
    let expected: [String: Priority] = [
      "steer": .high, "follow-up": .normal, "compaction": .low, "embedding": .normal, "background": .low,
      "turn": .high, "subagent": .normal, "blocking-subagent": .normal, "headless": .normal, "review": .normal,
      "count": .normal, "title": .low, "prewarm": .low, "auxiliary": .low, "memory": .low,
    ]
    #expect(Set(expected.keys) == Set(Kinds.builtIn.keys))
    for (kind, priority) in expected {
      let result = classify(["x-tollgate-kind": kind.uppercased()])
      #expect(result.priority == priority)
      #expect(result.kind == kind)
    }
  }

  @Test func priorityDecidesButKindIsKept() {
    let result = classify(["x-tollgate-priority": "low", "x-tollgate-kind": "Steer"])
    #expect(result.priority == .low)
    #expect(result.kind == "steer")
    #expect(result.reason == "header x-tollgate-priority")
  }

  @Test func unknownKindIsCountedAndFallsThrough() {
    let result = classify(["x-tollgate-kind": "stear", "priority": "u=0"])
    #expect(result.priority == .high)
    #expect(result.kind == nil)
    #expect(result.reason == "header priority")
    #expect(result.unknownHints.map(\.value) == ["stear"])
  }

  @Test func eachSourceYieldsToTheOnesBeforeIt() {
    var headers = [
      "x-tollgate-priority": "high", "x-tollgate-kind": "nightly", "user-agent": "the-nightly-build",
      "x-claude-code-request-class": "main", "x-codex-turn-metadata": #"{"request_kind":"memory"}"#, "priority": "u=1",
    ]
    func reason() -> String { classify(headers, policy: full, model: "gpt-6", tenant: "acme").reason }
    #expect(reason() == "header x-tollgate-priority")
    headers["x-tollgate-priority"] = nil
    #expect(reason() == "header x-tollgate-kind: nightly")
    headers["x-tollgate-kind"] = nil
    #expect(reason() == "rule 2")
    headers["user-agent"] = "curl"
    #expect(reason() == "header x-claude-code-request-class: kind turn")
    headers["x-claude-code-request-class"] = nil
    #expect(reason() == "header x-codex-turn-metadata: kind memory")
    headers["x-codex-turn-metadata"] = nil
    #expect(reason() == "header priority")
    headers["priority"] = nil
    #expect(reason() == "tenant acme")
    #expect(classify(headers, policy: full, tenant: "clamped").reason == "default_priority")
  }

  @Test func rulesNeedAllTheirConditions() {
    let headers = ["user-agent": "a nightly b"]
    #expect(classify(headers, policy: full, model: "gpt-6", tenant: "acme").reason == "rule 2")
    #expect(classify(headers, policy: full, model: "o3", tenant: "acme").reason == "tenant acme")
    #expect(classify(headers, policy: full, model: nil, tenant: "acme").reason == "tenant acme")
    #expect(classify([:], policy: full, model: "gpt-6", tenant: "acme").reason == "tenant acme")
    #expect(classify([:], policy: full, path: "/v1/embeddings", model: nil, tenant: "acme").reason == "rule 1")
    #expect(classify([:], policy: full, path: "/v1/embeddings/x", model: nil, tenant: "acme").reason == "tenant acme")
  }

  @Test func firstRuleThatMatchesDecides() {
    var policy = Policy()
    policy.rules = [rule(.low) { $0.path = "/v1/*" }, rule(.high) { $0.path = "/v1/messages" }]
    #expect(classify(policy: policy).priority == .low)
  }

  @Test func kindsOfThePolicyMoveWhatAgentsSay() {
    var policy = Policy()
    policy.kinds["title"] = .high
    policy.kinds["turn"] = .low
    let title = classify(
      ["x-codex-turn-metadata": #"{"request_kind":"turn","thread_source":"thread_title"}"#], policy: policy)
    #expect(title.priority == .high)
    #expect(title.kind == "title")
    #expect(classify(["x-claude-code-request-class": "main"], policy: policy).priority == .low)
  }

  @Test func theKindOfAHintIsKeptWhereAnotherSourceDecides() {
    let agent = ["x-claude-code-request-class": "subagent"]
    let header = classify(agent.merging(["x-tollgate-priority": "low"]) { $1 })
    #expect(header.priority == .low)
    #expect(header.kind == "subagent")
    #expect(classify(agent.merging(["x-tollgate-kind": "steer"]) { $1 }).kind == "steer")
    #expect(classify(agent.merging(["x-tollgate-kind": "unknown"]) { $1 }).kind == "subagent")
    var policy = Policy()
    policy.rules = [rule(.high) { $0.path = "/v1/*" }]
    #expect(classify(agent, policy: policy).kind == "subagent")
    policy.rules[0].kind = "review"
    #expect(classify(agent, policy: policy).kind == "review")
    #expect(classify(agent, policy: policy).priority == .high)
  }

  // MARK: Inheritance

  @Test(arguments: [Priority.high, .normal, .low])
  func aCompactionTakesTheClassOfTheLastTurn(_ last: Priority) {
    let result = classify(
      ["x-claude-code-compaction": "auto", "x-claude-code-session-id": "s"], lastTurn: { _ in last })
    #expect(result.priority == last)
    #expect(result.kind == "compaction")
    #expect(
      result.reason == "header x-claude-code-compaction: kind compaction, \(last.name) like the session's last turn")
  }

  @Test func withoutATurnACompactionHasTheClassOfItsKind() {
    let result = classify(["x-codex-turn-metadata": #"{"request_kind":"compaction"}"#])
    #expect(result.priority == .low)
    #expect(result.reason == "header x-codex-turn-metadata: kind compaction")
  }

  @Test func onlyWhatThePolicyListsInherits() {
    let subagent = ["x-claude-code-request-class": "subagent", "x-claude-1p-request-class": "blocking-subagent"]
    #expect(classify(subagent, lastTurn: { _ in .high }).priority == .normal)
    var policy = Policy()
    policy.inherit = ["compaction", "blocking-subagent"]
    #expect(classify(subagent, policy: policy, lastTurn: { _ in .high }).priority == .high)
    policy.inherit = []
    let compaction = ["x-claude-code-request-class": "compaction"]
    #expect(classify(compaction, policy: policy, lastTurn: { _ in .high }).priority == .low)
  }

  @Test func whatTheClientTellsUsNeverInherits() {
    #expect(classify(["x-tollgate-kind": "compaction"], lastTurn: { _ in .high }).priority == .low)
    #expect(classify(hints: ["kind": "compaction"], lastTurn: { _ in .high }).priority == .low)
    let both = ["x-claude-code-request-class": "compaction", "x-tollgate-priority": "normal"]
    #expect(classify(both, lastTurn: { _ in .high }).priority == .normal)
  }

  @Test func theKindOfARuleInherits() {
    var policy = Policy()
    var compaction = Rule()
    compaction.headers = [Rule.HeaderPattern("x-purpose", "shrink")]
    compaction.kind = "compaction"
    policy.rules = [compaction]
    let result = classify(["x-purpose": "shrink"], policy: policy, lastTurn: { _ in .high })
    #expect(result.priority == .high)
    #expect(result.reason == "rule 1: kind compaction, high like the session's last turn")
    policy.rules[0].priority = .low
    #expect(classify(["x-purpose": "shrink"], policy: policy, lastTurn: { _ in .high }).priority == .low)
  }

  @Test func anInheritedClassIsClampedToo() {
    let result = classify(
      ["x-claude-code-request-class": "compaction"], policy: full, path: "/v1/messages", tenant: "clamped",
      lastTurn: { _ in .high })
    #expect(result.priority == .low)
  }

  @Test func aFreeCallShowsTheClassOfTheLastTurn() {
    let fields = ["x-claude-code-session-id": "s", "user-agent": "claude-cli/2 (external, cli)"]
    let count = classify(fields, path: "/v1/messages/count_tokens", isFree: true, lastTurn: { _ in .high })
    #expect(count.priority == .high)
    #expect(count.kind == "count")
    #expect(classify(fields, path: "/v1/messages/count_tokens", isFree: true).priority == .normal)
    #expect(classify(["x-tollgate-priority": "low"], isFree: true, lastTurn: { _ in .high }).priority == .low)
  }

  // MARK: Rules

  @Test func aRuleGivesTheClassOfItsKind() {
    var policy = Policy()
    var bot = Rule()
    bot.headers = [Rule.HeaderPattern("user-agent", "my-bot*")]
    bot.kind = "headless"
    policy.rules = [bot]
    let result = classify(["user-agent": "my-bot/1"], policy: policy)
    #expect(result.priority == .normal)
    #expect(result.kind == "headless")
    #expect(result.reason == "rule 1: kind headless")
    policy.kinds["headless"] = .low
    #expect(classify(["user-agent": "my-bot/1"], policy: policy).priority == .low)
  }

  @Test func aRuleCanAskThatAFieldIsAbsent() {
    var policy = Policy()
    policy.rules = [
      rule(.low) {
        $0.path = "*"
        $0.absentHeaders = ["x-a", "x-b"]
      }
    ]
    #expect(classify(policy: policy).reason == "rule 1")
    #expect(classify(["x-a": ""], policy: policy).reason == "default_priority")
    #expect(classify(["x-b": "1"], policy: policy).reason == "default_priority")
  }

  @Test func aRuleForCallsWithoutAHintPassesOverTheOthers() {
    var policy = Policy()
    policy.rules = [rule(.low) { $0.onlyUnhinted = true }]
    #expect(classify(policy: policy).reason == "rule 1")
    #expect(classify(["user-agent": "OpenAI/Python 3"], policy: policy).reason == "rule 1")
    #expect(
      classify(["x-claude-code-request-class": "main"], policy: policy).reason
        == "header x-claude-code-request-class: kind turn")
    // An unknown hint is none.
    #expect(classify(["x-codex-turn-metadata": "{}"], policy: policy).reason == "rule 1")
  }

  @Test func aRuleThatOnlyNamesASessionDoesNotEndTheSearch() {
    var policy = Policy()
    var named = Rule()
    named.path = "/v1/*"
    named.session = .header("x-run-id")
    var fixed = Rule()
    fixed.path = "/v1/messages"
    fixed.session = .text("batch")
    policy.rules = [named, fixed, rule(.low) { $0.path = "/v1/messages" }]
    #expect(classify(["x-run-id": "r7"], policy: policy).session == "r7")
    #expect(classify(["x-run-id": "r7"], policy: policy).reason == "rule 3")
    // The first rule that names one counts; a rule whose field is missing names none.
    #expect(classify(policy: policy).session == "batch")
    #expect(classify(["x-run-id": ""], policy: policy).session == "batch")
    #expect(classify(policy: policy, path: "/v1/responses").session == nil)
    // A class from elsewhere does not keep the rule from naming the session.
    #expect(classify(["x-tollgate-priority": "high", "x-run-id": "r7"], policy: policy).session == "r7")
    // Rules behind the one that decides are not asked.
    policy.rules.insert(rule(.high) { $0.path = "*" }, at: 0)
    #expect(classify(["x-run-id": "r7"], policy: policy).session == nil)
    #expect(classify(["x-tollgate-priority": "high", "x-run-id": "r7"], policy: policy).session == nil)
  }

  @Test func aCompactionInheritsInTheSessionThatARuleNames() {
    var policy = Policy()
    var named = Rule()
    named.path = "*"
    named.session = .header("x-run-id")
    policy.rules = [named]
    let fields = ["x-claude-code-request-class": "compaction", "x-run-id": "r7"]
    #expect(classify(fields, policy: policy, lastTurn: { $0 == "r7" ? .high : nil }).priority == .high)
  }

  @Test(arguments: zip(0...7, [Priority.high, .high, .high, .normal, .normal, .low, .low, .low]))
  func urgencyOfRFC9218(_ urgency: Int, _ expected: Priority) {
    var policy = Policy()
    policy.defaultPriority = expected == .low ? .high : .low
    for value in [
      "u=\(urgency)", "i, u=\(urgency)", "u=\(urgency), i", "u=9,u=\(urgency);x=1", " i=?0 ,\tu=\(urgency)",
    ] {
      let result = classify(["priority": value], policy: policy)
      #expect(result.priority == expected, "\(value)")
      #expect(result.reason == "header priority")
    }
  }

  @Test(arguments: ["u=8", "u=-1", "u=10", "u=", "u", "u=a", "u;x=1", "u=1.0", "u=1, u=9"])
  func wrongUrgencyIsCounted(_ value: String) {
    let result = classify(["priority": value])
    #expect(result.reason == "default_priority")
    #expect(result.unknownHints.map(\.value) == [value])
  }

  @Test(arguments: ["", "i", "urgent=1", "x=1, i", ",,"])
  func priorityWithoutUrgencySaysNothing(_ value: String) {
    let result = classify(["priority": value])
    #expect(result.reason == "default_priority")
    #expect(result.unknownHints.isEmpty)
  }

  @Test func pathHintsCountAsHeadersAndYieldToThem() {
    #expect(classify(hints: ["priority": "low"]).reason == "header x-tollgate-priority")
    #expect(classify(hints: ["kind": "steer"]).kind == "steer")
    #expect(classify(["x-tollgate-priority": "high"], hints: ["priority": "low"]).priority == .high)
    #expect(classify(hints: ["priority": "urgent"]).unknownHints.map(\.value) == ["urgent"])
  }

  @Test func tenantsClampAndNeverRaise() {
    let clamped = classify(["x-tollgate-priority": "high"], policy: full, tenant: "clamped")
    #expect(clamped.priority == .low)
    #expect(clamped.reason == "header x-tollgate-priority, clamped by tenant clamped to low")
    let unlisted = classify(["x-tollgate-kind": "steer"], policy: full, tenant: "somebody")
    #expect(unlisted.priority == .normal)
    #expect(unlisted.reason == "header x-tollgate-kind: steer, clamped by tenant somebody to normal")
    #expect(classify(["x-tollgate-priority": "low"], policy: full, tenant: "somebody").priority == .low)
    #expect(classify(["x-tollgate-priority": "high"], policy: full, tenant: "acme").priority == .high)
  }

  @Test func rulesAreClampedToo() {
    let result = classify(policy: full, path: "/v1/embeddings", tenant: "clamped")
    #expect(result.priority == .low)
    #expect(result.reason == "rule 1, clamped by tenant clamped to low")
  }

  @Test func onlyTheTemplateStillClamps() {
    var policy = Policy()
    var template = Tenant(id: "*")
    template.priority = .low
    template.maxPriority = .normal
    policy.tenants = [template]
    #expect(classify(policy: policy, tenant: "x").reason == "tenant template")
    #expect(classify(["x-tollgate-priority": "high"], policy: policy, tenant: "x").priority == .normal)
  }
}
