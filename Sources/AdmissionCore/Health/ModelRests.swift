// The models that the provider refuses to a key: other keys are preferred for them. No request is refused because of a
// rest, since the provider's own answer costs nothing and says more. Clients choose the names of models, so the table
// is bounded.

struct ModelRests: Sendable {
  private struct Entry: Sendable {
    var model: String
    var until: Instant
  }
  private var entries: [Entry] = []
  static let most = 32
  static let length = Span.seconds(600)

  func rests(_ model: String, at now: Instant) -> Bool {
    !entries.isEmpty && entries.contains { $0.model == model && $0.until > now }
  }

  mutating func add(_ model: String, until: Instant, at now: Instant) {
    entries.removeAll { $0.until <= now || $0.model == model }
    if entries.count >= Self.most { entries.removeFirst() }
    entries.append(Entry(model: model, until: until))
  }

  mutating func remove(_ model: String) {
    if !entries.isEmpty { entries.removeAll { $0.model == model } }
  }

  mutating func removeAll() { entries.removeAll() }

  func snapshot(at now: Instant) -> [AdmissionSnapshot.ModelRest] {
    entries.filter { $0.until > now }.map {
      AdmissionSnapshot.ModelRest(model: $0.model, until: $0.until, reason: .refusedToKey)
    }
  }
}
