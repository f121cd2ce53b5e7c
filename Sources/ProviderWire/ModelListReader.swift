// Reads a list of models of any vendor.
import CSimdjson

extension ModelList {
  /// The most models that are read from one list.
  static let mostModels = 10_000

  /// The ids in a list's body, in order: OpenAI's and Anthropic's `data[].id`, Google's and Cohere's `models[].name`
  /// (without `models/`), a bare array of such objects, or an array of names.
  ///
  /// - Returns: nil where the body is no such list.
  public static func ids(in body: [UInt8]) -> [String]? {
    WireScratch().walk(body[...]) { walk -> [String]? in
      var found = Found()
      switch walk.next() {
      // The array is the list.
      case .arrayBegin: found.open(depth: 0, as: TG_KEY_data)
      case .objectBegin: break
      default: return nil
      }
      while true {
        switch walk.next() {
        case .end: return found.data ?? found.models
        case .error: return nil
        case .arrayBegin where walk.depth == 1 && (walk.key == TG_KEY_data || walk.key == TG_KEY_models):
          found.open(depth: 1, as: walk.key)
        case .arrayEnd where walk.depth == found.depth: found.close()
        case .string: found.take(walk)
        default: continue
        }
      }
    }
  }

  /// What was found so far, and the place of the walk in the text.
  private struct Found {
    var data: [String]?
    var models: [String]?
    /// The number of containers around the list; -1 outside of lists.
    private(set) var depth = -1
    private var list = TG_KEY_NONE

    mutating func open(depth: Int, as key: tg_json_key) {
      self.depth = depth
      list = key
      if key == TG_KEY_data { data = [] } else { models = [] }
    }

    mutating func close() { depth = -1 }

    mutating func take(_ walk: JSONWalk) {
      guard depth >= 0, walk.end - walk.start <= 512, (data?.count ?? 0) + (models?.count ?? 0) < mostModels else {
        return
      }
      let isName = walk.depth == depth + 1
      guard isName || (walk.depth == depth + 2 && walk.parent == TG_KEY_NONE) else { return }
      // An entry has an id; Google's and Cohere's entries have a name.
      if isName || walk.key == (list == TG_KEY_data ? TG_KEY_id : TG_KEY_name) {
        let name = walk.string(limit: 512)
        if list == TG_KEY_data {
          data?.append(name)
        } else {
          models?.append(name.hasPrefix("models/") ? String(name.dropFirst("models/".count)) : name)
        }
      }
    }
  }
}
