// Waits in words with their numbers, and the rules by which others went first. Names in them are clients' and operators'
// text: whoever shows them escapes them.
import AdmissionCore

public enum WaitText {
  /// One blocker with its numbers: `input tokens of anthropic: 12,400 of 40,000 needed, there in 41 s; 3 before it in its
  /// lane`.
  /// - Parameter now: nil leaves out when things will be there.
  public static func describe(_ reading: BlockerReading, at now: Instant?) -> String {
    var text = ErrorText.describe(reading.blocker)
    let coming = now.flatMap { now in reading.thereAt.map { max($0 - now, .zero) } }
    if let (dimension, place) = bucket(reading.blocker), let needed = reading.needed, let available = reading.available
    {
      let units = dimension.name.split(separator: "_").joined(separator: " ")
      text = "\(units) of \(place): \(number(available)) of \(number(needed)) needed"
      if let coming { text += ", there in \(length(coming))" }
    } else if let coming {
      switch reading.blocker {
      case .breakerOpen, .modelBreakerOpen, .providerClosed, .modelClosed, .noUsableKey, .backoff, .warmKey:
        text += ", for \(length(coming)) more"
      case .claimed: text += ", which is there in \(length(coming))"
      default: text += ", the next is free in \(length(coming))"
      }
    }
    if reading.beforeInLane > 0 { text += "; \(number(Int64(reading.beforeInLane))) before it in its lane" }
    return text
  }

  /// The same, and what else it waits for where it will go much later than what it lacks is there.
  public static func describe(_ waiting: WaitReading, at now: Instant) -> String {
    let text = describe(waiting.reading, at: now)
    guard let there = waiting.reading.thereAt, let rest = waiting.rest else { return text }
    let coming = max(there - now, .zero)
    guard rest.wholeMilliseconds > 2 * coming.wholeMilliseconds + 1000 else { return text }
    var first: [String] = []
    let others = waiting.beforeInClass - waiting.reading.beforeInLane
    if others > 0 { first.append("about \(number(Int64(others))) of its class") }
    if let above = waiting.waitingAbove, above > 0 { first.append("\(number(Int64(above))) of higher classes") }
    if first.isEmpty, waiting.waitingAbove != nil { first.append("calls of higher classes that come meanwhile") }
    if first.isEmpty, waiting.reading.beforeInLane == 0 { first.append("others") }
    let isOne = first.count == 1 && max(0, others) + (waiting.waitingAbove ?? 0) == 1
    return first.isEmpty ? text : "\(text); \(first.joined(separator: " and ")) \(isOne ? "goes" : "go") first"
  }

  private static func bucket(_ blocker: Blocker) -> (dimension: Dimension, place: String)? {
    switch blocker {
    case .providerBucket(let id, let dimension): (dimension, id.name)
    case .keyBucket(let id, let dimension): (dimension, "the keys of \(id.name)")
    case .modelBucket(let id, let model, let dimension): (dimension, "\(model) at \(id.name)")
    case .tenantBucket(let id, let dimension): (dimension, "tenant \(id.name)")
    default: nil
    }
  }

  /// Why a call went before another.
  public static func describe(_ rule: DispatchRule) -> String {
    switch rule {
    case .classesAreStrict: "its class goes first"
    case .headroom: "an old call that only the places kept for others held back"
    case .floorShare: "its class had its share coming"
    case .promotion: "its class had waited long, and had its larger share coming"
    case .fairTurns: "it was the turn of its tenant or session"
    case .comingBack: "its session had come back from idling"
    case .laneOrder: "it stood before it in its session"
    case .hurry: "its cached prompt was about to expire"
    case .sessionsOwnLimit: "its session took what others had left"
    case .warmKey: "the key that has its prompt was free"
    case .overtaking: "a small call, while a large one gathers tokens"
    case .probesFirst: "one call tried whether a pause is over"
    case .freeCalls: "free calls are sent at once"
    case .claims, .tenantsOwnLimit, .itsOwnAffair, .budgets, .preference, .wholeBucket, .noPolling, .allOrNothing,
      .noHopeNoWait:
      "all that it needed was free, and not what this one needs"
    }
  }

  /// `12,400`.
  public static func number(_ value: Int64) -> String {
    let digits = Array(String(value.magnitude))
    var text = value < 0 ? "-" : ""
    for (index, digit) in digits.enumerated() {
      if index > 0, (digits.count - index) % 3 == 0 { text += "," }
      text.append(digit)
    }
    return text
  }

  /// `450 ms`, `4.1 s`, `41 s`, `12 min`, `3 h`: two figures are enough for what will be.
  public static func length(_ span: Span) -> String {
    let milliseconds = max(0, span.wholeMilliseconds)
    let seconds = (milliseconds + 500) / 1000
    switch milliseconds {
    case ..<1000: return "\(milliseconds) ms"
    case ..<9950:
      let tenths = (milliseconds + 50) / 100
      return tenths % 10 == 0 ? "\(tenths / 10) s" : "\(tenths / 10).\(tenths % 10) s"
    case ..<120_000: return "\(seconds) s"
    case ..<7_200_000: return "\((seconds + 30) / 60) min"
    default: return "\((seconds + 1800) / 3600) h"
    }
  }
}
