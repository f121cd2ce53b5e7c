// A prompt cache like those of vendors, reduced to counts: what was sent before with the same key and session is read
// from the cache, not written again.

/// Remembers the longest prompt of each key and session for five minutes.
struct PromptCache {
  private struct Entry {
    var tokens: Int
    var used: UInt64
  }
  /// How long a prompt is kept after its last use, in nanoseconds.
  static let lifetime: UInt64 = 300_000_000_000
  /// Shorter prompts are not cached.
  static let minimum = 1024
  /// Above this many sessions the cache is emptied.
  static let capacity = 100_000
  private var entries: [String: Entry] = [:]

  /// Returns how many of the `tokens` of a prompt are in the cache, and adds the prompt. OpenAI counts in steps of 128.
  mutating func read(key: String, session: String, tokens: Int, step: Int, at now: UInt64) -> Int {
    guard tokens >= Self.minimum else { return 0 }
    let name = key + "\n" + session
    var cached = 0
    if let entry = entries[name], now &- entry.used <= Self.lifetime {
      cached = min(entry.tokens, tokens) / step * step
      entries[name] = Entry(tokens: max(tokens, entry.tokens), used: now)
    } else {
      if entries.count >= Self.capacity { entries.removeAll() }
      entries[name] = Entry(tokens: tokens, used: now)
    }
    return cached
  }
}
