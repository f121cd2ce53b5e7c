// Finds the models that a call names, and checks whether the client may use them.
//
// Promise: where a tenant may use only some models, or a price is required, a call is refused if its model cannot be
// determined.
import AdmissionCore
import HTTPMessage
import PolicyFile
import Pricing
import ProviderWire
import TextForms

extension ClientCall {
  /// True where the client may use only some models.
  var isBoundToModels: Bool { caller.tenant?.models.isEmpty == false }

  /// True where every part of the call must name its model.
  var mustNameModel: Bool { rules.mustNameModel(caller) }

  /// True for the list of models itself, false for `/v1/models/{id}`. The list of a provider that the client names is
  /// forwarded as it is, except to clients that may use only some models.
  var asksForModels: Bool {
    guard head.method == "GET" else { return false }
    if let provider = target.provider, rules.provider(provider) == nil { return false }
    if dialect == .ollama, path.endpoint == .models { return target.provider == nil }
    if isBoundToModels { return PathFacts.listing(target.path) == .models }
    return path.endpoint == .models && path.modelInPath == nil && target.provider == nil
      && target.path.hasSuffix("/models")
  }

  /// Adds the model of `?model=`, which some APIs read, above all where the body is audio; and, where the model must be
  /// named, the models in the path.
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

  /// Checks every model that the call names. Where the model must be named, each call that costs something must name it
  /// in a place where servers look for it: a query counts only beside a body that cannot name a model.
  func checkModels() throws(Refusal) {
    func first(where isRefused: (String) -> Bool) -> String? {
      if let model = facts.model, isRefused(model) { return model }
      return facts.otherModels.first(where: isRefused)
    }
    if let model = first(where: { !BrokerRules.mayUse($0, caller) }) {
      throw .model("the model '\(model)' is not allowed for this client")
    }
    if isBoundToModels, PathFacts.listing(target.path) == .deployments, head.method == "GET" {
      throw .model("this client may use some models only: GET /v1/models lists them")
    }
    guard !namesNoModel, mustNameModel else { return }
    let rule =
      isBoundToModels ? "this client may use some models only" : "'unknown_price: reject' holds"
    if facts.model == nil || (facts.isNamedByQueryOnly && !facts.isMedia) {
      throw .model("\(rule), and no model can be read from this request: name one in 'model'")
    }
    if PathFacts.usesModelFromElsewhere(target.path) {
      throw .model("\(rule), and which model this request uses does not stand in it")
    }
    if facts.mayNameMore || first(where: ModelWords.isSeveral) != nil {
      throw .model(
        "\(rule), and a server may read another model from this request than '\(facts.model ?? "")': send it as JSON, with each "
          + "model as a text")
    }
    guard rules.policy.unknownPrice == .reject else { return }
    if let model = first(where: { callPrice($0) == nil }) {
      throw .model(
        "the model '\(model)' has no price in the list of \(rules.prices.version), and 'unknown_price: reject' refuses such"
      )
    }
  }
}
