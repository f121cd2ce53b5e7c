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
  /// Whose a number is, and whether a call of it has ended well: one that never taught anything makes room for another name.
  private var owners: [(model: String?, hasTaught: Bool)] = []
  /// Clients invent names freely where a route takes all: those have numbers of their own, the first ones.
  static let unlistedNumbers = OutputPredictor.models / 4

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
  /// - Parameter isListed: true where the policy has a price or a limit for the model.
  mutating func add(
    _ route: Route, model: String, candidates: [Candidate], isListed: Bool
  ) -> (route: Int32, model: Int32) {
    let number = number(of: route)
    if entries.count >= Self.cacheLimit {
      entries = []
      firstEntry = [:]
    }
    let modelNumber = modelNumbers[model] ?? assignNumber(to: model, isListed: isListed)
    entries.append(
      Entry(
        candidates: candidates.map(\.provider), route: number, model: modelNumber, next: firstEntry[model] ?? -1))
    firstEntry[model] = Int32(entries.count - 1)
    return (number, modelNumber)
  }

  /// The route's number, for no model.
  mutating func number(of route: Route) -> Int32 {
    if let known = numbers[route] { return known }
    let number = Int32(routes.count)
    routes.append(route)
    numbers[route] = number
    return number
  }

  /// The first number that nobody has, or whose owner never taught its predictor anything; 0 where all are taken.
  private mutating func assignNumber(to model: String, isListed: Bool) -> Int32 {
    if owners.isEmpty { owners = Array(repeating: (nil, false), count: OutputPredictor.models) }
    let own = isListed ? Self.unlistedNumbers..<owners.count : 0..<Self.unlistedNumbers
    guard let index = own.first(where: { owners[$0].model == nil }) ?? own.first(where: { !owners[$0].hasTaught })
    else {
      return 0
    }
    if let former = owners[index].model {
      modelNumbers[former] = nil
      // What was cached with the number of before is looked up anew.
      entries = []
      firstEntry = [:]
    }
    owners[index] = (model, false)
    modelNumbers[model] = Int32(index + 1)
    return Int32(index + 1)
  }

  /// A call of the model with this number has ended, and its provider told what it used.
  mutating func taught(_ number: Int32) {
    guard number > 0, Int(number) <= owners.count else { return }
    owners[Int(number) - 1].hasTaught = true
  }

  /// The number of a model of which something is known already; 0 where there is no room for it.
  mutating func numberOfKnown(_ model: String, isListed: Bool) -> Int32 {
    if let known = modelNumbers[model] { return known }
    let number = assignNumber(to: model, isListed: isListed)
    if number > 0 { taught(number) }
    return number
  }

  static func isListed(_ number: Int32) -> Bool { number > unlistedNumbers }

  /// The names of the models by their numbers.
  var modelNames: [Int32: String] { Dictionary(modelNumbers.map { ($1, $0) }) { first, _ in first } }

  /// Forgets all routes; models keep their numbers.
  mutating func removeAll() {
    let (numbers, kept) = (modelNumbers, owners)
    self = RouteTable()
    modelNumbers = numbers
    owners = kept
  }
}
