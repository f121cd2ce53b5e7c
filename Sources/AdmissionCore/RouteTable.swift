// Which routes there are, and which one a request takes: the request's model and candidates looked up once, then by
// number.
//
// Many model names share a route, because a route only says which providers, model limits and keys apply. The cache by
// model name is bounded, since clients choose the names.

struct RouteTable: Sendable {
  private struct Entry: Sendable {
    var candidates: [ProviderID]
    var route: Int32
    var model: Int32
    var next: Int32
  }

  private(set) var routes: [Route] = []
  private var numbers: [Route: Int32] = [:]
  private var entries: [Entry] = []
  private var firstEntry: [String: Int32] = [:]
  /// Numbers for the predictors; 0 is every model beyond those.
  private var modelNumbers: [String: Int32] = [:]

  static let cacheLimit = 4096

  func cached(model: String, candidates: [Candidate]) -> (route: Int32, model: Int32)? {
    var index = firstEntry[model] ?? -1
    search: while index >= 0 {
      let entry = entries[Int(index)]
      index = entry.next
      guard entry.candidates.count == candidates.count else { continue }
      for position in candidates.indices where entry.candidates[position] != candidates[position].provider {
        continue search
      }
      return (entry.route, entry.model)
    }
    return nil
  }

  /// Remembers how this model and these candidates are routed, and returns the route's and the model's number.
  mutating func add(_ route: Route, model: String, candidates: [Candidate]) -> (route: Int32, model: Int32) {
    let number: Int32
    if let known = numbers[route] {
      number = known
    } else {
      number = Int32(routes.count)
      routes.append(route)
      numbers[route] = number
    }
    if entries.count >= Self.cacheLimit {
      entries = []
      firstEntry = [:]
    }
    var modelNumber = modelNumbers[model] ?? 0
    if modelNumber == 0, modelNumbers.count < OutputPredictor.models {
      modelNumber = Int32(modelNumbers.count + 1)
      modelNumbers[model] = modelNumber
    }
    entries.append(
      Entry(
        candidates: candidates.map(\.provider), route: number, model: modelNumber, next: firstEntry[model] ?? -1))
    firstEntry[model] = Int32(entries.count - 1)
    return (number, modelNumber)
  }

  /// Forgets all routes; models keep their numbers.
  mutating func removeAll() {
    let kept = modelNumbers
    self = RouteTable()
    modelNumbers = kept
  }
}
