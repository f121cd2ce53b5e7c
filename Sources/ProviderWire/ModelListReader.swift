// Reads a provider's list of models, whatever vendor wrote it.
import CSimdjson

extension ModelList {
  /// The ids in a list's body, in its order: OpenAI's and Anthropic's `data[].id`, else Google's and Cohere's `models[].name` (without `models/`).
  ///
  /// - Returns: nil where the body is no such list.
  public static func ids(in body: [UInt8]) -> [String]? {
    WireScratch().walk(body[...]) { walk -> [String]? in
      guard walk.next() == .objectBegin else { return nil }
      var data: [String]?
      var models: [String]?
      var list = TG_KEY_NONE
      while true {
        switch walk.next() {
        case .end: return data ?? models
        case .error: return nil
        case .arrayBegin where walk.depth == 1:
          list = walk.key
          if list == TG_KEY_data { data = [] }
          if list == TG_KEY_models { models = [] }
        case .arrayEnd where walk.depth == 1: list = TG_KEY_NONE
        case .string where walk.depth == 3 && walk.parent == TG_KEY_NONE:
          if list == TG_KEY_data, walk.key == TG_KEY_id { data?.append(walk.string(limit: 512)) }
          if list == TG_KEY_models, walk.key == TG_KEY_name {
            let name = walk.string(limit: 512)
            models?.append(name.hasPrefix("models/") ? String(name.dropFirst("models/".utf8.count)) : name)
          }
        default: continue
        }
      }
    }
  }
}
