// What Claude Code and Codex say of their calls: with and without hints, as observed on the wire, and siblings of it.
import HTTPMessage
import PolicyFile
import Testing

@testable import BrokerEngine

@Suite struct ClientHintsTests {
  private static let terminal = "claude-cli/2.1.332 (external, cli)"
  private static let run = "claude-cli/2.1.332 (external, sdk-cli)"
  private static let ofTurn = "claude-code-20250219,advanced-tool-use-2025-11-20,redact-thinking-2026-02-12"
  private static let ofTitle = "redact-thinking-2026-02-12,structured-outputs-2025-12-15"

  private func hints(
    _ fields: [String: String], isCount: Bool = false, hasTools: Bool = true
  ) -> ClientHints {
    ClientHints(
      HeaderFields(fields.map { (name: $0, value: $1) }), isCount: isCount, hasTools: hasTools)
  }

  private func claude(
    _ agent: String = terminal, _ fields: [String: String] = [:], isCount: Bool = false, hasTools: Bool = true
  ) -> ClientHints {
    hints(
      ["User-Agent": agent, "X-Claude-Code-Session-Id": "s1"].merging(fields) { $1 }, isCount: isCount,
      hasTools: hasTools)
  }

  // MARK: Claude Code without hints

  @Test func aTurnInTheTerminal() {
    let turn = claude(Self.terminal, ["anthropic-beta": Self.ofTurn])
    #expect(turn.hint == ClientHint(kind: "turn", source: "header user-agent"))
    #expect(turn.session == "s1")
    #expect(turn.agent == "")
  }

  @Test func aTitleIsKnownByItsFeaturesOrItsMissingTools() {
    #expect(claude(Self.terminal, ["anthropic-beta": Self.ofTitle]).hint?.kind == "title")
    #expect(claude(Self.terminal, ["anthropic-beta": Self.ofTurn], hasTools: false).hint?.kind == "title")
    // The Agent SDK asks for titles too. A run whose answer has a given form is a run.
    #expect(claude(Self.run, ["anthropic-beta": Self.ofTitle], hasTools: false).hint?.kind == "title")
    #expect(claude(Self.run, ["anthropic-beta": Self.ofTitle]).hint?.kind == "headless")
    // A turn whose answer has a given form still uses tools.
    #expect(claude(Self.terminal, ["anthropic-beta": Self.ofTitle + "," + Self.ofTurn]).hint?.kind == "turn")
  }

  @Test(arguments: [
    ("claude-cli/2.1.332 (external, sdk-cli)", "headless"),
    ("claude-cli/2.1.332 (external, sdk-py, agent-sdk/0.2.189)", "headless"),
    ("claude-cli/2.1.332 (external, sdk-ts)", "headless"), ("claude-cli/9 (external,sdk-go)", "headless"),
    ("claude-cli/2.1.332 (external, claude-code-github-action)", "headless"),
    ("claude-cli/2 (external, mcp)", "headless"),
    ("claude-cli/2.1.332 (external, cli)", "turn"), ("claude-cli/2.1.332 (external, claude-vscode)", "turn"),
    ("claude-cli/2.1.332 (external)", "turn"), ("claude-cli/2.1.332", "turn"), ("claude-cli/2.1.332 (", "turn"),
    ("claude-cli/2.1.332 (external,", "turn"),
  ])
  func whoLooksAtTheCallIsInTheUserAgent(_ agent: String, _ kind: String) {
    #expect(claude(agent).hint?.kind == kind)
    // A run has no titles: what has no tools there is a call like others.
    #expect(claude(agent, hasTools: false).hint?.kind == (kind == "turn" ? "title" : kind))
  }

  @Test func aSubagentIsKnownByItsAgent() {
    for agent in [Self.terminal, Self.run] {
      let subagent = claude(agent, ["x-claude-code-agent-id": "a2fe785d"])
      #expect(subagent.hint == ClientHint(kind: "subagent", source: "header x-claude-code-agent-id"))
      #expect(subagent.agent == "a2fe785d")
      #expect(subagent.session == "s1")
    }
  }

  @Test func countingTokensIsAKindOfItsOwn() {
    #expect(claude(isCount: true).hint?.kind == "count")
    #expect(claude(Self.terminal, ["x-claude-code-request-class": "auxiliary"], isCount: true).hint?.kind == "count")
    // Other clients' counts are free too, but no hint.
    #expect(hints(["user-agent": "Anthropic/Python 2"], isCount: true).hint == nil)
  }

  // MARK: Claude Code with hints

  @Test(arguments: [
    ("main", "", "turn"), ("MAIN", "main", "turn"), (" main ", "", "turn"), ("side_reply", "", "turn"),
    ("subagent", "blocking-subagent", "blocking-subagent"), ("subagent", "", "subagent"),
    ("subagent", "background-task", "background"), ("workflow", "", "subagent"),
    ("workflow", "blocking-subagent", "blocking-subagent"), ("compaction", "main", "compaction"),
    ("auxiliary", "summary-extraction", "title"), ("auxiliary", "followup-generation", "auxiliary"),
    ("auxiliary", "", "auxiliary"),
  ])
  func requestClasses(_ value: String, _ purpose: String, _ kind: String) {
    var fields = ["x-claude-code-request-class": value]
    if !purpose.isEmpty { fields["x-claude-1p-request-class"] = purpose }
    let found = claude(Self.terminal, fields)
    #expect(found.hint == ClientHint(kind: kind, source: "header x-claude-code-request-class"))
    #expect(found.unknown == nil)
  }

  @Test func theMainCallOfARunIsHeadless() {
    #expect(claude(Self.run, ["x-claude-code-request-class": "main"]).hint?.kind == "headless")
  }

  @Test func compactionsByTheirOwnField() {
    for trigger in ["manual", "auto", "reactive"] {
      let plain = claude(Self.terminal, ["x-claude-code-compaction": trigger])
      #expect(plain.hint == ClientHint(kind: "compaction", source: "header x-claude-code-compaction"))
      let classed = claude(Self.terminal, ["x-claude-code-compaction": trigger, "x-claude-code-request-class": "main"])
      #expect(classed.hint?.kind == "compaction")
    }
    let ofAgent = claude(Self.terminal, ["x-claude-code-compaction": "auto", "x-claude-code-agent-id": "a1"])
    #expect(ofAgent.hint?.kind == "compaction")
    #expect(ofAgent.agent == "a1")
  }

  @Test(arguments: ["repl", ""])
  func anUnknownClassLeavesTheOtherSignals(_ value: String) {
    let found = claude(Self.run, ["x-claude-code-request-class": value])
    #expect(found.hint?.kind == "headless")
    #expect(found.unknown?.header == "x-claude-code-request-class")
    #expect(found.unknown?.value == value)
    // Without a user agent nothing is known.
    #expect(hints(["x-claude-code-request-class": value]).hint == nil)
  }

  // MARK: Codex

  private func codex(_ metadata: String, _ fields: [String: String] = [:]) -> ClientHints {
    hints(
      ["x-codex-turn-metadata": metadata, "session-id": "root", "thread-id": "own", "originator": "codex-tui"]
        .merging(fields) { $1 })
  }

  @Test(arguments: [
    (#"{"request_kind":"turn","thread_source":"user","turn_trigger":"user"}"#, "turn", ""),
    (#"{"request_kind":"turn","thread_source":"user","turn_trigger":"exec"}"#, "headless", ""),
    (#"{"request_kind":"turn"}"#, "turn", ""),
    (#"{"thread_source" : "subagent", "request_kind" : "turn","subagent_kind":"thread_spawn"}"#, "subagent", "own"),
    (#"{"request_kind":"turn","thread_source":"subagent","subagent_kind":"review"}"#, "review", "own"),
    (#"{"request_kind":"turn","thread_source":"thread_title"}"#, "title", "own"),
    (#"{"request_kind":"turn","thread_source":"something_new"}"#, "subagent", "own"),
    (#"{"request_kind":"compaction","thread_source":"user","compaction":{"trigger":"auto"}}"#, "compaction", ""),
    (#"{"request_kind":"compaction","thread_source":"subagent"}"#, "compaction", "own"),
    (#"{"request_kind":"memory"}"#, "memory", ""), (#"{"request_kind":"prewarm"}"#, "prewarm", ""),
    (#"{"note":"a \"quoted\" word","request_kind":"turn"}"#, "turn", ""),
  ])
  func turnMetadata(_ metadata: String, _ kind: String, _ agent: String) {
    let found = codex(metadata)
    #expect(found.hint == ClientHint(kind: kind, source: "header x-codex-turn-metadata"))
    #expect(found.agent == agent)
    #expect(found.session == "root")
  }

  @Test(arguments: [
    #"{"request_kind":"new"}"#, #"{"request_kind":1}"#, #"{"request_kind":"tu\u0072n"}"#, #"{"request_kind":"turn"#,
    #"{"request_kind":"#, #"{"request_kind""#, #"{"a":"request_kind"}"#, "", "{}", "\"",
  ])
  func metadataThatSaysNothing(_ metadata: String) {
    let found = codex(metadata)
    #expect(found.hint == nil)
    #expect(found.unknown?.header == "x-codex-turn-metadata")
  }

  @Test func aRunIsKnownByItsNameWhereTheTriggerIsMissing() {
    let run = codex(#"{"request_kind":"turn","thread_source":"user"}"#, ["originator": "codex_exec"])
    #expect(run.hint?.kind == "headless")
    let turn = codex(#"{"request_kind":"turn","turn_trigger":"user"}"#, ["originator": "codex_exec"])
    #expect(turn.hint?.kind == "turn")
  }

  @Test func withoutMetadataTheOtherFieldsTell() {
    #expect(hints(["originator": "codex_exec"]).hint?.kind == "headless")
    #expect(hints(["originator": "codex-tui"]).hint?.kind == "turn")
    #expect(hints(["originator": "somebody"]).hint == nil)
    let subagent = hints(["x-openai-subagent": "collab_spawn", "thread-id": "t", "session-id": "root"])
    #expect(subagent.hint == ClientHint(kind: "subagent", source: "header x-openai-subagent"))
    #expect(subagent.agent == "t")
    #expect(hints(["x-openai-subagent": "review"]).hint?.kind == "review")
  }

  @Test func aThreadWithAParentIsAnAgentOfItsOwn() {
    let child = codex(#"{"request_kind":"turn","thread_source":"user"}"#, ["x-codex-parent-thread-id": "root"])
    #expect(child.agent == "own")
  }

  // MARK: Others

  @Test func whoSaysNothingHasNoHint() {
    for fields in [[:], ["user-agent": "OpenAI/Python 3.57.0"], ["user-agent": "curl/8"], ["user-agent": "claude"]] {
      let found = hints(fields)
      #expect(found.hint == nil)
      #expect(found.unknown == nil)
      #expect(found.agent == "")
      #expect(found.session == nil)
    }
    #expect(hints(["session_id": "a"]).session == "a")
    #expect(hints(["session-id": "b"]).session == "b")
  }

  @Test(arguments: [
    (#"{"device_id":"d","account_uuid":"","session_id":"5f2c"}"#, "5f2c"),
    ("user_0123_account_ab-cd_session_5f2c", "5f2c"), ("user_0123_session_a_session_b", "b"), ("alice", "alice"),
    ("user_0123", "user_0123"), (#"{"device_id":"d"}"#, #"{"device_id":"d"}"#), ("{", "{"), ("", ""),
    ("alice_session_1", "alice_session_1"),
  ])
  func theSessionWithinTheTextOfAUser(_ text: String, _ session: String) {
    #expect(ClientHints.session(inUser: text) == session)
  }
}
