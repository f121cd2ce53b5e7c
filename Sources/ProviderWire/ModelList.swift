// Writes the list of models that a tenant may use, in the format that the path's SDK reads.
import TextForms

public enum ModelList {
  /// One model.
  public struct Entry: Sendable, Equatable {
    public var id: String
    /// The provider that serves the model.
    public var owner: String
    public init(id: String, owner: String) {
      self.id = id
      self.owner = owner
    }
  }

  /// Whose SDK reads the list. All but Ollama's ask for it under the same path.
  public enum Form: Sendable, CaseIterable {
    case openai, anthropic, gemini, cohere, mistral, ollama
  }

  /// The body of `/v1/models`; of two entries with the same id the first is used.
  public static func body(_ entries: [Entry], form: Form) -> [UInt8] {
    var seen: Set<String> = []
    let entries = entries.filter { seen.insert($0.id).inserted }
    var json = JSONWriter(reserving: 64 + entries.count * 96)
    json.object { json in
      switch form {
      case .openai, .mistral:
        json.member("object", "list")
        json.key("data")
      case .anthropic: json.key("data")
      case .gemini, .cohere, .ollama: json.key("models")
      }
      json.array(entries) { json, entry in json.object { json in members(entry, form, &json) } }
      if form == .anthropic {
        json.member("has_more", false)
        json.member("first_id", entries.first?.id)
        json.member("last_id", entries.last?.id)
      }
    }
    return json.bytes
  }

  private static func members(_ entry: Entry, _ form: Form, _ json: inout JSONWriter) {
    switch form {
    case .anthropic:
      json.member("type", "model")
      json.member("id", entry.id)
      json.member("display_name", entry.id)
      json.member("created_at", "1970-01-01T00:00:00Z")
    case .gemini:
      json.member("name", "models/" + entry.id)
      json.member("displayName", entry.id)
    case .ollama:
      json.member("name", entry.id)
      json.member("model", entry.id)
      json.member("modified_at", "1970-01-01T00:00:00Z")
      json.member("size", 0)
      json.member("digest", "")
    case .cohere: json.member("name", entry.id)
    case .openai, .mistral:
      json.member("id", entry.id)
      json.member("object", "model")
      json.member("created", 0)
      json.member("owned_by", entry.owner)
      if form == .mistral {
        // Its SDK refuses a whole list whose entries lack these.
        json.member("type", "base")
        json.object("capabilities") { _ in }
      }
    }
  }
}
