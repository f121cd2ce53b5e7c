// Folds the paths that SDKs make of a base URL that is one step off into the path that they would have asked for with
// the right one: without `/v1`, with two versions, with `/openai` in front.
//
// Promises: a path that is right is not copied; what comes out is a path that `PathFacts.read` reads like any other, so
// a folded call is routed, admitted and metered like the call that was meant. Paths of other APIs are not touched.
import TextForms

extension PathFacts {
  /// The path that is meant, without its query; nil where the path is taken as it is.
  public static func folded(_ path: Substring) -> String? {
    guard mayFold(path) else { return nil }
    var parts = path.split(separator: "/", omittingEmptySubsequences: false)[...]
    // The path begins with a slash, so the first part is empty.
    guard parts.first?.isEmpty == true else { return nil }
    parts = parts.dropFirst()
    let whole = parts.count
    // A base URL with a version, and an SDK that adds its own.
    while let first = parts.first, let second = parts.dropFirst().first, isVersion(first) {
      guard isVersion(second) || (first == "v1" && second == "openai") else { break }
      parts = parts.dropFirst()
    }
    if parts.first == "openai", let second = parts.dropFirst().first {
      if second == "v1" || collections.contains(second) { parts = parts.dropFirst() }
    }
    guard let first = parts.first else { return nil }
    if isGeminiCall(parts) { return "/v1beta/" + parts.joined(separator: "/") }
    if collections.contains(first) { return "/v1/" + parts.joined(separator: "/") }
    return parts.count == whole ? nil : "/" + parts.joined(separator: "/")
  }

  /// False for the usual paths, by their first bytes alone.
  private static func mayFold(_ path: Substring) -> Bool {
    var bytes = path.utf8.makeIterator()
    guard bytes.next() == UInt8(ascii: "/"), let first = bytes.next() else { return false }
    guard first == UInt8(ascii: "v") else { return true }
    // Behind a version only another version and `openai` are folded.
    while let byte = bytes.next() {
      guard byte == UInt8(ascii: "/") else { continue }
      let next = bytes.next()
      return next == UInt8(ascii: "v") || next == UInt8(ascii: "o")
    }
    return false
  }

  private static func isVersion(_ part: Substring) -> Bool {
    part == "v1" || part == "v2" || part == "v1beta" || part == "v1alpha"
  }

  /// The first segments behind `/v1` of the OpenAI, Anthropic and rerank APIs.
  private static let collections: Set<Substring> = [
    "chat", "completions", "responses", "embeddings", "messages", "models", "moderations", "files", "images", "audio",
    "batches", "uploads", "rerank", "multimodalembeddings", "conversations", "vector_stores", "videos", "containers",
  ]

  /// `models/{model}:{verb}`, also with slashes in the model's name. Names of other vendors' models may contain a colon
  /// too, so the verb must be one of Google's.
  private static func isGeminiCall(_ parts: ArraySlice<Substring>) -> Bool {
    guard parts.count >= 2, parts.first == "models" || parts.first == "tunedModels", let last = parts.last,
      let colon = last.lastIndex(of: ":")
    else { return false }
    return geminiVerbs.contains(last[last.index(after: colon)...])
  }

  private static let geminiVerbs: Set<Substring> = [
    "generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents",
    "batchGenerateContent", "generateAnswer", "predict", "predictLongRunning",
  ]
}
