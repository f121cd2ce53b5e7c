// What agents say about their own calls: a kind, the agent within its session, and the session.
//
// Claude Code and Codex are known by fields that they always send; what more they send when asked to
// (`CLAUDE_CODE_GATEWAY_HINT_HEADERS=1`) is read first. docs/reference/headers.md lists the signals.
//
// Promises: one pass over the fields; nothing is allocated for a call that shows no such signal. A value that is not
// known is no error: it is reported for a metric, and the other signals decide.
import AdmissionCore
import HTTPMessage
import PolicyFile
import TextForms

/// What a client says of its own call.
struct ClientHint: Equatable {
  /// A name under `kinds:`.
  var kind: String
  /// Where it is said, for people: `header user-agent`.
  var source: String
}

/// The fields of a call that tell of its agent. Nobody copies it: a copy would count the references of all its texts.
struct ClientHints: ~Copyable {
  /// nil where the client says nothing that we know.
  private(set) var hint: ClientHint?
  /// A value that names nothing we know, for a metric; `header` in lower case.
  private(set) var unknown: (header: String, value: String)?
  /// The agent within the session's tree of agents; empty for the one that the user talks to.
  private(set) var agent = ""
  /// The session that the agent names; nil where it names none.
  private(set) var session: String?
  /// The installation of Codex that calls; empty where none is named.
  private(set) var installation = ""
  /// How long the client waits for the first byte of an answer; nil where it is not known to give up.
  private(set) var patience: Span?

  init() {}

  /// - Parameters:
  ///   - isCount: true for a call that only counts tokens.
  ///   - hasTools: false where the body offers the model no tool; true while the body is not known.
  init(_ fields: HeaderFields, isCount: Bool, hasTools: Bool) {
    let found = AgentFields(fields)
    let isClaudeCode =
      found.claudeSession >= 0 || found.claudeClass >= 0
      || (found.userAgent >= 0 && fields.valueStarts(with: "claude-cli/", at: found.userAgent))
    if isClaudeCode {
      readClaudeCode(fields, found, isCount: isCount, hasTools: hasTools)
    } else if found.codexTurn >= 0 || found.subagent >= 0 {
      readCodex(fields, found)
    } else if found.originator >= 0, fields.valueStarts(with: "codex", at: found.originator) {
      // A proxy may have removed the metadata.
      let isRun = fields.valueStarts(with: "codex_exec", at: found.originator)
      hint = ClientHint(kind: isRun ? Kinds.headless : Kinds.turn, source: "header originator")
    }
    readSession(fields, found)
    patience = ClientPatience.read(fields, at: found.patience)
  }

  private mutating func readSession(_ fields: HeaderFields, _ found: AgentFields) {
    for index in [found.claudeSession, found.underscored, found.session] where index >= 0 {
      session = fields.value(at: index)
      return
    }
  }

  // MARK: Claude Code

  private mutating func readClaudeCode(_ fields: HeaderFields, _ found: AgentFields, isCount: Bool, hasTools: Bool) {
    if found.claudeAgent >= 0 { agent = fields.value(at: found.claudeAgent) }
    if isCount {
      hint = ClientHint(kind: Kinds.count, source: "path count_tokens")
      return
    }
    if found.claudeClass >= 0 {
      let text = ASCIIText.trimmed(fields.value(at: found.claudeClass))
      if let kind = claudeCode(text, fields, found) {
        hint = ClientHint(kind: kind, source: "header x-claude-code-request-class")
        return
      }
      unknown = ("x-claude-code-request-class", String(text))
    }
    if found.compaction >= 0 {
      hint = ClientHint(kind: Kinds.compaction, source: "header x-claude-code-compaction")
    } else if !agent.isEmpty {
      hint = ClientHint(kind: Kinds.subagent, source: "header x-claude-code-agent-id")
    } else if found.userAgent >= 0 {
      let agent = fields.value(at: found.userAgent)
      let isRun = Self.isRun(agent)
      let asksForTitle = found.beta >= 0 && Self.isTitle(beta: fields.value(at: found.beta))
      if asksForTitle, !isRun || !hasTools {
        hint = ClientHint(kind: Kinds.title, source: "header anthropic-beta")
      } else if isRun {
        hint = ClientHint(kind: Kinds.headless, source: "header user-agent")
      } else if !hasTools {
        hint = ClientHint(kind: Kinds.title, source: "a body without tools")
      } else {
        hint = ClientHint(kind: Kinds.turn, source: "header user-agent")
      }
    }
  }

  /// The kind for a request class of Claude Code; nil where the class is not known.
  private func claudeCode(_ text: Substring, _ fields: HeaderFields, _ found: AgentFields) -> String? {
    let isRun = found.userAgent >= 0 && Self.isRun(fields.value(at: found.userAgent))
    let purpose = found.claudePurpose >= 0 ? ASCIIText.trimmed(fields.value(at: found.claudePurpose)) : ""
    func isPurpose(_ name: String) -> Bool { ASCIIText.areEqual(purpose, name) }
    // The class of a compaction is `compaction`, its purpose `main`.
    if found.compaction >= 0 || ASCIIText.areEqual(text, "compaction") { return Kinds.compaction }
    if ASCIIText.areEqual(text, "main") { return isRun ? Kinds.headless : Kinds.turn }
    // A question beside the conversation, whose answer a person awaits.
    if ASCIIText.areEqual(text, "side_reply") { return Kinds.turn }
    if ASCIIText.areEqual(text, "subagent") || ASCIIText.areEqual(text, "workflow") {
      if isPurpose("background-task") { return Kinds.background }
      return isPurpose("blocking-subagent") ? Kinds.blockingSubagent : Kinds.subagent
    }
    guard ASCIIText.areEqual(text, "auxiliary") else { return nil }
    let isTitle =
      isPurpose("summary-extraction") || (found.beta >= 0 && Self.isTitle(beta: fields.value(at: found.beta)))
    return isTitle ? Kinds.title : Kinds.auxiliary
  }

  /// True for a user agent of a run that nobody looks at: `claude-cli/2.1 (external, sdk-cli)`. Terminals, editors and
  /// applications have other names in that place.
  static func isRun(_ userAgent: String) -> Bool {
    guard let open = userAgent.utf8.firstIndex(of: UInt8(ascii: "(")) else { return false }
    let inside = userAgent[open...].dropFirst().prefix { $0 != ")" }
    let parts = inside.split(separator: ",", omittingEmptySubsequences: false)
    guard parts.count > 1 else { return false }
    let place = ASCIIText.trimmed(String(parts[1]))
    return place.hasPrefix("sdk-") || place.hasSuffix("github-action") || place == "mcp"
  }

  /// True for the features of a title's call: an answer in a given form, and none of the features for tools.
  private static func isTitle(beta: String) -> Bool {
    beta.contains("structured-outputs-") && !beta.contains("advanced-tool-use-")
  }

  // MARK: Codex

  private mutating func readCodex(_ fields: HeaderFields, _ found: AgentFields) {
    let turn = JSONGlance(
      ["request_kind", "thread_source", "turn_trigger", "subagent_kind", "installation_id"],
      in: found.codexTurn >= 0 ? fields.value(at: found.codexTurn) : "")
    let (request, thread, trigger, agentKind) = (turn[0], turn[1], turn[2], turn[3])
    installation = turn[4] ?? ""
    let subagent = found.subagent >= 0 ? ASCIIText.trimmed(fields.value(at: found.subagent)) : ""
    func isText(_ text: String?, _ word: String) -> Bool { text.map { ASCIIText.areEqual($0, word) } ?? false }
    let isReview = isText(agentKind, "review") || ASCIIText.areEqual(subagent, "review")
    let isOfUser = thread.map { ASCIIText.areEqual($0, "user") } ?? subagent.isEmpty
    // The agents of a tree have threads of their own.
    if found.thread >= 0, !isOfUser || found.parentThread >= 0 { agent = fields.value(at: found.thread) }

    guard found.codexTurn >= 0 else {
      hint = ClientHint(kind: isReview ? Kinds.review : Kinds.subagent, source: "header x-openai-subagent")
      return
    }
    var kind = [Kinds.compaction, Kinds.memory, Kinds.prewarm].first { isText(request, $0) }
    if isText(request, "turn") {
      if isOfUser {
        let isRun =
          trigger.map { ASCIIText.areEqual($0, "exec") }
          ?? (found.originator >= 0 && fields.valueStarts(with: "codex_exec", at: found.originator))
        kind = isRun ? Kinds.headless : Kinds.turn
      } else if isText(thread, "thread_title") {
        kind = Kinds.title
      } else {
        kind = isReview ? Kinds.review : Kinds.subagent
      }
    }
    if let kind {
      hint = ClientHint(kind: kind, source: "header x-codex-turn-metadata")
    } else {
      unknown = ("x-codex-turn-metadata", request ?? "no request_kind")
    }
  }

  // MARK: Others

  /// The session within the text by which agents tell a provider of their user: a JSON object with `session_id`, or
  /// `user_..._session_ID`. The whole text where it has no such part.
  static func session(inUser text: String) -> String {
    if text.utf8.first == UInt8(ascii: "{") { return JSONGlance(["session_id"], in: text)[0] ?? text }
    if text.utf8.starts(with: "user_".utf8), let mark = text.ranges(of: "_session_").last {
      return String(text[mark.upperBound...])
    }
    return text
  }

  /// RFC 9218: nil where the field has no `u`; an inner nil where `u` is no integer from 0 to 7. The last `u` counts.
  static func urgency(_ value: String) -> Int?? {
    var found: Int?? = .none
    for part in value.utf8.split(separator: UInt8(ascii: ",")) {
      let member = part.drop { $0 == 0x20 || $0 == 0x09 }
      guard member.first == UInt8(ascii: "u") else { continue }
      let rest = member.dropFirst()
      guard rest.isEmpty || rest.first == UInt8(ascii: "=") || rest.first == UInt8(ascii: ";") || rest.first == 0x20
      else { continue }
      let digits = rest.dropFirst().prefix { $0 != UInt8(ascii: ";") && $0 != 0x20 && $0 != 0x09 }
      if rest.first == UInt8(ascii: "="), digits.count == 1, let digit = digits.first, digit >= 0x30, digit <= 0x37 {
        found = .some(Int(digit) - 0x30)
      } else {
        found = .some(.none)
      }
    }
    return found
  }
}

/// The places of the fields by which agents and their patience are known, found in one pass; negative where a field is
/// missing. Of a field that is repeated the first counts.
private struct AgentFields {
  var userAgent = -1
  var originator = -1
  var beta = -1
  var session = -1
  var underscored = -1
  var thread = -1
  var claudeSession = -1
  var claudeClass = -1
  var claudePurpose = -1
  var claudeAgent = -1
  var compaction = -1
  var codexTurn = -1
  var parentThread = -1
  var subagent = -1
  var patience = ClientPatience.Places()

  init(_ fields: HeaderFields) {
    for index in 0..<fields.count {
      switch fields.nameLength(at: index) {
      case 9: take(&thread, "thread-id", index, fields)
      case 10:
        if fields.nameIs("user-agent", at: index) {
          if userAgent < 0 { userAgent = index }
          patience.userAgent = index
        }
        take(&session, "session-id", index, fields)
        take(&underscored, "session_id", index, fields)
        take(&originator, "originator", index, fields)
      case 14: take(&beta, "anthropic-beta", index, fields)
      case 16: if fields.nameIs("x-stainless-lang", at: index) { patience.language = index }
      case 17: take(&subagent, "x-openai-subagent", index, fields)
      case 19:
        if fields.nameIs("x-stainless-timeout", at: index) { patience.noteTimeout(index) }
        if fields.nameIs("x-stainless-runtime", at: index) { patience.runtime = index }
      case 21: take(&codexTurn, "x-codex-turn-metadata", index, fields)
      case 22: take(&claudeAgent, "x-claude-code-agent-id", index, fields)
      case 24:
        take(&claudeSession, "x-claude-code-session-id", index, fields)
        take(&compaction, "x-claude-code-compaction", index, fields)
        take(&parentThread, "x-codex-parent-thread-id", index, fields)
        if fields.nameIs("x-stainless-read-timeout", at: index) { patience.noteReadTimeout(index) }
      case 25: take(&claudePurpose, "x-claude-1p-request-class", index, fields)
      case 27: take(&claudeClass, "x-claude-code-request-class", index, fields)
      default: continue
      }
    }
  }

  private func take(_ place: inout Int, _ name: StaticString, _ index: Int, _ fields: HeaderFields) {
    if place < 0, fields.nameIs(name, at: index) { place = index }
  }
}
