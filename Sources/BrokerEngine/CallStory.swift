// What is told of a call to a collector of OpenTelemetry: one span for the call, one for each wait and one for each
// attempt, made on another thread from a copy of the record.
//
// Promises: no content and no secret; each span lies within the call's own; names of spans and classes of errors come from
// closed sets, but for the model's name; usage and cost stand at attempts alone, so that sums over spans count them once.
import AdmissionCore
import Telemetry

/// A copy of what the record of an ended call says.
public struct CallStory: Sendable {
  private let id: String
  private let trace: CallTrace
  private let method: String
  private let path: String
  private let tenant: String
  private let session: String
  private let agent: String
  private let priority: Priority
  private let kind: String?
  private let model: String
  private let answeringModel: String?
  private let outcome: Outcome?
  private let status: Int
  private let message: String?
  private let isStreaming: Bool
  private let queued: Span
  private let waits: [RequestRecord.Wait]
  private let attempts: [RequestRecord.Attempt]
  private let arrivedAt: UInt64
  private let arrivedAtWall: Int64
  private let endedAt: UInt64

  /// nil for a call whose trace is not told.
  public init?(_ record: RequestRecord) {
    guard let trace = record.trace, trace.isSampled else { return nil }
    self.trace = trace
    id = record.text
    (method, path) = (record.method, record.path)
    (tenant, session, agent) = (record.tenant, record.session, record.agent)
    (priority, kind) = (record.priority, record.kind)
    (model, answeringModel) = (record.model, record.answeringModel)
    (outcome, status, message) = (record.outcome, record.status, record.message)
    (isStreaming, queued) = (record.isStreaming, record.queued)
    (waits, attempts) = (record.waits, record.attempts)
    (arrivedAt, arrivedAtWall) = (record.arrivedAt, record.arrivedAtWall)
    endedAt = max(record.endedAt ?? record.arrivedAt, record.arrivedAt)
  }

  public var spanCount: Int { 1 + waits.count + attempts.count }

  /// About how much memory it takes while it waits.
  public var bytes: Int {
    512 + waits.count * 128 + attempts.count * 256 + path.utf8.count + session.utf8.count + model.utf8.count
      + agent.utf8.count + tenant.utf8.count + trace.state.utf8.count + (message?.utf8.count ?? 0)
      + (kind?.utf8.count ?? 0) + (answeringModel?.utf8.count ?? 0)
  }

  // MARK: Spans

  /// - Parameters:
  ///   - providers: by the names of the policy.
  ///   - scheme: in which clients speak: `http` or `https`.
  public func spans(_ providers: [String: ProviderLabels], scheme: String) -> [TraceSpan] {
    let operation = GenAI.operation(at: path)
    var spans = [root(scheme: scheme)]
    for (number, wait) in waits.enumerated() { spans.append(span(of: wait, number)) }
    for attempt in attempts {
      spans.append(span(of: attempt, isLast: attempt.number == attempts.last?.number, operation, providers))
    }
    return spans
  }

  /// Nanoseconds since 1970 of an instant of the call.
  private func wall(_ instant: UInt64) -> Int64 {
    arrivedAtWall &+ Int64(clamping: min(max(instant, arrivedAt), endedAt) - arrivedAt)
  }

  private func root(scheme: String) -> TraceSpan {
    let method = GenAI.method(method)
    let route = GenAI.route(path)
    let title = method == GenAI.otherMethod ? "HTTP" : method
    var span = TraceSpan(
      trace: trace.trace, id: trace.root, parent: trace.parent, parentIsRemote: trace.isContinued, state: trace.state,
      name: route.map { "\(title) \($0)" } ?? title, kind: .server, start: wall(arrivedAt), end: wall(endedAt))
    span.attributes = [
      Attribute("http.request.method", method), Attribute("url.path", path), Attribute("url.scheme", scheme),
      Attribute("tollgate.request.id", id), Attribute("tollgate.outcome", outcome?.rawValue ?? "ended"),
      Attribute("tollgate.priority", priority.name),
      Attribute("tollgate.queued_ms", queued.wholeMilliseconds), Attribute("tollgate.attempts", attempts.count),
      Attribute("tollgate.streaming", isStreaming),
    ]
    if let route { span.attributes.append(Attribute("http.route", route)) }
    if status != 0 { span.attributes.append(Attribute("http.response.status_code", status)) }
    for (name, text) in [
      ("gen_ai.request.model", model), ("gen_ai.conversation.id", session), ("tollgate.tenant", tenant),
      ("tollgate.agent", agent), ("tollgate.kind", kind ?? ""),
    ] where !text.isEmpty { span.attributes.append(Attribute(name, text)) }
    // By the conventions for servers, what the client did wrong is no error of ours.
    let error = status >= 500 ? String(status) : outcome == .truncated ? Outcome.truncated.rawValue : nil
    if let error {
      span.attributes.append(Attribute("error.type", error))
      span.error = message ?? ""
    }
    return span
  }

  private func span(of wait: RequestRecord.Wait, _ number: Int) -> TraceSpan {
    var span = TraceSpan(
      trace: trace.trace, id: trace.wait(number), parent: trace.root, state: trace.state,
      name: "queue \(wait.blocker.name)", kind: .internal, start: wall(wait.since), end: wall(wait.until ?? endedAt))
    span.attributes = [
      Attribute("tollgate.blocker", wait.blocker.name), Attribute("tollgate.priority", priority.name),
    ]
    if let provider = wait.reading.provider {
      span.attributes.append(Attribute("tollgate.provider", provider.name))
    }
    return span
  }

  private func span(
    of attempt: RequestRecord.Attempt, isLast: Bool, _ operation: String?, _ providers: [String: ProviderLabels]
  ) -> TraceSpan {
    let method = GenAI.method(method)
    let name =
      operation.map { model.isEmpty ? $0 : "\($0) \(model)" } ?? (method == GenAI.otherMethod ? "HTTP" : method)
    var span = TraceSpan(
      trace: trace.trace, id: trace.attempt(attempt.number), parent: trace.root, state: trace.state, name: name,
      kind: .client, start: wall(attempt.began), end: wall(attempt.ended ?? endedAt))
    var attributes = [
      Attribute("http.request.method", method), Attribute("tollgate.provider", attempt.provider),
      Attribute("tollgate.attempt", attempt.number), Attribute("tollgate.priority", priority.name),
    ]
    if let operation { attributes.append(Attribute("gen_ai.operation.name", operation)) }
    if let labels = providers[attempt.provider] {
      if operation != nil { attributes.append(Attribute("gen_ai.provider.name", labels.name)) }
      attributes += [Attribute("server.address", labels.host), Attribute("server.port", labels.port)]
    }
    for (name, text) in [
      ("gen_ai.request.model", model), ("gen_ai.conversation.id", session),
      ("gen_ai.response.model", isLast ? answeringModel ?? "" : ""), ("tollgate.key", attempt.key ?? ""),
      ("tollgate.verdict", attempt.verdict?.rawValue ?? ""),
    ] where !text.isEmpty { attributes.append(Attribute(name, text)) }
    if attempt.number > 1 { attributes.append(Attribute("http.request.resend_count", attempt.number - 1)) }
    if let status = attempt.status { attributes.append(Attribute("http.response.status_code", status)) }
    attributes += CallStory.usage(attempt)
    if let error = GenAI.error(attempt) {
      attributes.append(Attribute("error.type", error))
      span.error = attempt.failure ?? ""
    }
    span.attributes = attributes
    if let first = attempt.firstByte { span.events = [TraceSpan.Event("first_byte", at: wall(first))] }
    return span
  }

  private static func usage(_ attempt: RequestRecord.Attempt) -> [Attribute] {
    var attributes: [Attribute] = []
    if let usage = attempt.usage {
      attributes += [
        Attribute("gen_ai.usage.input_tokens", usage.inputTokens.value),
        Attribute("gen_ai.usage.output_tokens", usage.outputTokens.value),
      ]
      for (name, count) in [
        ("gen_ai.usage.cache_read.input_tokens", usage.cacheReadTokens),
        ("gen_ai.usage.cache_creation.input_tokens", usage.cacheWriteTokens),
      ] where count > 0 { attributes.append(Attribute(name, count.value)) }
      if usage.isEstimated { attributes.append(Attribute("tollgate.usage.estimated", true)) }
    }
    if let cost = attempt.cost {
      attributes.append(Attribute("tollgate.cost_usd", decimal: Double(cost.nanodollars) / 1e9))
    }
    return attributes
  }
}
