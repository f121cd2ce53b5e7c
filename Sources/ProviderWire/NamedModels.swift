// Which models a body names wherever a server could look for one: asked for callers who may not use every model.
//
// RequestReader knows where vendors look. Servers that are like theirs look elsewhere too: in `fallback_models`, in
// `extra_body`, in what a tool or a plugin is given, under a name that C cuts off at a zero. So every member counts
// here whose name says that it names a model, at any depth, but for what is only talked about: messages, labels, and the
// schemas of tools. Where no name can be told, `mayNameMore` says so.
import CSimdjson

/// The models that JSON objects name, collected over one body.
struct NamedModels {
  /// Each as often as it was named, in order.
  private(set) var names: [String] = []
  /// True where a server may find a model that is not among them.
  private(set) var mayNameMore = false
  private let dialect: Dialect
  /// True where it is known in which members conversations stand.
  private let knowsTalk: Bool
  /// True where each of `requests` is a call with a model of its own.
  private let isBatch: Bool

  init(path: PathFacts) {
    dialect = path.dialect
    knowsTalk = path.endpoint != .other
    isBatch = path.endpoint == .messageBatches
  }

  /// Reads the object whose begin the walk gave last, to its end.
  /// - Returns: whether it names a model in its own `model`.
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

  /// Reads a text that should be an object; of one that is none a server may make anything.
  mutating func read(whole walk: inout JSONWalk) {
    guard walk.next() == .objectBegin else { return mayNameMore = true }
    read(&walk)
    if walk.next() != .end { mayNameMore = true }
  }

  /// Reads one line of a batch's input: of its call alone, since other files have lines too.
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
    /// The value is a model, or holds some.
    case model
    /// What is said between user and model, and labels.
    case talk
    /// What a tool takes or was given.
    case schema
    /// The calls of a batch.
    case calls
    case other
    /// No name that anybody gives.
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
    // Google's names come with their kind.
    names.append(
      dialect == .gemini && name.hasPrefix("models/") ? String(name.dropFirst("models/".count)) : name)
  }

  /// A name, a list of them, or objects that have some: those of other providers' fallbacks, a model for a model.
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
        // Settings that go with a fallback, such as `thinking`, have names that are known; models' names are not.
        case .other where walk.key != TG_KEY_OTHER && walk.key != TG_KEY_NONE: walk.skip()
        case .model, .calls, .other: continue
        }
      default: continue
      }
    }
  }

  /// Of strings in a list of models: elements, and members but for those that are known to say something else.
  private func mayBeModel(_ walk: JSONWalk) -> Bool {
    switch walk.key {
    case TG_KEY_NONE, TG_KEY_model, TG_KEY_models, TG_KEY_fallbacks, TG_KEY_id, TG_KEY_name: true
    case TG_KEY_OTHER: !ModelWords.isAccess(ModelWords.plain(walk.keyName))
    default: false
    }
  }

  /// Of a schema only what stands in it directly can be a setting: below that a model is a word like others.
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

  /// The list has just begun. A call without a model gets the server's own.
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

/// What names of members, fields and queries say about models, whatever their case and their dashes.
public enum ModelWords {
  /// Letters and digits alone, in lower case, up to a zero: what is left where servers are generous.
  static func plain(_ name: String) -> String {
    var plain = ""
    // Upper case first: it has one form for more letters.
    for scalar in name.prefix(while: { $0 != "\0" }).uppercased().lowercased().unicodeScalars
    where scalar.properties.isAlphabetic || ("0"..."9").contains(scalar) {
      plain.unicodeScalars.append(scalar)
    }
    return plain
  }

  /// True where a field of a form or a query of this name names a model.
  public static func nameModel(field name: String) -> Bool {
    let name = plain(name)
    return nameModels(name) || direct.contains(name)
  }

  private static let ends = [
    "model", "models", "id", "ids", "name", "names", "uri", "url", "arn", "slug", "alias", "group", "list", "key",
  ]

  /// - Parameter name: as `plain` gives it.
  static func nameModels(_ name: String) -> Bool {
    if name.contains("fallback") { return true }
    return name.contains("model") && ends.contains { name.hasSuffix($0) }
  }

  /// Names that mean a model only where they stand in the call itself: elsewhere engines search.
  static let direct: Set<String> = [
    "engine", "engineid", "deployment", "deploymentid", "deploymentname", "preset", "presetid",
  ]

  static func isSchema(_ name: String) -> Bool {
    name.contains("schema")
      || ["properties", "parameters", "arguments", "examples", "inputexamples", "definitions", "defs"].contains(name)
  }

  /// Addresses and secrets, which stand beside models in lists of fallbacks.
  static func isAccess(_ name: String) -> Bool {
    ["key", "secret", "token", "password", "auth", "base", "url"].contains { name.contains($0) }
  }

  /// True where a server may take one name for several, or for a list that it keeps.
  public static func isSeveral(_ model: String) -> Bool {
    model.utf8.contains { $0 == UInt8(ascii: ",") || $0 == UInt8(ascii: ";") || $0 == UInt8(ascii: "|") || $0 < 0x20 }
      || model.contains("@preset/")
  }
}
