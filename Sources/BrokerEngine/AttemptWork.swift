// Attempts whose answer begins work that continues after it, or shows how such work has ended.
import AdmissionCore
import HTTPMessage
import Pricing
import ProviderWire

/// The sums over the lines of a batch's results.
struct LineSums {
  var usage = Usage()
  var cacheWriteHour: TokenCount = 0
  /// nil once the price of a line was unknown.
  var cost: Money? = .zero
  var source = CostSource.prices
}

extension Attempt {
  /// True for an HTML page where JSON or events were asked for: a proxy on the way answered in the provider's place.
  func answersWithPage(_ head: ResponseHead) -> Bool {
    guard head.status < 300, let index = head.fields.firstIndex(of: "content-type") else { return false }
    return FieldSyntax.starts(head.fields.valueBytes(at: index), with: "text/html") && !mayAnswerAnything
  }

  /// True for endpoints whose type of answer we do not know.
  private var mayAnswerAnything: Bool {
    switch exchange.call.path.endpoint {
    case .other, .files, .speech, .transcription, .models: true
    default: false
    }
  }

  /// True where the answer may begin, or report on, work that outlives its call.
  var watchesWork: Bool {
    switch exchange.call.charge {
    case .asAnswered: exchange.call.facts.isBackground
    case .batch: true
    case .later(let work): !work.isLines
    case .onlyAsAnswered, .nothing: false
    }
  }

  var collectsLines: Bool {
    if case .later(let work) = exchange.call.charge { work.isLines } else { false }
  }

  /// Adds lines of a batch's results; each line is a call of its own, at the batch's price.
  func add(_ lines: [LineUsage], to sums: inout LineSums, _ tap: UsageTap) {
    for line in lines {
      sums.usage = sums.usage + line.usage
      sums.cacheWriteHour += line.extras.cacheWriteHourTokens
      let (cost, source) = price(line.usage, line.extras, model: line.model, tap, tier: "batch")
      sums.source = cost == nil ? .unknown : sums.source == .unknown ? .unknown : source
      sums.cost = sums.cost.flatMap { sum in cost.map { min(sum + $0, .mostPerAttempt) } }
    }
  }

  /// Reads what a relayed answer says about such work: remembers the work that it begins, and returns the charge for
  /// the work that it shows as ended.
  func laterCharge(
    _ tap: UsageTap, _ sums: LineSums
  ) -> (charge: DeferredWork.Charge, source: CostSource)? {
    let providers = services.providers
    func name(_ id: String) -> DeferredWork.Name { DeferredWork.Name(provider: grant.provider.name, id: id) }
    guard case .later(let work) = exchange.call.charge else {
      if watchesWork, let id = tap.work?.id, tap.usage == nil || tap.work?.isUnderWay == true {
        providers.works.began(name(id), model: exchange.record.model)
      }
      return nil
    }
    let own = name(work.id)
    func show(_ sums: LineSums) -> (charge: DeferredWork.Charge, source: CostSource)? {
      guard !sums.usage.isNothing else { return nil }
      return providers.works.show(own, sums.usage, cacheWriteHour: sums.cacheWriteHour, cost: sums.cost)
        .map { ($0, sums.source) }
    }
    if work.isLines { return show(sums) }
    if work.kind == .batch, let file = tap.work?.outputFile { providers.works.link(file: file, to: own) }
    // A response that was not begun here, or not left open here, was paid for by the call that began it.
    guard work.kind == .batch || providers.works.knows(own) else { return nil }
    // Google's small batches contain their results.
    if work.kind == .batch, let results = tap.work?.results, !results.isEmpty {
      var sums = LineSums()
      add(results, to: &sums, tap)
      return show(sums)
    }
    guard let usage = tap.charge(isWhole: true, estimatedInput: 0), !usage.isNothing, tap.work?.isUnderWay != true
    else { return nil }
    let tier = work.kind == .batch ? "batch" : tap.serviceTier
    let (cost, source) = price(
      usage, tap.extras, model: exchange.record.model, tap, tier: tier, isWholeBatch: work.kind == .batch)
    // The state of a batch does not always name a model, but its lines do.
    if cost == nil, work.kind == .batch { return nil }
    return providers.works.show(own, usage, cacheWriteHour: tap.extras.cacheWriteHourTokens, cost: cost)
      .map { ($0, source) }
  }
}
