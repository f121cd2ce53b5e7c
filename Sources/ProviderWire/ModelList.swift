// The list of models that a tenant may use, in the shape that the path's SDK reads.

public enum ModelList {
  /// One model.
  public struct Entry: Sendable, Equatable {
    public var id: String
    /// The provider that serves it.
    public var owner: String
    public init(id: String, owner: String) {
      self.id = id
      self.owner = owner
    }
  }

  /// The body of `/v1/models`; of two entries with one id the first stays. Anthropic's SDK is told from others by its
  /// `anthropic-version` field.
  public static func body(_ entries: [Entry], dialect: Dialect) -> [UInt8] {
    var seen: Set<String> = []
    let entries = entries.filter { seen.insert($0.id).inserted }
    var text = JSONText(reserving: 64 + entries.count * 96)
    text.raw(
      dialect == .anthropic ? "{\"data\":[" : dialect == .gemini ? "{\"models\":[" : "{\"object\":\"list\",\"data\":[")
    for (index, entry) in entries.enumerated() {
      if index > 0 { text.raw(",") }
      switch dialect {
      case .anthropic:
        text.raw("{\"type\":\"model\",\"id\":")
        text.string(entry.id)
        text.raw(",\"display_name\":")
        text.string(entry.id)
        text.raw(",\"created_at\":\"1970-01-01T00:00:00Z\"}")
      case .gemini:
        text.raw("{\"name\":")
        text.string("models/" + entry.id)
        text.raw(",\"displayName\":")
        text.string(entry.id)
        text.raw("}")
      case .openai, .cohere:
        text.raw("{\"id\":")
        text.string(entry.id)
        text.raw(",\"object\":\"model\",\"created\":0,\"owned_by\":")
        text.string(entry.owner)
        text.raw("}")
      }
    }
    text.raw("]")
    if dialect == .anthropic {
      text.raw(",\"has_more\":false,\"first_id\":")
      text.optional(entries.first?.id)
      text.raw(",\"last_id\":")
      text.optional(entries.last?.id)
    }
    text.raw("}")
    return text.bytes
  }
}
