// Finds the models at any place in a path, for callers that may not use every model. Below `/p/{provider}/` an API may
// begin at any depth, and servers accept paths in any case and with escapes.
import TextForms

extension PathFacts {
  /// Every model in the path: `deployments/{model}/...`, `engines/{model}`, `models/{owner}/{model}:verb`,
  /// `model/{model}/invoke`. Where the end of a name is unclear, the whole rest of the path is the name.
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

  /// True where a model may work that the request does not name: for a batch the models in its file, for the
  /// continuation of a run the model with which it began.
  public static func usesModelFromElsewhere(_ path: Substring) -> Bool {
    let parts = plainParts(path).map { $0.lowercased() }
    switch parts.last {
    case "batches": return parts.dropLast().last != "messages"
    case "parts": return parts.dropLast(2).last == "uploads"
    case "submit_tool_outputs": return true
    default: return false
    }
  }

  /// Which list of models a path gives.
  public enum Listing: Sendable, Equatable {
    case nothing
    /// Models, as `/v1/models`.
    case models
    /// Models under another name.
    case deployments
  }

  /// The list that a GET of the path gives.
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

  /// The path's segments as a lenient server reads them: percent-decoded, without parameters and empty segments.
  static func plainParts(_ path: Substring) -> [Substring] {
    PercentEscapes.decoded(path)[...].split(separator: "/").map { $0.prefix { $0 != ";" } }.filter { !$0.isEmpty }
  }

  /// The name that begins at segment `start`: up to the verb, to a word with which an API continues, or to the end.
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

  /// The segments that may follow a model's name.
  private static let nextWords: Set<String> = [
    "v1", "v2", "v1beta", "chat", "completions", "embeddings", "responses", "messages", "images", "audio", "rerank",
    "predictions", "invoke", "invoke-with-response-stream", "converse", "converse-stream", "count-tokens",
    "invocations", "extensions", "generate", "moderations",
  ]
}
