// Reads a provider's limits from its answer headers, in the formats of all vendors. Implausible values are ignored;
// nothing is guessed.
import AdmissionCore
import HTTPMessage
import TextForms

public enum RateLimitHeaders {
  /// The values of the fields of one dimension.
  private struct Parts {
    var limit: Int64?
    var remaining: Int64?
    var fullIn: Span?
    /// True where `fullIn` came with a unit, and so is exact enough to compute with.
    var isExact = false
    /// True where the name says that the limit is daily or monthly.
    var isLong = false
    /// True where the name says that it is daily.
    var isDay = false
    /// True where the name does not say the window.
    var isBare = false
    /// True where the reset is an instant, which may be the end of a longer window.
    var isInstant = false
  }

  /// The limits in an answer's fields; nil where there are none.
  ///
  /// Windows longer than a minute (Groq's requests per day) give no `limit`, since that is per minute. Daily limits
  /// tell how their units come back: gradually, where the time to the reset is the same part of a day as the used part
  /// of the limit; else at once, at the reset.
  ///
  /// - Parameter epochSeconds: the wall clock, for vendors that give an instant.
  public static func read(_ fields: HeaderFields, epochSeconds: Int64) -> ObservedLimits? {
    var parts: [Parts?] = [nil, nil, nil, nil]
    for index in 0..<fields.count {
      if fields.nameStarts(with: "x-ratelimit-", at: index) {
        readCommon(fields, index, epochSeconds, &parts)
      } else if fields.nameStarts(with: "anthropic-ratelimit-", at: index) {
        readAnthropic(fields, index, epochSeconds, &parts)
      }
    }
    // Anthropic's `tokens` repeats the tightest limit: beside the others it adds nothing.
    if parts[Int(Dimension.inputTokens.rawValue)] != nil || parts[Int(Dimension.outputTokens.rawValue)] != nil {
      parts[Int(Dimension.tokens.rawValue)] = nil
    }
    let readings = Dimension.allCases.compactMap { reading($0, parts[Int($0.rawValue)]) }
    return readings.isEmpty ? nil : ObservedLimits(readings: readings)
  }

  private static func reading(_ dimension: Dimension, _ parts: Parts?) -> ObservedLimits.Reading? {
    guard var parts, parts.limit != 0 else { return nil }
    if let limit = parts.limit, let remaining = parts.remaining, remaining > limit { parts.remaining = nil }
    let told = parts.limit
    let window = window(parts)
    let day = day(parts, window: window)
    if parts.isLong { parts.limit = nil }
    if parts.isBare { parts.limit = perMinute(parts) }
    if let window, window > 600 { parts.limit = nil }
    guard parts.limit != nil || parts.remaining != nil else { return nil }
    return ObservedLimits.Reading(
      dimension: dimension, limit: parts.limit, remaining: parts.remaining, fullIn: parts.fullIn, told: told, day: day)
  }

  /// The seconds in which the whole limit would refill, if it refilled continuously; nil where the values are too
  /// coarse to tell.
  private static func window(_ parts: Parts) -> Double? {
    guard let limit = parts.limit, let remaining = parts.remaining, let fullIn = parts.fullIn, parts.isExact,
      limit > remaining
    else { return nil }
    return fullIn.inSeconds * Double(limit) / Double(limit - remaining)
  }

  private static func day(_ parts: Parts, window: Double?) -> ObservedLimits.DayReset? {
    // A day, give or take a sixth, since the told values are rounded.
    if let window, (72_000...100_800).contains(window), parts.isDay || !parts.isLong { return .gradually }
    if parts.isDay { return .atOnce }
    // No vendor uses windows between an hour and a day: what is not back within an hour is back at the end of the day.
    if parts.isBare, let fullIn = parts.fullIn, fullIn > .seconds(3600) { return .atOnce }
    return nil
  }

  /// A limit without a named window, per minute: the time to its reset shows whether it is per second or per minute.
  /// Where there is no such time, or it is longer, only `remaining` is used.
  private static func perMinute(_ parts: Parts) -> Int64? {
    guard let limit = parts.limit, let fullIn = parts.fullIn, fullIn > .zero, fullIn <= .seconds(60) else { return nil }
    guard fullIn <= .seconds(1), !parts.isInstant else { return limit }
    let (product, overflow) = limit.multipliedReportingOverflow(by: 60)
    return overflow ? limit : product
  }

  /// `x-ratelimit-{limit,remaining,reset}` alone or with `-requests`, `-tokens`, `-project-tokens`, `-req-minute`,
  /// `-tokens-minute`, `-requests-day`.
  private static func readCommon(
    _ fields: HeaderFields, _ index: Int, _ epochSeconds: Int64, _ parts: inout [Parts?]
  ) {
    let name = String(decoding: fields.nameBytes(at: index).dropFirst("x-ratelimit-".utf8.count), as: UTF8.self)
      .lowercased()
    let words = name.split(separator: "-", maxSplits: 1)
    guard let what = words.first else { return }
    let dimension: Dimension
    var isLong = false
    var isDay = false
    let isBare = words.count == 1
    switch words.count > 1 ? words[1] : "requests" {
    case "requests", "req-minute", "requests-minute": dimension = .requests
    case "tokens", "tokens-minute", "project-tokens": dimension = .tokens
    case "requests-day", "req-day": (dimension, isLong, isDay) = (.requests, true, true)
    case "req-month", "requests-month": (dimension, isLong) = (.requests, true)
    case "tokens-day": (dimension, isLong, isDay) = (.tokens, true, true)
    case "tokens-month": (dimension, isLong) = (.tokens, true)
    default: return
    }
    let place = Int(dimension.rawValue)
    let value = fields.valueBytes(at: index)
    var found = parts[place] ?? Parts()
    // Of a limit per minute and a daily one, the one per minute is used.
    if parts[place] != nil, found.isLong != isLong {
      if isLong { return }
      found = Parts()
    }
    // Of a daily and a monthly limit, the daily one is used.
    if parts[place] != nil, isLong, found.isDay != isDay {
      if !isDay { return }
      found = Parts()
    }
    // A name with a window is preferred to one without.
    if parts[place] != nil, found.isBare != isBare {
      if isBare { return }
      found = Parts()
    }
    found.isLong = isLong
    found.isDay = isDay
    found.isBare = isBare
    switch what {
    case "limit":
      guard let number = WireTimes.digits(WireTimes.trimmed(value)) else { return }
      found.limit = min(found.limit ?? .max, number)
    case "remaining":
      guard let number = WireTimes.digits(WireTimes.trimmed(value)) else { return }
      found.remaining = min(found.remaining ?? .max, number)
    case "reset":
      guard let span = reset(value, epochSeconds) else { return }
      found.fullIn = max(found.fullIn ?? .zero, span)
      found.isExact = value.contains { $0 >= 0x61 }
      found.isInstant = (WireTimes.digits(WireTimes.trimmed(value)) ?? 0) > 1_000_000_000
    default: return
    }
    parts[place] = found
  }

  /// Reads a duration, seconds, or an instant in seconds or milliseconds since 1970.
  private static func reset(_ value: ArraySlice<UInt8>, _ epochSeconds: Int64) -> Span? {
    if let number = WireTimes.digits(WireTimes.trimmed(value)), number > 1_000_000_000 {
      let instant = number > 100_000_000_000 ? number / 1000 : number
      return span(until: instant, epochSeconds)
    }
    return WireTimes.duration(value)
  }

  private static func span(until instant: Int64, _ epochSeconds: Int64) -> Span? {
    let seconds = instant - epochSeconds
    return seconds > 86_400 || seconds < -86_400 ? nil : Span.seconds(max(seconds, 0))
  }

  /// Reads `anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,remaining,reset}`; `unified-*` has
  /// another meaning.
  private static func readAnthropic(
    _ fields: HeaderFields, _ index: Int, _ epochSeconds: Int64, _ parts: inout [Parts?]
  ) {
    let name = String(
      decoding: fields.nameBytes(at: index).dropFirst("anthropic-ratelimit-".utf8.count), as: UTF8.self
    ).lowercased()
    guard let dash = name.lastIndex(of: "-") else { return }
    let dimension: Dimension
    switch name[..<dash] {
    case "requests": dimension = .requests
    case "tokens": dimension = .tokens
    case "input-tokens": dimension = .inputTokens
    case "output-tokens": dimension = .outputTokens
    default: return
    }
    let place = Int(dimension.rawValue)
    var found = parts[place] ?? Parts()
    let value = fields.valueBytes(at: index)
    switch name[name.index(after: dash)...] {
    case "limit":
      guard let number = WireTimes.digits(WireTimes.trimmed(value)) else { return }
      found.limit = number
    case "remaining":
      guard let number = WireTimes.digits(WireTimes.trimmed(value)) else { return }
      found.remaining = number
    case "reset":
      guard let instant = WireTimes.rfc3339(value), let span = span(until: instant, epochSeconds) else { return }
      found.fullIn = span
    default: return
    }
    parts[place] = found
  }

  /// How long the provider asks to wait, from 0 to a day; nil where it does not say, or where the value is implausible.
  ///
  /// Prefers `retry-after-ms` to `retry-after`, which may be seconds (also with a fraction) or an HTTP date.
  public static func retryAfter(_ fields: HeaderFields, epochSeconds: Int64) -> Span? {
    if let index = fields.firstIndex(of: "retry-after-ms"),
      let span = WireTimes.milliseconds(fields.valueBytes(at: index))
    {
      return span
    }
    guard let index = fields.firstIndex(of: "retry-after") else { return nil }
    let value = fields.valueBytes(at: index)
    if let instant = WireTimes.httpDate(value) { return span(until: instant, epochSeconds) }
    guard let nanoseconds = DecimalText.scaled(WireTimes.trimmed(value), by: 9),
      nanoseconds <= WireTimes.longest.nanoseconds
    else { return nil }
    return Span(nanoseconds: nanoseconds)
  }
}
