// Reads the usage objects of every vendor, merges them field by field, and converts them to one form.
//
// The rules: for each field the last value counts, but a zero never replaces a positive count of the same answer. Cache
// reads and writes are additional to `input_tokens` and included in `prompt_tokens`; where an answer has both, they are
// counted once. Counts that grow are running totals; counts on each frame that stay far below the text so far are
// parts, and are added up.
import AdmissionCore
import CSimdjson
import Pricing

/// The numbers as they came; nil where the provider gave none.
struct UsageReading {
  /// `prompt_tokens`, `promptTokenCount`: all input, with cached tokens.
  private var prompt: TokenCount?
  /// `input_tokens`: all input in OpenAI's Responses; the input without cached tokens for Anthropic.
  private var input: TokenCount?
  private var output: TokenCount?
  private var total: TokenCount?
  private var reasoning: TokenCount?
  /// `cached_tokens`, `cache_write_tokens` and similar: included in the input, whatever its name.
  private var cachedInside: TokenCount?
  private var writtenInside: TokenCount?
  /// Anthropic's fields: additional to `input_tokens`, included in `prompt_tokens`.
  private var cacheRead: TokenCount?
  private var cacheWritten: TokenCount?
  /// Parts of the cache writes, by how long they are kept.
  private var writtenMinutes: TokenCount?
  /// DeepSeek: tokens that were not in the cache.
  private var missed: TokenCount?
  /// Gemini: tokens of thoughts and tools.
  private var thoughts: TokenCount?
  private var toolPrompt: TokenCount?
  /// Cohere's `billed_units` are what is charged; its `tokens` are what the model saw.
  private var billedInput: TokenCount?
  private var billedOutput: TokenCount?
  /// Sums over Anthropic's `iterations`; the top level leaves out their compaction steps.
  private var iterations: (input: TokenCount, read: TokenCount, written: TokenCount, output: TokenCount)?
  /// The number of usage objects with an output count, and the sum of their counts, for providers whose frames count
  /// only themselves.
  private(set) var outputWords = 0
  private var outputSum: TokenCount = 0

  private(set) var extras = UsageExtras()
  private(set) var serviceTier: String?
  private var ownCost: Money?
  /// OpenRouter, where the caller's own key was used: what the key's vendor charges in addition to OpenRouter's fee.
  private var upstreamCost: Money?
  private var isOwnKey = false
  private var isPresent = false
  /// True where a count or a price cannot be true; it was cut.
  private(set) var wasCut = false

  init() {}

  /// The usage in our form; nil where there was none.
  var usage: Usage? { usage(textBytes: 0) }

  /// The provider's own price of the call; nil where it gave none, or only a part of it.
  var cost: Money? {
    guard isOwnKey else { return ownCost }
    guard var sum = upstreamCost else { return nil }
    if let ownCost { sum.add(ownCost) }
    return sum
  }

  /// - Parameter textBytes: bytes of generated text, which distinguish running totals from parts.
  func usage(textBytes: Int) -> Usage? {
    guard isPresent else { return nil }
    var usage = Usage()
    usage.isEstimated = wasCut
    if let iterations {
      usage.inputTokens = iterations.input + iterations.read + iterations.written
      usage.cacheReadTokens = iterations.read
      usage.cacheWriteTokens = iterations.written
      usage.outputTokens = iterations.output
      usage.reasoningTokens = min(reasoning ?? 0, usage.outputTokens)
      return usage
    }
    var out = Self.positive(billedOutput) ?? output ?? 0
    if arePartsOfOutput(out, textBytes) { out = outputSum }
    if let thoughts {
      // Some models include thinking in the answer's tokens; then the total equals the sum without it.
      let isInside = total.map { (prompt ?? input ?? 0) + (toolPrompt ?? 0) + out == $0 } ?? false
      if !isInside { out += thoughts }
      usage.reasoningTokens = min(thoughts, out)
    } else {
      usage.reasoningTokens = reasoning ?? 0
    }
    let written = Self.positive(cacheWritten) ?? (writtenMinutes ?? 0) + extras.cacheWriteHourTokens
    let read = cacheRead ?? 0
    let beside = read + written
    let billed = Self.positive(billedInput)
    if let billed {
      usage.inputTokens = billed
    } else if let base = Self.positive(prompt) ?? hitAndMissed {
      // Of two counts of the input the larger one is the whole. Cached tokens that do not fit into it are additional to
      // it.
      let all = max(base, input ?? 0)
      usage.inputTokens = all + (toolPrompt ?? 0) + (all < beside ? beside : 0)
    } else if let base = input ?? prompt {
      usage.inputTokens = base + (toolPrompt ?? 0) + (standsBeside(base, beside, out) ? beside : 0)
    } else {
      usage.inputTokens = beside > 0 ? beside : (total ?? 0) - out
    }
    // Some vendors leave reasoning out of the completion, but include it in the total.
    if billed == nil, thoughts == nil, let total { out = max(out, total - max(usage.inputTokens, beside)) }
    usage.outputTokens = out
    usage.reasoningTokens = min(usage.reasoningTokens, out)
    usage.cacheReadTokens = min(max(read, cachedInside ?? 0), usage.inputTokens)
    usage.cacheWriteTokens = min(max(written, writtenInside ?? 0), usage.inputTokens - usage.cacheReadTokens)
    return usage
  }

  /// DeepSeek's prompt, as the sum of cache hits and misses.
  private var hitAndMissed: TokenCount? { missed.map { $0 + (cachedInside ?? 0) } }

  /// True where cached tokens are additional to `input_tokens`, as for Anthropic. They are included only where OpenAI's
  /// details name them too, unless the total shows otherwise.
  private func standsBeside(_ base: TokenCount, _ beside: TokenCount, _ out: TokenCount) -> Bool {
    guard base >= beside, (cachedInside ?? 0) + (writtenInside ?? 0) > 0 else { return true }
    return total == base + beside + out
  }

  /// True where each frame counted only itself: many frames had an output count, and the last one is less than one
  /// token per 32 bytes of text.
  private func arePartsOfOutput(_ last: TokenCount, _ textBytes: Int) -> Bool {
    outputWords >= 4 && textBytes > 128 && last < TokenCount(textBytes / 32) && outputSum > last
  }

  /// Reads a usage object that has just begun; walks to its end. Nested objects are read by the names of their members.
  mutating func read(_ walk: inout JSONWalk) {
    let depth = walk.depth
    let before = output
    output = nil
    defer {
      if let said = output {
        outputWords += 1
        outputSum += said
      }
      output = Self.merged(before, output)
    }
    while true {
      switch walk.next() {
      case .end, .error: return
      case .objectEnd: if walk.depth == depth { return }
      case .number: number(walk)
      case .string: string(walk)
      case .isTrue: if walk.key == TG_KEY_is_byok { isOwnKey = true }
      case .objectBegin:
        switch walk.key {
        case TG_KEY_prompt_tokens_details, TG_KEY_input_tokens_details, TG_KEY_input_token_details,
          TG_KEY_completion_tokens_details,
          TG_KEY_output_tokens_details, TG_KEY_cache_creation, TG_KEY_server_tool_use, TG_KEY_billed_units,
          TG_KEY_tokens, TG_KEY_cost_details:
          continue
        default: walk.skip()
        }
      case .arrayBegin:
        if walk.key == TG_KEY_iterations { readIterations(&walk) } else { walk.skip() }
      default: continue
      }
    }
  }

  /// Merges a later value of a field: a zero does not replace a count.
  private static func merged(_ known: TokenCount?, _ said: TokenCount?) -> TokenCount? {
    guard let said else { return known }
    return said == 0 ? known ?? 0 : said
  }

  private static func positive(_ count: TokenCount?) -> TokenCount? {
    guard let count, count > 0 else { return nil }
    return count
  }

  private static func take(_ said: TokenCount, into known: inout TokenCount?) { known = merged(known, said) }
  private static func take(_ said: TokenCount, into known: inout TokenCount) { if said != 0 { known = said } }

  private mutating func number(_ walk: JSONWalk) {
    let value = walk.tokenCount
    isPresent = isPresent || walk.key != TG_KEY_OTHER
    if walk.isImpossibleCount, walk.key != TG_KEY_OTHER, !Self.isAmount(walk.key) { wasCut = true }
    switch walk.key {
    case TG_KEY_prompt_tokens, TG_KEY_promptTokenCount, TG_KEY_prompt_eval_count: Self.take(value, into: &prompt)
    case TG_KEY_input_tokens:
      if walk.parent == TG_KEY_billed_units {
        Self.take(value, into: &billedInput)
      } else {
        Self.take(value, into: &input)
      }
    case TG_KEY_completion_tokens, TG_KEY_candidatesTokenCount, TG_KEY_eval_count: Self.take(value, into: &output)
    case TG_KEY_output_tokens:
      if walk.parent == TG_KEY_billed_units {
        Self.take(value, into: &billedOutput)
      } else {
        Self.take(value, into: &output)
      }
    case TG_KEY_total_tokens, TG_KEY_totalTokenCount: Self.take(value, into: &total)
    case TG_KEY_cached_tokens, TG_KEY_cachedContentTokenCount, TG_KEY_prompt_cache_hit_tokens:
      Self.take(value, into: &cachedInside)
    case TG_KEY_prompt_cache_miss_tokens: Self.take(value, into: &missed)
    case TG_KEY_cache_write_tokens, TG_KEY_cache_creation_tokens: Self.take(value, into: &writtenInside)
    case TG_KEY_reasoning_tokens, TG_KEY_thinking_tokens: Self.take(value, into: &reasoning)
    case TG_KEY_cache_read_input_tokens: Self.take(value, into: &cacheRead)
    case TG_KEY_cache_creation_input_tokens: Self.take(value, into: &cacheWritten)
    case TG_KEY_ephemeral_5m_input_tokens: Self.take(value, into: &writtenMinutes)
    case TG_KEY_ephemeral_1h_input_tokens: Self.take(value, into: &extras.cacheWriteHourTokens)
    case TG_KEY_thoughtsTokenCount: Self.take(value, into: &thoughts)
    case TG_KEY_toolUsePromptTokenCount: Self.take(value, into: &toolPrompt)
    case TG_KEY_audio_tokens:
      if isOutput(walk) {
        Self.take(value, into: &extras.audioOutputTokens)
      } else {
        Self.take(value, into: &extras.audioInputTokens)
      }
    case TG_KEY_image_tokens:
      if isOutput(walk) {
        Self.take(value, into: &extras.imageOutputTokens)
      } else {
        Self.take(value, into: &extras.imageInputTokens)
      }
    case TG_KEY_web_search_requests: if value != 0 { extras.webSearches = value.value }
    case TG_KEY_search_units: if value != 0 { extras.searchUnits = value.value }
    case TG_KEY_seconds: if let length = walk.nano, length > 0 { extras.audioMilliseconds = length / 1_000_000 }
    case TG_KEY_cost:
      if let said = dollars(walk), said > .zero || ownCost == nil { ownCost = said }
    case TG_KEY_upstream_inference_cost:
      if let said = dollars(walk), said > .zero || upstreamCost == nil { upstreamCost = said }
    case TG_KEY_cost_in_usd_ticks:
      if walk.wholeNumber != 0 || ownCost == nil { ownCost = bounded(Money(nanodollars: walk.wholeNumber / 10)) }
    default: break
    }
  }

  private static func isAmount(_ key: tg_json_key) -> Bool {
    key == TG_KEY_cost || key == TG_KEY_upstream_inference_cost || key == TG_KEY_cost_in_usd_ticks
      || key == TG_KEY_seconds
  }

  /// A price that the provider gives, cut to what can be true; nil where it is no price.
  private mutating func dollars(_ walk: JSONWalk) -> Money? {
    switch walk.dollars {
    case .number(let nanodollars, _): return bounded(Money(nanodollars: nanodollars))
    case .tooLarge: return bounded(Money(nanodollars: .max))
    case .negative:
      wasCut = true
      return nil
    case .malformed: return nil
    }
  }

  private mutating func bounded(_ said: Money) -> Money {
    if said > .mostPerCall { wasCut = true }
    return min(said, .mostPerCall)
  }

  private func isOutput(_ walk: JSONWalk) -> Bool {
    walk.parent == TG_KEY_completion_tokens_details || walk.parent == TG_KEY_output_tokens_details
  }

  private mutating func string(_ walk: JSONWalk) {
    switch walk.key {
    case TG_KEY_service_tier, TG_KEY_serviceTier: serviceTier = walk.string(limit: 64)
    case TG_KEY_speed: extras.speed = walk.string(limit: 64)
    case TG_KEY_inference_geo: extras.region = walk.string(limit: 64)
    default: break
    }
  }

  private mutating func readIterations(_ walk: inout JSONWalk) {
    let depth = walk.depth
    var sums: (input: TokenCount, read: TokenCount, written: TokenCount, output: TokenCount) = (0, 0, 0, 0)
    while true {
      switch walk.next() {
      case .end, .error: return
      case .arrayEnd where walk.depth == depth:
        let isSomething = sums.input + sums.read + sums.written + sums.output > 0
        if walk.count > 0, isSomething || iterations == nil { iterations = sums }
        return
      case .number where walk.depth == depth + 2:
        if walk.isImpossibleCount, walk.key != TG_KEY_OTHER { wasCut = true }
        switch walk.key {
        case TG_KEY_input_tokens: sums.input += walk.tokenCount
        case TG_KEY_cache_read_input_tokens: sums.read += walk.tokenCount
        case TG_KEY_cache_creation_input_tokens: sums.written += walk.tokenCount
        case TG_KEY_output_tokens: sums.output += walk.tokenCount
        default: continue
        }
      default: continue
      }
    }
  }

  /// Reads Ollama's native answers, which have the counts at the top level.
  mutating func readTopLevel(_ walk: JSONWalk) { number(walk) }

  /// For a free endpoint: nothing is charged.
  mutating func makeFree() {
    self = UsageReading()
    isPresent = true
  }
}
