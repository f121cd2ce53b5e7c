// The most output that a request allows, by all the members that say so.
//
// A cap is believed only as far as every server that could get the request would keep it. Of several the largest counts, since
// older servers read `max_tokens` and newer ones `max_completion_tokens`; a number of zero or less is no cap, as many local
// servers have it; and what an endpoint does not read is none at all.
import AdmissionCore
import CSimdjson

struct OutputCap {
  private var said: TokenCount?
  /// By names that some servers read before the vendor's: they can only raise what that says.
  private var saidByOtherName: TokenCount = 0
  /// True where a member says that there is no cap, or nothing that can be read.
  private var isOpen = false
  private var wasSaid: (older: Bool, newer: Bool, configured: Bool) = (false, false, false)

  /// The largest of all; nil where a server may find none.
  var largest: TokenCount? { isOpen ? nil : said.map { max($0, saidByOtherName) } }

  /// Takes a member of the body whose name is that of a cap.
  mutating func take(_ walk: JSONWalk, at endpoint: WireEndpoint) {
    switch walk.key {
    case TG_KEY_n_predict, TG_KEY_max_new_tokens:
      if let count = count(walk) { saidByOtherName = max(saidByOtherName, count) }
    case TG_KEY_max_tokens:
      if endpoint.readsMaxTokens { wasSaid.older = say(walk, after: wasSaid.older) }
    case TG_KEY_max_completion_tokens:
      if endpoint == .chatCompletions || endpoint.isOpen { wasSaid.newer = say(walk, after: wasSaid.newer) }
    case TG_KEY_max_output_tokens:
      if endpoint == .responses || endpoint == .responsesCompact || endpoint.isOpen {
        wasSaid.newer = say(walk, after: wasSaid.newer)
      }
    default: return
    }
  }

  /// The same for a member of Google's `generationConfig`.
  mutating func take(configured walk: JSONWalk, at endpoint: WireEndpoint) {
    guard walk.key == TG_KEY_maxOutputTokens || walk.key == TG_KEY_max_output_tokens,
      endpoint == .geminiGenerate || endpoint == .geminiStream || endpoint.isOpen
    else { return }
    wasSaid.configured = say(walk, after: wasSaid.configured)
  }

  /// - Returns: true, for the next one of the name.
  private mutating func say(_ walk: JSONWalk, after wasSaid: Bool) -> Bool {
    // The second of two with one name is the one that counts, and null takes the first one back.
    if walk.kind == .null, wasSaid { isOpen = true }
    if let count = count(walk) { said = max(said ?? 0, count) }
    return true
  }

  private mutating func count(_ walk: JSONWalk) -> TokenCount? {
    guard walk.kind != .null else { return nil }
    guard walk.kind == .number, walk.tokenCount > 0 else {
      isOpen = true
      return nil
    }
    return walk.tokenCount
  }
}

extension WireEndpoint {
  /// True where nobody knows what a server reads.
  fileprivate var isOpen: Bool { self == .other || self == .messageBatches }

  fileprivate var readsMaxTokens: Bool {
    switch self {
    case .responses, .responsesCompact, .geminiGenerate, .geminiStream: false
    default: true
    }
  }
}
