// The known routes, and the route of each request: its model and candidates are looked up once, and the route is then
// known by its number.
//
// Many model names share a route, because a route only says which providers, model limits and keys apply. The cache by
// model name is bounded, since clients choose the names.

/// A route that many models share: requests of one route wait for the same resources.
struct Route: Hashable, SlotElement {
  struct Leg: Hashable, Sendable {
    var provider: ProviderIndex
    /// The entry of `model_limits` that applies; nil where none does.
    var model: ModelIndex?
    /// The keys that may serve this model; empty where the provider has none.
    var keys: [KeyIndex]
    /// True where the provider has keys, but none for this model.
    var hasNoKey: Bool
    /// Index into the ticket's candidates.
    var candidate: Int
  }
  var legs: [Leg]
  /// True for the route that heads of sessions at their limit have instead of their own: it has the same legs, and gets
  /// its turn when all others have had theirs.
  var isSpare = false
}

typealias RouteIndex = Slots<Route>.Index

struct RouteTable: Sendable {
  /// The route of a model's calls, and the number by which learners know the model.
  struct Known: Equatable, Sendable {
    var route: RouteIndex
    var model: ModelNumber
  }
  private struct Entry: Sendable {
    var candidates: [ProviderID]
    var known: Known
  }
  /// The model that has a number, and whether a call of it has taught anything; a number that never did may be given to
  /// another model.
  private struct Owner: Sendable {
    var model: String?
    var hasTaught = false
  }

  private var routes = Slots<Route>()
  private var numbers: [Route: RouteIndex] = [:]
  /// The routes that have a leg at a provider.
  private var byProvider = Column<ProviderState, [RouteIndex]>([])
  /// The entries of each model: one for each list of candidates.
  private var entries: [String: [Entry]] = [:]
  private var entryCount = 0
  /// The numbers by which predictors know the models.
  private var modelNumbers: [String: ModelNumber] = [:]
  /// The owners of the numbers 1, 2, ...
  private var owners: [Owner] = []
  /// Where a route takes all models, clients can invent names: these share the first numbers, which are reserved for
  /// them.
  static let unlistedNumbers = OutputPredictor.models / 4

  static let cacheLimit = 4096

  /// The route's legs; none where it has been forgotten.
  subscript(route: RouteIndex) -> Route {
    @inline(__always) get { routes[route] }
  }

  /// One of its legs, read in its place: a loop over a copy of the legs would count references.
  subscript(route: RouteIndex, leg: Int) -> Route.Leg {
    @inline(__always) get { routes[route].legs[leg] }
  }

  @inline(__always) func indices(of route: RouteIndex) -> Range<Int> { 0..<routes[route].legs.count }

  var count: Int { routes.count }
  /// All known routes, in the order in which they were added.
  var indices: SlotIndices<Route> { routes.indices }

  /// The routes that lead to a provider, in the order in which they were added.
  func leading(to provider: ProviderIndex) -> [RouteIndex] { byProvider[provider] }

  func cached(model: String, candidates: [Candidate]) -> Known? {
    guard let known = entries[model] else { return nil }
    search: for entry in known where entry.candidates.count == candidates.count {
      for position in candidates.indices where entry.candidates[position] != candidates[position].provider {
        continue search
      }
      return entry.known
    }
    return nil
  }

  /// Remembers how this model and these candidates are routed, and returns the route's and the model's number.
  /// - Parameter isListed: true where the policy has a price or a limit for the model.
  mutating func add(_ route: Route, model: String, candidates: [Candidate], isListed: Bool) -> Known {
    let number = number(of: route)
    if entryCount >= Self.cacheLimit { forgetEntries() }
    let known = Known(route: number, model: modelNumbers[model] ?? assignNumber(to: model, isListed: isListed))
    // The newest first.
    entries[model, default: []].insert(Entry(candidates: candidates.map(\.provider), known: known), at: 0)
    entryCount += 1
    return known
  }

  /// The spare route with the same legs.
  mutating func spare(of route: RouteIndex) -> RouteIndex {
    number(of: Route(legs: routes[route].legs, isSpare: true))
  }

  private mutating func forgetEntries() {
    entries = [:]
    entryCount = 0
  }

  /// The route's number, for no model.
  mutating func number(of route: Route) -> RouteIndex {
    if let known = numbers[route] { return known }
    let number = routes.insert(route)
    numbers[route] = number
    for leg in route.legs where byProvider[leg.provider].last != number { byProvider[leg.provider].append(number) }
    return number
  }

  /// Assigns the first number that is free, or whose model never taught its predictor anything; the shared number where
  /// all are taken.
  private mutating func assignNumber(to model: String, isListed: Bool) -> ModelNumber {
    if owners.isEmpty { owners = Array(repeating: Owner(), count: OutputPredictor.models) }
    let own = isListed ? Self.unlistedNumbers..<owners.count : 0..<Self.unlistedNumbers
    guard let index = own.first(where: { owners[$0].model == nil }) ?? own.first(where: { !owners[$0].hasTaught })
    else {
      return .shared
    }
    if let former = owners[index].model {
      modelNumbers[former] = nil
      // Entries that were cached with the old number must be looked up again.
      forgetEntries()
    }
    owners[index] = Owner(model: model)
    let number = ModelNumber(index + 1)
    modelNumbers[model] = number
    return number
  }

  /// Notes that a call of the model with this number has ended with a usage from its provider.
  mutating func taught(_ number: ModelNumber) {
    guard number != .shared, number.position <= owners.count else { return }
    owners[number.position - 1].hasTaught = true
  }

  /// The number of a model about which something is already known; the shared number where there is no room for it.
  mutating func numberOfKnown(_ model: String, isListed: Bool) -> ModelNumber {
    if let known = modelNumbers[model] { return known }
    let number = assignNumber(to: model, isListed: isListed)
    if number != .shared { taught(number) }
    return number
  }

  static func isListed(_ number: ModelNumber) -> Bool { number.position > unlistedNumbers }

  /// The names of the models by their numbers.
  var modelNames: [ModelNumber: String] { Dictionary(modelNumbers.map { ($1, $0) }) { first, _ in first } }

  /// Forgets all routes; models keep their numbers.
  mutating func removeAll() {
    let (numbers, kept) = (modelNumbers, owners)
    self = RouteTable()
    modelNumbers = numbers
    owners = kept
  }
}
