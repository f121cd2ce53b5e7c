// Finds the models that a body names at any place where a server could look, for callers that may not use every model.
//
// RequestReader reads the places where vendors look. Compatible servers look at other places too: in `fallback_models`,
// in `extra_body`, in the settings of a tool or a plugin, or under a name that C cuts off at a zero byte. So every
// member counts whose name says that it names a model, at any depth, except in conversation: messages, labels, and the
// schemas of tools. Where a name cannot be read, `mayNameMore` is true.
import CSimdjson

/// The models that JSON objects name, collected over one body.
struct NamedModels {
  /// The models in order, each as often as it was named.
  private(set) var names: [String] = []
  /// True where a server may find a model that is not among `names`.
  private(set) var mayNameMore = false
  private let dialect: Dialect
  /// True where we know which members hold conversation.
  private let knowsTalk: Bool
  /// True where each of `requests` is a call with its own model.
  private let isBatch: Bool

  init(path: PathFacts) {
    dialect = path.dialect
    knowsTalk = path.endpoint != .other
    isBatch = path.endpoint == .messageBatches
  }

  /// Reads the object that has just begun, to its end.
  /// - Returns: true where the object has a `model` of its own.
  @discardableResult mutating func read(_ walk: inout JSONWalk) -> Bool {
    let depth = walk.depth
    var hasModel = false
    while true {
      switch walk.next() {
      case .end, .error: return hasModel
      case .objectEnd where walk.depth == depth: return hasModel
      case .string, .objectBegin, .arrayBegin:
        if walk.depth == depth + 1, walk.key == TG_KEY_model, walk.kind == .string { hasModel = true }
        member(&walk, isDirect: walk.depth == depth + 1)
      case .objectEnd, .arrayEnd, .number, .isTrue, .isFalse, .null: continue
      }
    }
  }

  /// Reads a text that should be an object; where it is none, a server may read anything.
  mutating func read(whole walk: inout JSONWalk) {
    guard walk.next() == .objectBegin else { return mayNameMore = true }
    read(&walk)
    if walk.next() != .end { mayNameMore = true }
  }

  /// Reads one line of a batch's input, but only a line that is a call, since other files have lines too.
  mutating func read(line walk: inout JSONWalk) {
    guard walk.next() == .objectBegin else { return }
    let depth = walk.depth
    while true {
      switch walk.next() {
      case .end, .error: return
      case .objectEnd where walk.depth == depth: return
      case .objectBegin where walk.key == TG_KEY_body || walk.key == TG_KEY_params: read(&walk)
      case .objectBegin, .arrayBegin: walk.skip()
      default: continue
      }
    }
  }

  private mutating func member(_ walk: inout JSONWalk, isDirect: Bool) {
    switch meaning(of: walk, isDirect: isDirect) {
    case .model: take(&walk)
    case .schema: schema(&walk)
    case .talk where knowsTalk: skip(&walk)
    case .calls where walk.kind == .arrayBegin: calls(&walk)
    case .unknown:
      mayNameMore = true
      skip(&walk)
    case .talk, .calls, .other: return
    }
  }

  private func skip(_ walk: inout JSONWalk) {
    if walk.kind == .objectBegin || walk.kind == .arrayBegin { walk.skip() }
  }

  // MARK: What names say

  private enum Meaning {
    /// The value is a model, or contains models.
    case model
    /// Conversation between user and model, and labels.
    case talk
    /// A tool's schema or arguments.
    case schema
    /// A batch's calls.
    case calls
    case other
    /// A name that we do not know.
    case unknown
  }

  private func meaning(of walk: JSONWalk, isDirect: Bool) -> Meaning {
    switch walk.key {
    case TG_KEY_model, TG_KEY_models, TG_KEY_fallbacks: return .model
    case TG_KEY_messages, TG_KEY_input, TG_KEY_contents, TG_KEY_content, TG_KEY_prompt, TG_KEY_documents,
      TG_KEY_texts, TG_KEY_inputs, TG_KEY_query, TG_KEY_image, TG_KEY_images, TG_KEY_metadata:
      return .talk
    case TG_KEY_parameters, TG_KEY_input_schema, TG_KEY_arguments, TG_KEY_args: return .schema
    case TG_KEY_requests: return .calls
    case TG_KEY_OTHER:
      guard walk.keyLength <= RequestFacts.longestModel else { return .unknown }
      let name = ModelWords.plain(walk.keyName)
      if name.hasSuffix("metadata") { return .talk }
      if ModelWords.nameModels(name) || (isDirect && ModelWords.direct.contains(name)) { return .model }
      return ModelWords.isSchema(name) ? .schema : .other
    default: return .other
    }
  }

  // MARK: Values

  private mutating func note(_ walk: JSONWalk) {
    guard walk.end - walk.start <= RequestFacts.longestModel, names.count < 4 * RequestFacts.mostModels else {
      mayNameMore = true
      return
    }
    let name = walk.string(limit: RequestFacts.longestModel)
    // Google's names have a prefix with their kind.
    names.append(
      dialect == .gemini && name.hasPrefix("models/") ? String(name.dropFirst("models/".count)) : name)
  }

  /// Reads a name, a list of names, or objects that contain names, such as fallbacks at other providers or a map from
  /// model to model.
  private mutating func take(_ walk: inout JSONWalk) {
    if walk.kind == .string { return note(walk) }
    let depth = walk.depth
    if walk.kind == .objectBegin, walk.key == TG_KEY_model { mayNameMore = true }
    while true {
      switch walk.next() {
      case .end, .error: return
      case .objectEnd where walk.depth == depth, .arrayEnd where walk.depth == depth: return
      case .string where mayBeModel(walk): note(walk)
      case .objectBegin, .arrayBegin:
        switch meaning(of: walk, isDirect: false) {
        case .talk, .schema: walk.skip()
        case .unknown:
          mayNameMore = true
          walk.skip()
        // Settings beside a fallback, such as `thinking`, have known names; models' names are unknown here.
        case .other where walk.key != TG_KEY_OTHER && walk.key != TG_KEY_NONE: walk.skip()
        case .model, .calls, .other: continue
        }
      default: continue
      }
    }
  }

  /// True for strings in a list of models: elements, and members other than those with another known meaning.
  private func mayBeModel(_ walk: JSONWalk) -> Bool {
    switch walk.key {
    case TG_KEY_NONE, TG_KEY_model, TG_KEY_models, TG_KEY_fallbacks, TG_KEY_id, TG_KEY_name: true
    case TG_KEY_OTHER: !ModelWords.isAccess(ModelWords.plain(walk.keyName))
    default: false
    }
  }

  /// Reads a schema: only its direct members can be settings; below them `model` is an ordinary word.
  private mutating func schema(_ walk: inout JSONWalk) {
    guard walk.kind != .string else { return }
    let depth = walk.depth
    while true {
      switch walk.next() {
      case .end, .error: return
      case .objectEnd where walk.depth == depth, .arrayEnd where walk.depth == depth: return
      case .string where meaning(of: walk, isDirect: false) == .model: note(walk)
      case .arrayBegin where meaning(of: walk, isDirect: false) == .model: take(&walk)
      case .objectBegin, .arrayBegin: walk.skip()
      default: continue
      }
    }
  }

  /// Reads a list of calls that has just begun. A call without a model gets the server's default.
  private mutating func calls(_ walk: inout JSONWalk) {
    let depth = walk.depth
    while true {
      switch walk.next() {
      case .end, .error: return
      case .arrayEnd where walk.depth == depth: return
      case .objectBegin: call(&walk)
      case .arrayBegin: walk.skip()
      default: continue
      }
    }
  }

  private mutating func call(_ walk: inout JSONWalk) {
    let depth = walk.depth
    var hasModel = !isBatch
    while true {
      switch walk.next() {
      case .end, .error: return
      case .objectEnd where walk.depth == depth:
        if !hasModel { mayNameMore = true }
        return
      case .objectBegin where walk.key == TG_KEY_params && walk.depth == depth + 1:
        hasModel = read(&walk)
        if !hasModel { mayNameMore = true }
      case .string, .objectBegin, .arrayBegin: member(&walk, isDirect: walk.depth == depth + 1)
      case .objectEnd, .arrayEnd, .number, .isTrue, .isFalse, .null: continue
      }
    }
  }
}

/// Tells which names of members, fields and query parameters stand for models, ignoring case and dashes.
public enum ModelWords {
  /// The name's letters and digits in lower case, up to a zero byte: what lenient servers compare.
  static func plain(_ name: String) -> String {
    var plain = ""
    // Upper case first, since it unifies more letters.
    for scalar in name.prefix(while: { $0 != "\0" }).uppercased().lowercased().unicodeScalars
    where scalar.properties.isAlphabetic || ("0"..."9").contains(scalar) {
      plain.unicodeScalars.append(scalar)
    }
    return plain
  }

  /// True where a form field or query parameter of this name names a model.
  public static func nameModel(field name: String) -> Bool {
    let name = plain(name)
    return nameModels(name) || direct.contains(name)
  }

  private static let ends = [
    "model", "models", "id", "ids", "name", "names", "uri", "url", "arn", "slug", "alias", "group", "list", "key",
  ]

  /// - Parameter name: in the form of `plain`.
  static func nameModels(_ name: String) -> Bool {
    if name.contains("fallback") { return true }
    return name.contains("model") && ends.contains { name.hasSuffix($0) }
  }

  /// Names that mean a model only in the call itself: at other places, an engine is a search engine.
  static let direct: Set<String> = [
    "engine", "engineid", "deployment", "deploymentid", "deploymentname", "preset", "presetid",
  ]

  static func isSchema(_ name: String) -> Bool {
    name.contains("schema")
      || ["properties", "parameters", "arguments", "examples", "inputexamples", "definitions", "defs"].contains(name)
  }

  /// True for names of addresses and secrets, which accompany models in lists of fallbacks.
  static func isAccess(_ name: String) -> Bool {
    ["key", "secret", "token", "password", "auth", "base", "url"].contains { name.contains($0) }
  }

  /// True where a server may take the name for several models, or for a list that it keeps.
  public static func isSeveral(_ model: String) -> Bool {
    model.utf8.contains { $0 == UInt8(ascii: ",") || $0 == UInt8(ascii: ";") || $0 == UInt8(ascii: "|") || $0 < 0x20 }
      || model.contains("@preset/")
  }
}
