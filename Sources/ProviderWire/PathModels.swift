// What a path says of models beyond its endpoint, wherever in it that stands: asked for callers who may not use every
// model. Below `/p/{provider}/` an API may lie at any depth, and servers take paths in any case and with escapes.
import TextForms

extension PathFacts {
  /// Every model that the path names: `deployments/{model}/...`, `engines/{model}`, `models/{owner}/{model}:verb`,
  /// `model/{model}/invoke`. Where it cannot be told where a name ends, all that follows is the name.
  public static func modelsNamed(in path: Substring) -> [String] {
    let parts = plainParts(path)
    var models: [String] = []
    for at in parts.indices.dropLast() {
      let next = parts[at + 1]
      switch parts[at].lowercased() {
      case "models", "model", "engines", "engine", "deployments", "deployment", "serving-endpoints": break
      case "tunedmodels":
        models.append("tunedModels/" + name(in: parts, from: at + 1))
        continue
      case "endpoints" where next.contains(":") || parts.dropFirst(at + 2).first?.lowercased() == "invocations": break
      case "run" where at > 0 && parts[at - 1].lowercased() == "ai": break
      default: continue
      }
      models.append(name(in: parts, from: at + 1))
    }
    return models
  }

  /// True where another model than any that the request names may do the work: of a batch the one that its file names, of
  /// a run that goes on the one with which it was begun.
  public static func usesModelFromElsewhere(_ path: Substring) -> Bool {
    let parts = plainParts(path).map { $0.lowercased() }
    switch parts.last {
    case "batches": return parts.dropLast().last != "messages"
    case "parts": return parts.dropLast(2).last == "uploads"
    case "submit_tool_outputs": return true
    default: return false
    }
  }

  /// What a path lists, as far as models go.
  public enum Listing: Sendable, Equatable {
    case nothing
    /// Models, as `/v1/models` does.
    case models
    /// Models under another name.
    case deployments
  }

  /// What a path that is only read lists.
  public static func listing(_ path: Substring) -> Listing {
    let parts = plainParts(path).map { $0.lowercased() }
    guard let last = parts.last else { return .nothing }
    switch last {
    case "models": return .models
    case "engines", "deployments", "tunedmodels", "serving-endpoints": return .deployments
    case "tags" where parts.dropLast().last == "api", "ps" where parts.dropLast().last == "api": return .deployments
    case "info" where parts.dropLast().last == "model": return .deployments
    default: return last.hasSuffix("-models") ? .deployments : .nothing
    }
  }

  /// The path's segments as a generous server reads them: escapes undone, without parameters and empty ones.
  static func plainParts(_ path: Substring) -> [Substring] {
    PercentEscapes.decoded(path)[...].split(separator: "/").map { $0.prefix { $0 != ";" } }.filter { !$0.isEmpty }
  }

  /// The name that begins with a segment: to the verb, to a word with which an API goes on, or to the end.
  private static func name(in parts: [Substring], from start: Int) -> String {
    var name = ""
    for (offset, part) in parts[start...].enumerated() {
      if offset > 0, nextWords.contains(part.lowercased()) { break }
      if offset > 0 { name += "/" }
      if let colon = part.lastIndex(of: ":") {
        name += part[..<colon]
        break
      }
      name += part
    }
    return name
  }

  /// Segments that may follow a model's name.
  private static let nextWords: Set<String> = [
    "v1", "v2", "v1beta", "chat", "completions", "embeddings", "responses", "messages", "images", "audio", "rerank",
    "predictions", "invoke", "invoke-with-response-stream", "converse", "converse-stream", "count-tokens",
    "invocations", "extensions", "generate", "moderations",
  ]
}
