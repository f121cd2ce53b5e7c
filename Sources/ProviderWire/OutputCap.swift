// The most output that a request allows, by all members that set a cap.
//
// A cap counts only where every server that could get the request would keep it. Of several caps the largest counts,
// since older servers read `max_tokens` and newer ones `max_completion_tokens`. A number of zero or less is no cap, as
// for many local servers, and neither is a member that the endpoint does not read.
import AdmissionCore
import CSimdjson

struct OutputCap {
  private var said: TokenCount?
  /// The cap by names that some servers prefer to the vendor's name: it can only raise the vendor's cap.
  private var saidByOtherName: TokenCount = 0
  /// True where a member removes the cap, or cannot be read.
  private var isOpen = false
  private var wasSaid: (older: Bool, newer: Bool, configured: Bool) = (false, false, false)

  /// The largest cap; nil where a server may find none.
  var largest: TokenCount? { isOpen ? nil : said.map { max($0, saidByOtherName) } }

  /// Reads a member of the body that sets a cap.
  mutating func take(_ walk: JSONWalk, at endpoint: WireEndpoint) {
    switch walk.key {
    case TG_KEY_n_predict, TG_KEY_max_new_tokens:
      if let count = count(walk) { saidByOtherName = max(saidByOtherName, count) }
    case TG_KEY_num_predict: wasSaid.configured = say(walk, after: wasSaid.configured)
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

  /// - Returns: always true, for the next member of the name.
  private mutating func say(_ walk: JSONWalk, after wasSaid: Bool) -> Bool {
    // Of two members with the same name the second counts, and null removes the first.
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
  /// True where it is unknown what a server reads.
  fileprivate var isOpen: Bool { self == .other || self == .messageBatches }

  fileprivate var readsMaxTokens: Bool {
    switch self {
    case .responses, .responsesCompact, .geminiGenerate, .geminiStream: false
    default: true
    }
  }
}
