// Which models a request names, whether its client may use them, and which providers the newest rules have for it.
//
// Promise: where a tenant may use some models only, or a price is required, a call of which no model can be told is refused.
import AdmissionCore
import HTTPMessage
import PolicyFile
import ProviderWire
import TextForms

extension Exchange {
  /// What a model costs by the prices under which the request came.
  func callPrice(_ model: String) -> CallPrice? {
    rules.prices.callPrice(
      model: model, tier: facts.serviceTier, estimatedInput: facts.estimatedInput,
      at: broker.wallNanoseconds(at: readyAt))
  }

  /// True where its client may use some models only.
  var isBoundToModels: Bool { caller.tenant?.models.isEmpty == false }

  /// True where the call must say which model it means, in whatever it says.
  var mustNameModel: Bool { rules.mustNameModel(caller) }

  /// `?model=`: some APIs take it from there, above all where the body is sound. And for those who must name their
  /// models, what the path says beside its endpoint.
  func noteModelsOutside(_ facts: inout RequestFacts) {
    if mustNameModel {
      for model in PathFacts.modelsNamed(in: target.path) { facts.note(modelInPath: model) }
    }
    guard let query = target.query else { return }
    for item in query.split(whereSeparator: { $0 == "&" || $0 == ";" }) {
      let pair = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard pair.count == 2 else { continue }
      let name = PercentEscapes.decoded(pair[0])
      guard name.lowercased() == "model" || (mustNameModel && ModelWords.nameModel(field: name)) else { continue }
      facts.note(modelInQuery: PercentEscapes.decoded(pair[1]))
    }
  }

  /// Checks every model that the call names; false when the request was refused. Who may not use every model must say
  /// which one is meant, wherever that costs something, and where a server looks for it: a query counts only beside a
  /// body that can name none.
  func modelsAreAllowed() -> Bool {
    func first(where isRefused: (String) -> Bool) -> String? {
      if let model = facts.model, isRefused(model) { return model }
      return facts.otherModels.first(where: isRefused)
    }
    if let model = first(where: { !BrokerRules.mayUse($0, caller) }) {
      reject(.rejectedModel, "the model '\(model)' is not allowed for this client")
      return false
    }
    if isBoundToModels, PathFacts.listing(target.path) == .deployments, head.method == "GET" {
      reject(.rejectedModel, "this client may use some models only: GET /v1/models lists them")
      return false
    }
    guard !namesNoModel, mustNameModel else { return true }
    let rule =
      isBoundToModels ? "this client may use some models only" : "'unknown_price: reject' holds"
    if facts.model == nil || (facts.isNamedByQueryOnly && !facts.isMedia) {
      reject(.rejectedModel, "\(rule), and no model can be read from this request: name one in 'model'")
      return false
    }
    if PathFacts.usesModelFromElsewhere(target.path) {
      reject(.rejectedModel, "\(rule), and which model this request uses does not stand in it")
      return false
    }
    if facts.mayNameMore || first(where: ModelWords.isSeveral) != nil {
      reject(
        .rejectedModel,
        "\(rule), and a server may read another model from this request than '\(facts.model ?? "")': send it as JSON, with each "
          + "model as a text")
      return false
    }
    guard rules.policy.unknownPrice == .reject else { return true }
    if let model = first(where: { callPrice($0) == nil }) {
      reject(
        .rejectedModel,
        "the model '\(model)' has no price in the list of \(rules.prices.version), and 'unknown_price: reject' refuses such"
      )
      return false
    }
    return true
  }

  /// What its tokens cost now, by the newest prices; nil where that is unknown. What a free call costs is known: nothing.
  func priceNow() -> CallPrice? {
    if charge.isFree { return CallPrice(inputMicroPerToken: 0, outputMicroPerToken: 0) }
    return facts.model.flatMap {
      broker.rules.prices.callPrice(
        model: $0, tier: facts.serviceTier, estimatedInput: facts.estimatedInput,
        at: broker.wallNanoseconds(at: broker.now))
    }
  }

  /// True where its price is not that with which it waits, or ran.
  var isRepriced: Bool {
    switch phase {
    case .reading, .concluded: false
    case .queued, .attempting: priceNow() != price
    }
  }

  /// The providers that the newest rules have for a request that waits or runs, with its price of now; nil where it keeps those with which
  /// it came: it named its provider, or no route takes it now. Never one that expects another dialect than those did.
  func candidatesAnew() -> [Candidate]? {
    switch phase {
    case .reading, .concluded: return nil
    case .queued, .attempting: break
    }
    let isRepriced = isRepriced
    price = priceNow()
    var names: [String] = []
    if target.provider == nil, head.fields.first("x-tollgate-provider") == nil {
      let before = rules.candidates(model: facts.model).compactMap { rules.provider($0)?.policy.dialect }
      names = broker.rules.candidates(model: facts.model).filter { name in
        broker.rules.provider(name).map { before.contains($0.policy.dialect) } ?? false
      }
    }
    if names.isEmpty, isRepriced { names = candidateNames }
    return names.isEmpty ? nil : names.map { Candidate(provider: ProviderID($0), price: price) }
  }
}
