// The built-in price table: list prices of the vendors as of the version's day, in the form of a prices file. Models
// are named exactly, with their dated names beside them: a variant that is not listed has no price rather than a
// wrong one.

extension PriceList {
  /// The prices that hold where the policy names no file.
  ///
  /// A test parses it, so that it is right wherever the program runs.
  public static let builtIn: PriceList =
    PriceListParser.parse(text: builtInText, file: "built-in prices", environment: [:]).prices
    ?? PriceList(version: "none", entries: [])

  /// The table as a prices file, to start one's own from.
  public static let builtInText = """
    version: 2026-10-21
    models:
      # OpenAI
      "gpt-6.1-sol": &p1
        {input: 2, output: 10, cache_read: 0.1, cache_write: 2.5, batch: {input: 1, output: 5},
          priority: {input: 4, output: 20},
          above: {tokens: 272000, input: 4, output: 15, cache_read: 0.2, cache_write: 5}}
      "gpt-6.1-sol-20*": *p1
      "gpt-6-sol": &p2
        {input: 2, output: 10, cache_read: 0.2, cache_write: 2.5, batch: {input: 1, output: 5},
          priority: {input: 4, output: 20}, above: {tokens: 272000, input: 4, output: 15}}
      "gpt-6-sol-20*": *p2
      "gpt-6-astra": &p3
        {input: 10, output: 50, cache_read: 1, cache_write: 12.5, batch: {input: 5, output: 25},
          priority: {input: 20, output: 100}, above: {tokens: 272000, input: 20, output: 75}}
      "gpt-6-astra-20*": *p3
      "gpt-6-luna": &p4
        {input: 0.1, output: 0.5, cache_read: 0.01, cache_write: 0.125, batch: {input: 0.05, output: 0.25},
          priority: {input: 0.2, output: 1}, above: {tokens: 272000, input: 0.2, output: 0.75}}
      "gpt-6-luna-20*": *p4
      "gpt-5.6-sol": &p5
        {input: 4, output: 20, cache_read: 0.4, cache_write: 5, batch: {input: 2, output: 10},
          priority: {input: 8, output: 40}, above: {tokens: 272000, input: 8, output: 30}}
      "gpt-5.6-sol-20*": *p5
      "gpt-5.6": *p5
      "gpt-5.6-20*": *p5
      "gpt-5.6-terra": &p6
        {input: 2, output: 12, cache_read: 0.2, cache_write: 2.5, batch: {input: 1, output: 6},
          priority: {input: 4, output: 24}, above: {tokens: 272000, input: 4, output: 18}}
      "gpt-5.6-terra-20*": *p6
      "gpt-5.6-luna": &p7
        {input: 0.2, output: 1.2, cache_read: 0.02, cache_write: 0.25, batch: {input: 0.1, output: 0.6},
          priority: {input: 0.4, output: 2.4}}
      "gpt-5.6-luna-20*": *p7
      "gpt-5.5": &p8
        {input: 5, output: 30, cache_read: 0.5, batch: {input: 2.5, output: 15}, priority: {input: 12.5, output: 75},
          above: {tokens: 272000, input: 10, output: 45}}
      "gpt-5.5-20*": *p8
      "gpt-5.4": &p9
        {input: 2.5, output: 15, cache_read: 0.25, batch: {input: 1.25, output: 7.5},
          priority: {input: 5, output: 30}, above: {tokens: 272000, input: 5, output: 22.5}}
      "gpt-5.4-20*": *p9
      "gpt-5.4-mini": &p10
        {input: 0.75, output: 4.5, cache_read: 0.075, batch: {input: 0.375, output: 2.25},
          priority: {input: 1.5, output: 9}}
      "gpt-5.4-mini-20*": *p10
      "gpt-5.4-nano": &p11 {input: 0.2, output: 1.25, cache_read: 0.02, batch: {input: 0.1, output: 0.625}}
      "gpt-5.4-nano-20*": *p11
      "gpt-5.3-codex": &p12 {input: 1.75, output: 14, cache_read: 0.175, priority: {input: 3.5, output: 28}}
      "gpt-5.3-codex-20*": *p12
      "gpt-5.2": &p13
        {input: 1.75, output: 14, cache_read: 0.175, batch: {input: 0.875, output: 7},
          priority: {input: 3.5, output: 28}}
      "gpt-5.2-20*": *p13
      "gpt-5.1": &p14
        {input: 1.25, output: 10, cache_read: 0.125, batch: {input: 0.625, output: 5},
          priority: {input: 2.5, output: 20}}
      "gpt-5.1-20*": *p14
      "gpt-5": *p14
      "gpt-5-20*": *p14
      "gpt-5-mini": &p15
        {input: 0.25, output: 2, cache_read: 0.025, batch: {input: 0.125, output: 1},
          priority: {input: 0.45, output: 3.6}}
      "gpt-5-mini-20*": *p15
      "gpt-5-nano": &p16 {input: 0.05, output: 0.4, cache_read: 0.005, batch: {input: 0.025, output: 0.2}}
      "gpt-5-nano-20*": *p16
      "gpt-4.1": &p17
        {input: 2, output: 8, cache_read: 0.5, batch: {input: 1, output: 4}, priority: {input: 3.5, output: 14}}
      "gpt-4.1-20*": *p17
      "gpt-4.1-mini": &p18
        {input: 0.4, output: 1.6, cache_read: 0.1, batch: {input: 0.2, output: 0.8},
          priority: {input: 0.7, output: 2.8}}
      "gpt-4.1-mini-20*": *p18
      "gpt-4o": &p19
        {input: 2.5, output: 10, cache_read: 1.25, batch: {input: 1.25, output: 5},
          priority: {input: 4.25, output: 17}}
      "gpt-4o-20*": *p19
      "gpt-4o-mini": &p20
        {input: 0.15, output: 0.6, cache_read: 0.075, batch: {input: 0.075, output: 0.3},
          priority: {input: 0.25, output: 1}}
      "gpt-4o-mini-20*": *p20
      "o3": &p21
        {input: 2, output: 8, cache_read: 0.5, batch: {input: 1, output: 4}, priority: {input: 3.5, output: 14}}
      "o3-20*": *p21
      "text-embedding-3-small": {input: 0.02, batch: {input: 0.01}}
      "text-embedding-3-large": {input: 0.13, batch: {input: 0.065}}
      "text-embedding-ada-002": {input: 0.1}
      # Anthropic
      "claude-fable-5-1": &p25
        {input: 10, output: 50, cache_read: 0.25, cache_write: 12.5, cache_write_1h: 20,
          batch: {input: 5, output: 25}, factors: {us: 1.1}}
      "claude-fable-5-1-20*": *p25
      "claude-fable-5": &p26
        {input: 10, output: 50, cache_read: 1, cache_write: 12.5, cache_write_1h: 20, batch: {input: 5, output: 25},
          factors: {us: 1.1}}
      "claude-fable-5-20*": *p26
      "claude-opus-5-5": &p27
        {input: 4, output: 20, cache_read: 0.2, cache_write: 5, cache_write_1h: 8, batch: {input: 2, output: 10},
          factors: {us: 1.1, fast: 2}}
      "claude-opus-5-5-20*": *p27
      "claude-opus-5": &p28
        {input: 5, output: 25, cache_read: 0.5, cache_write: 6.25, cache_write_1h: 10,
          batch: {input: 2.5, output: 12.5}}
      "claude-opus-5-20*": *p28
      "claude-opus-4-8": *p28
      "claude-opus-4-8-20*": *p28
      "claude-opus-4-7": *p28
      "claude-opus-4-7-20*": *p28
      "claude-opus-4-6": *p28
      "claude-opus-4-6-20*": *p28
      "claude-opus-4-5": *p28
      "claude-opus-4-5-20*": *p28
      "claude-sonnet-5-5": &p29
        {input: 2, output: 10, cache_read: 0.1, cache_write: 2.5, cache_write_1h: 4, batch: {input: 1, output: 5}}
      "claude-sonnet-5-5-20*": *p29
      "claude-sonnet-5": &p30
        {input: 2, output: 10, cache_read: 0.2, cache_write: 2.5, cache_write_1h: 4, batch: {input: 1, output: 5}}
      "claude-sonnet-5-20*": *p30
      "claude-sonnet-4-6": &p31
        {input: 3, output: 15, cache_read: 0.3, cache_write: 3.75, cache_write_1h: 6,
          batch: {input: 1.5, output: 7.5}}
      "claude-sonnet-4-6-20*": *p31
      "claude-sonnet-4-5": *p31
      "claude-sonnet-4-5-20*": *p31
      "claude-haiku-5-5": &p32
        {input: 0.1, output: 0.5, cache_read: 0.01, cache_write: 0.125, cache_write_1h: 0.2,
          batch: {input: 0.05, output: 0.25},
          above: {tokens: 100000, input: 0.5, output: 2.5, cache_read: 0.05, cache_write: 0.625, cache_write_1h: 1}}
      "claude-haiku-5-5-20*": *p32
      "claude-haiku-4-5": &p33
        {input: 1, output: 5, cache_read: 0.1, cache_write: 1.25, cache_write_1h: 2,
          batch: {input: 0.5, output: 2.5}}
      "claude-haiku-4-5-20*": *p33
      # Google
      "gemini-4-argon": &p34
        {input: 2, output: 10, cache_read: 0.1, batch: {input: 1, output: 5}, priority: {input: 3.6, output: 18}}
      "gemini-4-argon-0??": *p34
      "gemini-3.8-flash": &p35
        {input: 0.75, output: 3.75, cache_read: 0.075, batch: {input: 0.375, output: 1.875},
          priority: {input: 1.35, output: 6.75}}
      "gemini-3.8-flash-0??": *p35
      "gemini-3.7-flash": *p35
      "gemini-3.7-flash-0??": *p35
      "gemini-3.6-flash": *p35
      "gemini-3.6-flash-0??": *p35
      "gemini-3.5-flash": &p36
        {input: 1.5, output: 9, cache_read: 0.15, batch: {input: 0.75, output: 4.5},
          priority: {input: 2.7, output: 16.2}}
      "gemini-3.5-flash-0??": *p36
      "gemini-3.5-flash-lite": &p37
        {input: 0.3, output: 2.5, cache_read: 0.03, batch: {input: 0.15, output: 1.25},
          priority: {input: 0.54, output: 4.5}}
      "gemini-3.5-flash-lite-0??": *p37
      "gemini-3.1-pro-preview":
        {input: 2, output: 12, cache_read: 0.2, batch: {input: 1, output: 6}, priority: {input: 3.6, output: 21.6},
          above: {tokens: 200000, input: 4, output: 18, cache_read: 0.4}}
      "gemini-3.1-flash-lite": &p39
        {input: 0.25, output: 1.5, cache_read: 0.025, batch: {input: 0.125, output: 0.75},
          priority: {input: 0.45, output: 2.7}}
      "gemini-3.1-flash-lite-0??": *p39
      "gemini-2.5-pro": &p40
        {input: 1.25, output: 10, cache_read: 0.125, batch: {input: 0.625, output: 5},
          priority: {input: 2.25, output: 18}, above: {tokens: 200000, input: 2.5, output: 15, cache_read: 0.25}}
      "gemini-2.5-pro-0??": *p40
      "gemini-2.5-flash": &p41
        {input: 0.3, output: 2.5, cache_read: 0.03, batch: {input: 0.15, output: 1.25},
          priority: {input: 0.54, output: 4.5}}
      "gemini-2.5-flash-0??": *p41
      "gemini-2.5-flash-lite": &p42
        {input: 0.1, output: 0.4, cache_read: 0.01, batch: {input: 0.05, output: 0.2},
          priority: {input: 0.18, output: 0.72}}
      "gemini-2.5-flash-lite-0??": *p42
      "gemini-embedding-001": {input: 0.15}
      "gemini-embedding-2": {input: 0.2, batch: {input: 0.1}}
      # Mistral
      "mistral-large-4": {input: 0.68, output: 2.09, cache_read: 0.068}
      "mistral-large-latest": {input: 0.5, output: 1.5, cache_read: 0.05}
      "mistral-medium-latest": {input: 1.5, output: 7.5, cache_read: 0.15}
      "mistral-small-latest": {input: 0.15, output: 0.6, cache_read: 0.015}
      "codestral-latest": {input: 0.3, output: 0.9, cache_read: 0.03}
      "devstral-latest": {input: 0.4, output: 2, cache_read: 0.04}
      "mistral-embed": {input: 0.1}
      "codestral-embed": {input: 0.15}
      # DeepSeek; its off-peak discount is left out, so costs are upper bounds.
      "deepseek-v4-flash": {input: 0.3, output: 1.2, cache_read: 0.006, cache_write: 0}
      "deepseek-v4-pro": {input: 1.32, output: 3.96, cache_read: 0.044, cache_write: 0}
      # xAI: 200,000 input tokens and more cost double.
      "grok-4.7": &p55 {input: 2, output: 6, cache_read: 0.5, above: {tokens: 199999, input: 4, output: 12}}
      "grok-4.6": *p55
      "grok-4.5": {input: 2, output: 6, cache_read: 0.3, above: {tokens: 199999, input: 4, output: 12}}
      "grok-4.3":
        {input: 1.25, output: 2.5, cache_read: 0.2, batch: {input: 1, output: 2},
          above: {tokens: 199999, input: 2.5, output: 5}}
      "grok-build-0.1": {input: 1, output: 2, cache_read: 0.2, above: {tokens: 199999, input: 2, output: 4}}
      # Groq
      "openai/gpt-oss-120b": {input: 0.15, output: 0.6, cache_read: 0.075}
      "openai/gpt-oss-20b": {input: 0.075, output: 0.3, cache_read: 0.0375}
      "qwen/qwen3.8-27b": {input: 0.8, output: 4}
      # Voyage and Cohere
      "voyage-4-large": {input: 0.12}
      "voyage-4": {input: 0.06}
      "voyage-4-lite": {input: 0.02}
      "voyage-code-4": {input: 0.12}
      "voyage-3.5": {input: 0.06}
      "rerank-2.5": {input: 0.05}
      "rerank-2.5-lite": {input: 0.02}
      "embed-v4.0": {input: 0.12}
      "command-a-03-2025": {input: 2.5, output: 10}
    """
}
