// `tollgate explain`: shows what happened to one request, and why; also what a request that still waits waits for.
import AdmissionCore
import ArgumentParser
import BrokerEngine
import Foundation
import ProcessOutput
import TerminalScreen
import TextForms

struct ExplainCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "explain", abstract: "Tell the story of one request: class and why, each wait, each attempt.",
    discussion:
      "The id is in the header x-tollgate-request-id of every answer, and 'tollgate requests' lists ids. Of a session, "
      + "its newest waiting call is explained, or where none waits its newest one. The last 1000 requests are kept. Each "
      + "wait names its rule of dispatch; docs/internals/admission.md has them by number.")

  @Argument(help: ArgumentHelp("The request's id, or a session.", valueName: "id-or-session")) var subject: String
  @Flag(help: "The answer of /api/v1/requests/ID as it is.") var json = false
  @OptionGroup var admin: AdminOptions

  struct Story: Decodable {
    struct Wait: Decodable {
      var blocker: String
      var reason: String
      /// The reason with its numbers.
      var text: String?
      /// The number of the rule of dispatch that made it wait.
      var rule: String
      var fromMs: Int64
      var untilMs: Int64?
      /// Attempts that had begun before it.
      var afterAttempts: Int
    }
    struct WaitsFor: Decodable {
      var text: String?
    }
    struct Ahead: Decodable {
      var id: String?
      var priority: String
      var session: String?
      var rule: String
      var text: String
      var atMs: Int64?
      var count: Int
    }
    struct Position: Decodable {
      var lane: Int
      var `class`: Int
    }
    struct Estimate: Decodable {
      var inputTokens: Int64
      var outputTokens: Int64?
      var cachedInputTokens: Int64?
    }
    struct Price: Decodable {
      var line: String
      var version: String
      var inputUsdPerM: String?
      var outputUsdPerM: String?
    }
    struct Hint: Decodable {
      var header: String
      var value: String
      var allowed: String
    }
    struct Try: Decodable {
      var number: Int
      var provider: String
      var key: String?
      var status: Int?
      var verdict: String?
      var failure: String?
      var heldUsd: String?
      var costUsd: String?
      var costSource: String?
      var fromMs: Int64?
      var firstByteMs: Int64?
      var untilMs: Int64?
    }
    var id: String
    var state: String
    var arriving: Bool?
    var outcome: String?
    var arrivedAt: String
    var method: String
    var path: String
    var tenant: String
    var session: String
    var agent: String?
    var kind: String?
    var priority: String
    var priorityReason: String
    var unknownHints: [Hint]
    var model: String
    var queuedMs: Int64
    var totalMs: Int64?
    var nowMs: Int64?
    var inputTokens: Int64
    var outputTokens: Int64
    var cacheReadTokens: Int64?
    var cacheWriteTokens: Int64?
    var estimated: Bool
    var estimate: Estimate?
    var price: Price?
    var costUsd: String?
    var message: String?
    /// When it had waited for its class's `promote_after`.
    var promotedMs: Int64?
    var waitsFor: WaitsFor?
    var waits: [Wait]
    var wentAhead: [Ahead]?
    var position: Position?
    var predictedWaitMs: Int64?
    var tries: [Try]
  }

  func validate() throws {
    guard subject.isEmpty else { return }
    throw ValidationError(
      "the request's id is empty; it is in the header x-tollgate-request-id of every answer, and a session can be given"
    )
  }

  func run() throws {
    let client = AdminClient(options: admin)
    let id = RequestID(text: subject) == nil ? try newest(client) : subject
    if json {
      return Terminal.line(String(decoding: try client.call("GET", "/api/v1/requests/\(id)"), as: UTF8.self))
    }
    let story = try client.get(Story.self, "/api/v1/requests/\(id)")
    Terminal.line(ExplainCommand.text(story))
  }

  // MARK: Sessions

  struct List: Decodable {
    struct Entry: Decodable {
      var id: String
      var session: String
    }
    var requests: [Entry]
  }

  /// The newest waiting call of the session; else its newest one.
  private func newest(_ client: AdminClient) throws -> String {
    for state in ["queued", "running", "recent"] {
      let list = try client.get(List.self, "/api/v1/requests?state=\(state)&limit=1000")
      // Ids are in the order of arrival.
      if let id = list.requests.filter({ $0.session == subject }).map(\.id).max() { return id }
    }
    let shown = PrintableText.escaped(String(subject.prefix(60)))
    throw CommandRefusal(
      "tollgate: '\(shown)' is no request id (26 letters and digits, as in the header x-tollgate-request-id), and no "
        + "session of a request that waits, runs or is among the last 1000")
  }

  // MARK: The text

  /// A moment and what happened then.
  private struct Line {
    var at: Int64?
    var text: String
  }

  static func text(_ story: Story, _ clock: LocalClock = ReportPage.current.clock) -> String {
    let head = [
      "\(story.id)  \(story.outcome ?? (story.arriving == true ? "arriving" : story.state))",
      "  \(clock.zoned(story.arrivedAt))  \(story.method) \(story.path)"
        + (story.model.isEmpty ? "" : "  model \(story.model)"),
      "  tenant \(story.tenant)" + (story.session.isEmpty ? "" : ", session \(story.session)")
        + (story.agent.map { ", agent \($0)" } ?? ""),
      "  \(story.priority) priority, by \(story.priorityReason)" + (story.kind.map { "; kind \($0)" } ?? ""),
    ]
    let hints = story.unknownHints.map { "  unknown hint \($0.header): \($0.value) (allowed: \($0.allowed))" }
    var lines = events(story)
    let moments = lines.map { line in line.at.map { "+\($0) ms" } ?? "" }
    let width = moments.map(\.count).max() ?? 0
    lines = zip(lines, moments).map { line, moment in
      Line(at: line.at, text: "  " + String(repeating: " ", count: width - moment.count) + moment + "  " + line.text)
    }
    // Names, paths and models are clients' text.
    return (head + hints + lines.map(\.text) + sums(story)).map { PrintableText.escaped($0) }.joined(separator: "\n")
  }

  /// What happened, in the order of events.
  private static func events(_ story: Story) -> [Line] {
    var lines: [Line] = []
    waits(story, after: 0, &lines)
    if let promoted = story.promotedMs {
      lines.append(Line(at: promoted, text: promotion(story, at: promoted)))
    }
    for (index, attempt) in story.tries.enumerated() {
      var text = "attempt \(attempt.number) at \(attempt.provider)"
      if let key = attempt.key { text += " with key \(key)" }
      if let status = attempt.status { text += ": \(status)" }
      if let first = attempt.firstByteMs { text += ", answered at +\(first) ms" }
      if let until = attempt.untilMs { text += ", over at +\(until) ms" }
      if let verdict = attempt.verdict { text += " (\(verdict)\(attempt.failure.map { ", \($0)" } ?? ""))" }
      lines.append(Line(at: attempt.fromMs ?? 0, text: text))
      if let cost = attempt.costUsd {
        lines.append(
          Line(
            at: nil,
            text: "  cost \(AmountText.dollars(cost)) by \(attempt.costSource ?? "-")"
              + (attempt.heldUsd.map { ", held \(AmountText.dollars($0))" } ?? "")))
      } else if attempt.costSource == "unknown" {
        lines.append(Line(at: nil, text: "  cost unknown: the model has no price"))
      }
      waits(story, after: index + 1, &lines)
    }
    if story.state == "running", let now = story.nowMs {
      let hasBegun = story.tries.last?.firstByteMs != nil
      lines.append(Line(at: now, text: hasBegun ? "its answer goes on" : "it runs, and has no first byte yet"))
    }
    if story.arriving == true, let now = story.nowMs {
      lines.append(Line(at: now, text: "its body is still on the way"))
    } else if story.state == "queued", let now = story.nowMs {
      var text = "it still waits"
      if let position = story.position {
        text += ": number \(position.lane) in its lane, about number \(position.class) in its class"
      }
      text +=
        story.predictedWaitMs.map { "; expected to go in \(WaitText.length(.milliseconds($0)))" }
        ?? "; nobody can tell for how long"
      // Its wait above tells the numbers of its beginning.
      if let reason = story.waitsFor?.text { text += "; now: \(reason)" }
      lines.append(Line(at: now, text: text))
    }
    return lines
  }

  /// What it meant that the request had waited for so long (rule 1c). Nothing goes before others for its age.
  private static func promotion(_ story: Story, at promoted: Int64) -> String {
    let waited = max(0, promoted - (story.waits.first?.fromMs ?? 0))
    let text = "promoted after \(WaitText.length(.milliseconds(waited))) in the queue, its class's promote_after: "
    if story.priority == "high" { return text + "only a mark, since high has no share to raise (rule 1c)" }
    let isWaiting = story.state == "queued"
    return text + (isWaiting ? "since then " : story.tries.isEmpty ? "from then on, " : "from then until it went, ")
      + "\(story.priority) \(isWaiting ? "gets" : "got") promoted_share instead of share while a call as old "
      + "\(isWaiting ? "is" : "was") the first of its session (rule 1c, which jumps no line)"
  }

  /// What the request waited for after so many attempts.
  private static func waits(_ story: Story, after attempts: Int, _ lines: inout [Line]) {
    for wait in story.waits where wait.afterAttempts == attempts {
      let lasted = wait.untilMs.map { " for \(WaitText.length(.milliseconds($0 - wait.fromMs)))" } ?? ""
      lines.append(
        Line(at: wait.fromMs, text: "waited\(lasted): \(wait.text ?? wait.reason) (rule \(wait.rule))"))
    }
  }

  private static func dollars(_ amount: String?) -> String { amount.map { AmountText.dollars($0) } ?? "-" }

  /// Who went before it, tokens, cost and times.
  private static func sums(_ story: Story) -> [String] {
    var lines: [String] = []
    let ahead = story.wentAhead ?? []
    if !ahead.isEmpty {
      let count = ahead.reduce(0) { $0 + $1.count }
      lines.append("  \(count) \(count == 1 ? "call" : "calls") went ahead while it waited:")
      // By class and rule, in the order of the newest.
      var groups: [(name: String, text: String, count: Int)] = []
      for one in ahead {
        let name = "\(one.priority), rule \(one.rule)"
        if let known = groups.firstIndex(where: { $0.name == name }) {
          groups[known].count += one.count
        } else {
          groups.append((name, one.text, one.count))
        }
      }
      let width = groups.map(\.name.count).max() ?? 0
      let digits = groups.map { String($0.count).count }.max() ?? 0
      for group in groups {
        let count = String(group.count)
        lines.append(
          "    " + String(repeating: " ", count: digits - count.count) + count + "  "
            + group.name.padding(toLength: width, withPad: " ", startingAt: 0) + "  \(group.text)")
      }
      if let last = ahead.first(where: { $0.id != nil }), let id = last.id {
        lines.append("    the last one was \(id)" + (last.session.map { " of session \($0)" } ?? ""))
      }
    }
    lines.append("  queued \(story.queuedMs) ms in all")
    var tokens = "  tokens: \(story.inputTokens) in, \(story.outputTokens) out\(story.estimated ? " (estimated)" : "")"
    if let read = story.cacheReadTokens, let written = story.cacheWriteTokens, read + written > 0 {
      tokens += "; of the input \(read) read from the provider's cache, \(written) written to it"
    }
    lines.append(tokens)
    if let estimate = story.estimate {
      lines.append(
        "  expected: \(estimate.inputTokens) in" + (estimate.outputTokens.map { ", \($0) out" } ?? "")
          + (estimate.cachedInputTokens.map { $0 > 0 ? ", \($0) cached" : "" } ?? ""))
    }
    if let cost = story.costUsd { lines.append("  cost: \(AmountText.dollars(cost))") }
    if let price = story.price {
      lines.append(
        "  price: line '\(price.line)' of prices \(price.version): \(dollars(price.inputUsdPerM)) in, "
          + "\(dollars(price.outputUsdPerM)) out per 1M tokens")
    }
    if let message = story.message { lines.append("  told the client: \(message)") }
    if let total = story.totalMs { lines.append("  \(total) ms in all") }
    return lines
  }
}
