// `tollgate explain`: shows what happened to one request, and why.
import AdmissionCore
import ArgumentParser
import BrokerEngine
import Foundation
import ProcessOutput
import TextForms

struct ExplainCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "explain", abstract: "Tell the story of one request: class and why, each wait, each attempt.",
    discussion:
      "The id is in the header x-tollgate-request-id of every answer. The last 1000 requests are kept. Each wait names "
      + "its rule of dispatch; docs/internals/admission.md has them by number.")

  @Argument(help: "The request's id.") var requestID: String
  @OptionGroup var admin: AdminOptions

  struct Story: Decodable {
    struct Wait: Decodable {
      var blocker: String
      var reason: String
      /// The number of the rule of dispatch that made it wait.
      var rule: String
      var fromMs: Int64
      /// Attempts that had begun before it.
      var afterAttempts: Int
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
    var inputTokens: Int64
    var outputTokens: Int64
    var estimated: Bool
    var costUsd: String?
    var message: String?
    /// When it had waited for its class's `promote_after`.
    var promotedMs: Int64?
    var waits: [Wait]
    var tries: [Try]
  }

  func validate() throws {
    guard RequestID(text: requestID) == nil else { return }
    let shown = PrintableText.escaped(String(requestID.prefix(60)))
    throw ValidationError(
      requestID.isEmpty
        ? "the request's id is empty; it is in the header x-tollgate-request-id of every answer"
        : "'\(shown)' is no request id: 26 letters and digits, as in the header x-tollgate-request-id")
  }

  func run() throws {
    let story = try AdminClient(options: admin).get(Story.self, "/api/v1/requests/\(requestID)")
    Terminal.line(ExplainCommand.text(story))
  }

  static func text(_ story: Story) -> String {
    var lines = [
      "\(story.id)  \(story.outcome ?? story.state)",
      "  \(story.arrivedAt)  \(story.method) \(story.path)"
        + (story.model.isEmpty ? "" : "  model \(story.model)"),
      "  tenant \(story.tenant)" + (story.session.isEmpty ? "" : ", session \(story.session)")
        + (story.agent.map { ", agent \($0)" } ?? ""),
      "  \(story.priority) priority, by \(story.priorityReason)" + (story.kind.map { "; kind \($0)" } ?? ""),
    ]
    for hint in story.unknownHints {
      lines.append("  unknown hint \(hint.header): \(hint.value) (allowed: \(hint.allowed))")
    }
    waits(story, after: 0, &lines)
    if let promoted = story.promotedMs {
      lines.append(
        "  +\(promoted) ms  promoted: it had waited for its class' promote_after"
          + (story.priority == "high" ? "" : ", and its class gets promoted_share while such calls come first"))
    }
    for (index, attempt) in story.tries.enumerated() {
      var line = "  +\(attempt.fromMs ?? 0) ms  attempt \(attempt.number) at \(attempt.provider)"
      if let key = attempt.key { line += " with key \(key)" }
      if let status = attempt.status { line += ": \(status)" }
      if let first = attempt.firstByteMs { line += ", answered at +\(first) ms" }
      if let until = attempt.untilMs { line += ", over at +\(until) ms" }
      if let verdict = attempt.verdict { line += " (\(verdict)\(attempt.failure.map { ", \($0)" } ?? ""))" }
      lines.append(line)
      if let cost = attempt.costUsd {
        lines.append(
          "      cost $\(cost) by \(attempt.costSource ?? "-")" + (attempt.heldUsd.map { ", held $\($0)" } ?? ""))
      } else if attempt.costSource == "unknown" {
        lines.append("      cost unknown: the model has no price")
      }
      waits(story, after: index + 1, &lines)
    }
    lines.append("  queued \(story.queuedMs) ms in all")
    lines.append(
      "  tokens: \(story.inputTokens) in, \(story.outputTokens) out\(story.estimated ? " (estimated)" : "")")
    if let cost = story.costUsd { lines.append("  cost: $\(cost)") }
    if let message = story.message { lines.append("  told the client: \(message)") }
    if let total = story.totalMs { lines.append("  \(total) ms in all") }
    // Names, paths and models are clients' text.
    return lines.map { PrintableText.escaped($0) }.joined(separator: "\n")
  }

  /// In the order of events: what the request waited for after so many attempts.
  private static func waits(_ story: Story, after attempts: Int, _ lines: inout [String]) {
    for wait in story.waits where wait.afterAttempts == attempts {
      lines.append("  +\(wait.fromMs) ms  waited: \(wait.reason) (rule \(wait.rule))")
    }
  }
}
