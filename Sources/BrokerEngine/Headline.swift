// The sentence that says how things are: who waits, how long and for what, and what is failing. The same on the
// dashboard, in the API and in the terminal.
//
// Promises: it is one line, made of facts alone; what is wrong comes before who waits; names of providers, budgets and
// keys come from the policy; it names at most `mostTroubles` troubles and says how many there are more.
import AdmissionCore
import TextForms

public struct Headline: Sendable, Equatable {
  /// How one class waits.
  public struct ClassWait: Sendable, Equatable {
    public var priority: Priority
    public var queued: Int
    /// For how long its oldest call has waited; nil where none waits.
    public var oldest: Span?
    /// How long a call of the class would wait that came now; nil where that cannot be told.
    public var predicted: Span?
    /// What the oldest waits for; nil where none waits.
    public var blocker: Blocker?

    public init(
      priority: Priority, queued: Int, oldest: Span? = nil, predicted: Span? = nil, blocker: Blocker? = nil
    ) {
      self.priority = priority
      self.queued = queued
      self.oldest = oldest
      self.predicted = predicted
      self.blocker = blocker
    }
  }

  static let mostTroubles = 3

  /// The calls that still run, where the broker drains.
  var draining: Int?
  /// True where every new call is refused.
  var takesNoCalls = false
  /// True where calls were refused or got no answer in the last minute: that they wait for nothing would say little.
  var losesCalls = false
  /// In the order of the classes.
  var classes: [ClassWait]
  /// Each without a full stop, the most serious first.
  var troubles: [String]

  var text: String {
    var parts: [String] = []
    if let draining {
      parts.append("draining: no new calls are taken, \(draining) \(draining == 1 ? "call runs" : "calls run") on")
    }
    parts += troubles.prefix(Self.mostTroubles)
    let more = troubles.count - Self.mostTroubles
    if more > 0 { parts.append("and \(more) more \(more == 1 ? "trouble" : "troubles")") }
    parts += classes.filter(isTold).map(Self.wait)
    if troubles.isEmpty, draining == nil { parts.append("nothing is failing") }
    return parts.joined(separator: "; ")
  }

  /// Who waits is told, and how long a high call would wait, but for what the troubles make needless or untrue.
  private func isTold(_ one: ClassWait) -> Bool {
    if one.queued > 0 { return true }
    guard one.priority == .high, !takesNoCalls else { return false }
    guard let predicted = one.predicted else { return troubles.isEmpty }
    return predicted > .zero || !losesCalls
  }

  private static func wait(of one: ClassWait) -> String {
    guard one.queued > 0 else {
      guard let predicted = one.predicted else {
        return "nobody can tell how long a \(one.priority.name) call would wait"
      }
      guard predicted > .zero else { return "\(one.priority.name) calls wait 0 ms" }
      return "a \(one.priority.name) call would wait about \(duration(predicted))"
    }
    let isOne = one.queued == 1
    var text = isOne ? "1 \(one.priority.name) call waits" : "\(one.queued) \(one.priority.name) calls wait"
    if let oldest = one.oldest { text += ", \(isOne ? "for" : "the oldest for") \(duration(oldest))" }
    // What the oldest waits for; others may wait for something else.
    if let blocker = one.blocker { text += one.oldest == nil || isOne ? ", \(cause(blocker))" : " \(cause(blocker))" }
    if let predicted = one.predicted { text += ", a new one about \(duration(predicted))" }
    return text
  }

  /// `40 ms`, `4 s`, `2 min`: rounded to what matters.
  static func duration(_ span: Span) -> String {
    let milliseconds = max(0, span.wholeMilliseconds)
    if milliseconds < 1000 { return "\(milliseconds) ms" }
    if milliseconds < 10_000 {
      let tenths = (milliseconds + 50) / 100
      return tenths % 10 == 0 ? "\(tenths / 10) s" : "\(tenths / 10).\(tenths % 10) s"
    }
    let seconds = (milliseconds + 500) / 1000
    if seconds < 120 { return "\(seconds) s" }
    let minutes = (seconds + 30) / 60
    return minutes < 120 ? "\(minutes) min" : "\((minutes + 30) / 60) h"
  }

  /// `, next try in 40 s`; nothing where it does not end by itself.
  static func next(_ until: Instant?, _ what: String, at now: Instant) -> String {
    until.map { $0 > now ? ", \(what) in \(duration($0 - now))" : ", \(what) now" } ?? ""
  }

  /// What a call waits for, in a few words.
  public static func cause(_ blocker: Blocker) -> String {
    func units(_ dimension: Dimension) -> String {
      switch dimension {
      case .requests: "requests"
      case .inputTokens: "input tokens"
      case .outputTokens: "output tokens"
      case .tokens: "tokens"
      }
    }
    return switch blocker {
    case .behindInLane: "behind another call of its session"
    case .notItsTurn: "for its turn"
    case .providerConcurrency(let id): "for a permit of \(id)"
    case .freeConcurrency(let id): "for one of \(id)'s places for free calls"
    case .headroom(let id): "since \(id)'s free permits are kept for higher classes"
    case .providerBucket(let id, let dimension): "for \(units(dimension)) of \(id)"
    case .modelConcurrency(let id, let model): "for a permit of \(model) at \(id)"
    case .modelBucket(let id, let model, let dimension): "for \(units(dimension)) of \(model) at \(id)"
    case .tenantConcurrency(let id): "for a permit of tenant \(Self.name(id.name))"
    case .tenantBucket(let id, let dimension): "for \(units(dimension)) of tenant \(Self.name(id.name))"
    case .sessionConcurrency: "for a permit of its session"
    case .claimed(let id, _): "behind a call that waits for \(id)"
    case .breakerOpen(let id): "for \(id)'s breaker to close"
    case .modelBreakerOpen(let id, let model): "for the breaker of \(model) at \(id) to close"
    case .noUsableKey(let id): "for a key of \(id)"
    case .keyConcurrency(let id): "for a permit of a key of \(id)"
    case .keyBucket(let id, let dimension): "for \(units(dimension)) of a key of \(id)"
    case .warmKey(let id, let key): "for key \(key) of \(id), whose cache has its prompt"
    case .providerClosed(let id): "for the end of the pause that \(id) asked for"
    case .modelClosed(let id, let model): "for the end of the pause that \(id) asked for \(Self.name(model))"
    case .budget(let name): "for what running calls hold of budget \(Self.name(name))"
    case .backoff: "until its retry may start"
    }
  }

  /// A name that clients may have chosen, fit for a sentence.
  private static func name(_ text: String) -> String {
    let isPlain = text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F } && text.utf8.count <= 64
    return isPlain
      ? text
      : "'"
        + String(
          text.unicodeScalars.prefix(64).map { $0.isASCII && $0.value > 0x1F && $0.value != 0x7F ? Character($0) : "?" }
        ) + "'"
  }
}

extension Headline {
  init(_ snapshot: BrokerSnapshot) {
    draining = snapshot.isDraining ? snapshot.core.running : nil
    takesNoCalls = snapshot.isDraining || snapshot.ledgerObstacle != nil
    classes = snapshot.classes
    losesCalls = Outcome.allCases.contains { snapshot.refusals[$0] != nil && Self.told($0) != nil }
    troubles = Self.troubles(of: snapshot)
  }

  /// What is wrong, the most serious first.
  private static func troubles(of snapshot: BrokerSnapshot) -> [String] {
    var all: [String] = []
    if let obstacle = snapshot.ledgerObstacle {
      all.append("no new calls are taken: the ledger cannot be written (\(obstacle))")
    }
    for refused in snapshot.refusedProviders {
      all.append(
        refused.keys.isEmpty
          ? "every key of \(refused.provider) is disabled by hand" : "\(refused.provider) refuses every key")
    }
    let now = Instant(nanoseconds: Int64(truncatingIfNeeded: snapshot.clock.now))
    func next(_ until: Instant?, _ what: String) -> String { Self.next(until, what, at: now) }
    func state(_ breaker: AdmissionSnapshot.Breaker, of name: String) -> String? {
      switch breaker.state {
      case .closed: nil
      case .open:
        "the breaker of \(name) is open (\(ByHand.text(breaker.reason ?? "failures")))\(next(breaker.until, "next try"))"
      case .halfOpen: "the breaker of \(name) is half open: a call tries whether it works again"
      }
    }
    for provider in snapshot.core.providers {
      if let text = state(provider.breaker, of: provider.id.name) { all.append(text) }
      for model in provider.models {
        if let own = model.breaker, let text = state(own, of: "\(model.pattern) at \(provider.id.name)") {
          all.append(text)
        }
      }
      if let reason = provider.blockedBecause {
        all.append(
          "\(provider.id.name) gets no calls for now (\(reason.rawValue))\(next(provider.blockedUntil, "again"))")
      }
      for rest in provider.models.compactMap(\.rest) + provider.resting {
        all.append(
          "\(provider.id.name) gets no calls for \(name(rest.model)) for now (\(rest.reason.rawValue))\(next(rest.until, "again"))"
        )
      }
      let isRefused = snapshot.refusedProviders.contains { $0.provider == provider.id.name }
      for key in provider.keys where key.state == .disabled && !isRefused {
        let isOver = key.until.map { $0 <= now } ?? false
        all.append(
          "key \(key.id.name) of \(provider.id.name) is not used (\(ByHand.text(key.reason?.text ?? "disabled")))"
            + (isOver ? ", the next call tries it" : next(key.until, "tried again")))
      }
    }
    for slow in snapshot.slowStarts { all.append(text(of: slow)) }
    // Those of which nothing is left first.
    for state in [BudgetState.usedUp, .refusing] {
      for budget in snapshot.core.budgets where budget.state == state {
        if let text = budget.standing(of: "budget \(name(budget.id))") { all.append(text) }
      }
    }
    for outcome in Outcome.allCases {
      guard let count = snapshot.refusals[outcome], let what = told(outcome) else { continue }
      all.append("\(count) \(count == 1 ? "call" : "calls") \(what) in the last minute")
    }
    // That the ledger cannot be written stands above.
    for alert in snapshot.alerts where alert.name != "ledger" { all.append(alert.text) }
    return all
  }

  /// `3 calls at anthropic wait for a first byte, one for 40 s; nine of ten have it within 2 s`.
  public static func text(of slow: SlowStart) -> String {
    let usual = slow.usual.map { ", where nine of ten have it within \(duration($0))" } ?? ""
    return slow.calls == 1
      ? "1 call at \(slow.provider) has waited \(duration(slow.longest)) for a first byte\(usual)"
      : "\(slow.calls) calls at \(slow.provider) have waited up to \(duration(slow.longest)) for a first byte\(usual)"
  }

  /// What happened to calls with this outcome, where that is a trouble of the broker's; nil where it is the client's.
  static func told(_ outcome: Outcome) -> String? {
    switch outcome {
    case .rejectedBudget: "refused by budgets"
    case .rejectedQueueFull: "refused because the queue is full"
    case .evictedMaxWait: "not let in within `max_wait`"
    case .rejectedNoCapacity: "refused because no provider could take them in time"
    case .failedUpstream: "got no answer from a provider"
    case .completed, .clientLeftQueued, .clientLeftRunning, .truncated, .upstreamError, .rejectedDraining,
      .rejectedTenantLimit, .rejectedUnauthenticated, .rejectedModel, .rejectedMalformed, .rejectedTooLarge,
      .rejectedUpgrade, .rejectedOrigin:
      nil
    }
  }

  /// How things are, in one line.
  public static func text(_ snapshot: BrokerSnapshot) -> String { Headline(snapshot).text }
}

extension Blocker {
  /// The provider whose resources are waited for; nil where they are no provider's.
  public var provider: ProviderID? {
    switch self {
    case .behindInLane, .notItsTurn, .tenantConcurrency, .tenantBucket, .sessionConcurrency, .budget, .backoff: nil
    case .providerConcurrency(let id), .freeConcurrency(let id), .headroom(let id), .providerBucket(let id, _),
      .modelConcurrency(let id, _), .modelBucket(let id, _, _), .claimed(let id, _), .breakerOpen(let id),
      .modelBreakerOpen(let id, _), .noUsableKey(let id), .keyConcurrency(let id), .keyBucket(let id, _),
      .warmKey(let id, _), .providerClosed(let id), .modelClosed(let id, _):
      id
    }
  }
}
