// What is told of one piece of a call, and its properties, as OpenTelemetry has them.

/// A property of a span, of a point or of the whole process.
public struct Attribute: Hashable, Sendable {
  public enum Value: Hashable, Sendable {
    case text(String)
    case whole(Int64)
    case decimal(Double)
    case flag(Bool)
  }
  public var name: String
  public var value: Value

  /// Texts are cut to `longestText` bytes: names may come from clients.
  public init(_ name: String, _ text: String) {
    self.name = name
    value = .text(Attribute.cut(text))
  }
  public init(_ name: String, _ number: some BinaryInteger) {
    self.name = name
    value = .whole(Int64(clamping: number))
  }
  public init(_ name: String, decimal number: Double) {
    self.name = name
    value = .decimal(number)
  }
  public init(_ name: String, _ flag: Bool) {
    self.name = name
    value = .flag(flag)
  }

  static let longestText = 1_024

  static func cut(_ text: String) -> String {
    guard text.utf8.count > longestText else { return text }
    var kept = ""
    for scalar in text.unicodeScalars {
      guard kept.utf8.count + scalar.utf8.count <= longestText - 3 else { break }
      kept.unicodeScalars.append(scalar)
    }
    return kept + "..."
  }
}

/// One span of a trace, at its end.
public struct TraceSpan: Hashable, Sendable {
  /// With the numbers of the protocol.
  public enum Kind: Int, Sendable {
    case `internal` = 1
    case server = 2
    case client = 3
  }
  public struct Event: Hashable, Sendable {
    /// Nanoseconds since 1970.
    public var at: Int64
    public var name: String
    public init(_ name: String, at: Int64) {
      self.at = at
      self.name = name
    }
  }

  public var trace: TraceID
  public var id: SpanID
  /// nil where the trace begins with it.
  public var parent: SpanID?
  /// True where the parent is a span of the client.
  public var parentIsRemote: Bool
  public var state: String
  public var name: String
  public var kind: Kind
  /// Nanoseconds since 1970.
  public var start: Int64
  public var end: Int64
  public var attributes: [Attribute] = []
  public var events: [Event] = []
  /// Why it is an error; nil where it is none.
  public var error: String?

  public init(
    trace: TraceID, id: SpanID, parent: SpanID?, parentIsRemote: Bool = false, state: String = "", name: String,
    kind: Kind, start: Int64, end: Int64
  ) {
    self.trace = trace
    self.id = id
    self.parent = parent
    self.parentIsRemote = parentIsRemote
    self.state = state
    self.name = Attribute.cut(name)
    self.kind = kind
    self.start = start
    self.end = max(start, end)
  }
}
