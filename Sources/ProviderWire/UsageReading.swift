// The usage objects of every vendor, merged field by field (the last value of each wins) and brought to one form.
import AdmissionCore
import CSimdjson

/// What a price may depend on beside the token counts of `Usage`.
public struct UsageExtras: Sendable, Equatable {
  /// Of the cache writes, those that are kept for an hour.
  public var cacheWriteHourTokens: TokenCount = 0
  public var webSearches: Int64 = 0
  /// Parts of the input and of the output.
  public var audioInputTokens: TokenCount = 0
  public var audioOutputTokens: TokenCount = 0
  public var imageInputTokens: TokenCount = 0
  public var imageOutputTokens: TokenCount = 0
  /// Length of audio, where the provider charges by time.
  public var audioMilliseconds: Int64 = 0
  /// Anthropic's `speed` and `inference_geo`.
  public var speed: String?
  public var region: String?

  public init() {}
}

/// The numbers as they came; nil where the provider gave none.
struct UsageReading {
  // OpenAI's words; `input_tokens` and `output_tokens` are everybody's.
  private var input: TokenCount?
  private var output: TokenCount?
  private var total: TokenCount?
  private var reasoning: TokenCount?
  /// Inside the input (OpenAI, Gemini, DeepSeek).
  private var cachedInside: TokenCount?
  private var writtenInside: TokenCount?
  /// Beside the input (Anthropic).
  private var readBeside: TokenCount?
  private var writtenBeside: TokenCount?
  private var writtenHour: TokenCount?
  /// Gemini's own.
  private var thoughts: TokenCount?
  private var toolPrompt: TokenCount?
  /// Cohere's `billed_units`: used where there are no `tokens`.
  private var billedInput: TokenCount?
  private var billedOutput: TokenCount?
  /// Sums over Anthropic's `iterations`, whose compaction steps the top level leaves out.
  private var iterations: (input: TokenCount, read: TokenCount, written: TokenCount, output: TokenCount)?

  private(set) var extras = UsageExtras()
  private(set) var serviceTier: String?
  private(set) var cost: Money?
  private var isPresent = false

  init() {}

  /// One form for all; nil where nothing was said.
  var usage: Usage? {
    guard isPresent else { return nil }
    var usage = Usage()
    if let iterations {
      usage.inputTokens = iterations.input + iterations.read + iterations.written
      usage.cacheReadTokens = iterations.read
      usage.cacheWriteTokens = iterations.written
      usage.outputTokens = iterations.output
      usage.reasoningTokens = min(reasoning ?? 0, usage.outputTokens)
      return usage
    }
    let said = input ?? billedInput
    var out = output ?? billedOutput ?? 0
    if let thoughts {
      // Some models count thinking inside the answer's tokens; then the sum without it is the total already.
      let isInside = total.map { (said ?? 0) + (toolPrompt ?? 0) + out == $0 } ?? false
      if !isInside { out += thoughts }
      usage.reasoningTokens = min(thoughts, out)
    } else {
      usage.reasoningTokens = reasoning ?? 0
    }
    let base: TokenCount
    if let said {
      base = said + (toolPrompt ?? 0)
      // Some vendors leave reasoning out of the completion but not out of the total.
      if readBeside == nil, writtenBeside == nil, thoughts == nil, let total { out = max(out, total - base) }
    } else {
      base = max((total ?? 0) - out, 0)
    }
    usage.outputTokens = out
    usage.reasoningTokens = min(usage.reasoningTokens, out)
    usage.inputTokens = base + (readBeside ?? 0) + (writtenBeside ?? 0)
    usage.cacheReadTokens = min(readBeside ?? cachedInside ?? 0, usage.inputTokens)
    usage.cacheWriteTokens = min(writtenBeside ?? writtenInside ?? 0, usage.inputTokens - usage.cacheReadTokens)
    return usage
  }

  /// Takes a usage object that has just begun; walks to its end. Objects inside it are read by the names of their
  /// members.
  mutating func read(_ walk: inout JSONWalk) {
    let depth = walk.depth
    while true {
      switch walk.next() {
      case .end, .error: return
      case .objectEnd: if walk.depth == depth { return }
      case .number: number(walk)
      case .string: string(walk)
      case .objectBegin:
        switch walk.key {
        case TG_KEY_prompt_tokens_details, TG_KEY_input_tokens_details, TG_KEY_input_token_details,
          TG_KEY_completion_tokens_details,
          TG_KEY_output_tokens_details, TG_KEY_cache_creation, TG_KEY_server_tool_use, TG_KEY_billed_units,
          TG_KEY_tokens:
          continue
        default: walk.skip()
        }
      case .arrayBegin:
        if walk.key == TG_KEY_iterations { readIterations(&walk) } else { walk.skip() }
      default: continue
      }
    }
  }

  private mutating func number(_ walk: JSONWalk) {
    let value = walk.tokenCount
    isPresent = isPresent || walk.key != TG_KEY_OTHER
    switch walk.key {
    case TG_KEY_prompt_tokens, TG_KEY_promptTokenCount, TG_KEY_prompt_eval_count: input = value
    case TG_KEY_input_tokens:
      if walk.parent == TG_KEY_billed_units { billedInput = value } else { input = value }
    case TG_KEY_completion_tokens, TG_KEY_candidatesTokenCount, TG_KEY_eval_count: output = value
    case TG_KEY_output_tokens:
      if walk.parent == TG_KEY_billed_units { billedOutput = value } else { output = value }
    case TG_KEY_total_tokens, TG_KEY_totalTokenCount: total = value
    case TG_KEY_cached_tokens, TG_KEY_cachedContentTokenCount, TG_KEY_prompt_cache_hit_tokens: cachedInside = value
    case TG_KEY_cache_write_tokens: writtenInside = value
    case TG_KEY_reasoning_tokens, TG_KEY_thinking_tokens: reasoning = value
    case TG_KEY_cache_read_input_tokens: readBeside = value
    case TG_KEY_cache_creation_input_tokens: writtenBeside = value
    case TG_KEY_ephemeral_1h_input_tokens: extras.cacheWriteHourTokens = value
    case TG_KEY_thoughtsTokenCount: thoughts = value
    case TG_KEY_toolUsePromptTokenCount: toolPrompt = value
    case TG_KEY_audio_tokens:
      if isOutput(walk) { extras.audioOutputTokens = value } else { extras.audioInputTokens = value }
    case TG_KEY_image_tokens:
      if isOutput(walk) { extras.imageOutputTokens = value } else { extras.imageInputTokens = value }
    case TG_KEY_web_search_requests: extras.webSearches = value
    case TG_KEY_seconds: extras.audioMilliseconds = walk.nano.map { $0 / 1_000_000 } ?? 0
    case TG_KEY_cost: cost = walk.nano.map(Money.init(nanodollars:)) ?? cost
    case TG_KEY_cost_in_usd_ticks: cost = Money(nanodollars: value / 10)
    default: break
    }
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
        if walk.count > 0 { iterations = sums }
        return
      case .number where walk.depth == depth + 2:
        switch walk.key {
        case TG_KEY_input_tokens: sums.input = min(sums.input + walk.tokenCount, 1 << 53)
        case TG_KEY_cache_read_input_tokens: sums.read = min(sums.read + walk.tokenCount, 1 << 53)
        case TG_KEY_cache_creation_input_tokens: sums.written = min(sums.written + walk.tokenCount, 1 << 53)
        case TG_KEY_output_tokens: sums.output = min(sums.output + walk.tokenCount, 1 << 53)
        default: continue
        }
      default: continue
      }
    }
  }

  /// Ollama's native answers carry the counts at the top level.
  mutating func readTopLevel(_ walk: JSONWalk) { number(walk) }

  /// A count of a free endpoint: nothing is charged.
  mutating func makeFree() {
    self = UsageReading()
    isPresent = true
  }
}
