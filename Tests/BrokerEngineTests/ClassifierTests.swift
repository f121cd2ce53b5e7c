// Each source of a class, in its order, valid and invalid; the clamp; the reasons in words.
import AdmissionCore
import PolicyFile
import Testing

@testable import BrokerEngine

@Suite struct ClassifierTests {
  private func classify(
    _ headers: [String: String] = [:], policy: Policy = Policy(), path: String = "/v1/messages", model: String? = "m",
    tenant: String = "default", hints: [String: String] = [:]
  ) -> Classification {
    let facts = ClassificationFacts(path: path, model: model, tenant: tenant, pathHints: hints)
    return Classifier(policy).classify(facts) { headers[$0] }
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
        $0.headers = [("user-agent", "*nightly*")]
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
    ]
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
    #expect(reason() == "header x-claude-code-request-class")
    headers["x-claude-code-request-class"] = nil
    #expect(reason() == "header x-codex-turn-metadata")
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

  @Test(arguments: [
    ("main", Priority?.some(.high)), ("Subagent", .normal), ("workflow", .normal), ("COMPACTION", .low),
    ("auxiliary", .low), ("repl", nil), ("", nil),
  ])
  func claudeCodeClasses(_ value: String, _ expected: Priority?) {
    let result = classify(["x-claude-code-request-class": value])
    #expect(result.priority == expected ?? .normal)
    #expect(result.unknownHints.count == (expected == nil ? 1 : 0))
  }

  @Test(arguments: [
    (#"{"request_kind":"turn","thread_source":"user"}"#, Priority?.some(.high)),
    (#"{"request_kind":"turn"}"#, .high),
    (#"{"thread_source" : "subagent", "request_kind" : "turn"}"#, .normal),
    (#"{"request_kind":"compaction"}"#, .low), (#"{"request_kind":"memory"}"#, .low),
    (#"{"request_kind":"prewarm"}"#, .low), (#"{"request_kind":"new"}"#, nil), (#"{"request_kind":1}"#, nil),
    (#"{"request_kind":"tu\u0072n"}"#, nil), (#"{"request_kind":"turn"#, nil), (#"{"request_kind":"#, nil),
    (#"{"request_kind""#, nil), (#"{"a":"request_kind"}"#, nil), ("", nil), ("{}", nil), ("\"", nil),
  ])
  func codexTurnMetadata(_ value: String, _ expected: Priority?) {
    let result = classify(["x-codex-turn-metadata": value])
    #expect(result.priority == expected ?? .normal)
    #expect(result.unknownHints.count == (expected == nil ? 1 : 0))
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
