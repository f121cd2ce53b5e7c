// Reads a provider's list of models: OpenAI's and Anthropic's `data[].id`, Gemini's `models[].name`.
import CSimdjson

extension ModelList {
  /// The ids in the order of the list, `models/` taken off; nil where the body is no such list.
  public static func ids(in body: [UInt8]) -> [String]? {
    WireScratch().walk(body[...]) { walk in
      guard walk.next() == .objectBegin else { return nil }
      var ids: [String] = []
      var sawList = false
      while true {
        switch walk.next() {
        case .end: return sawList ? ids : nil
        case .error: return nil
        case .arrayBegin where walk.depth == 1: sawList = true
        case .string where walk.depth == 3 && (walk.key == TG_KEY_id || walk.key == TG_KEY_name):
          let name = walk.string(limit: 256)
          ids.append(name.hasPrefix("models/") ? String(name.dropFirst("models/".count)) : name)
        default: continue
        }
      }
    }
  }
}
