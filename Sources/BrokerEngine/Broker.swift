// Composes the broker: makes its parts in the order in which they need one another, and hands them over. No logic.
//
// Everything runs on the loop's thread.
import AdmissionCore
import HTTPMessage
import LedgerVocabulary
import PolicyFile
import Pricing
import ProviderWire
import TextForms

public final class Broker {
  /// Where requests come in.
  public let frontDoor: FrontDoor
  /// The operator's questions and commands.
  public let `operator`: Operator
  /// What all parts work with.
  let services: EngineServices
  let models: ModelCatalog

  public init(policy: Policy, secrets: KeySecrets, parts: BrokerParts) {
    let time = Timekeeper(parts.clock)
    parts.memory.limit = policy.memory
    let rules = RulesInForce(BrokerRules(policy: policy, secrets: secrets, prices: parts.prices))
    let turnEnd = parts.loop.map { TurnEnd(loop: $0) }
    let clerk = LedgerClerk(parts.ledger, turnEnd: turnEnd)
    let counters = Counters(
      labels: LabelPolicy(policy: policy, prices: parts.prices.list), at: time.wallNow,
      requestEnded: parts.requestEnded)
    let watch = KeyWatch(rules: rules, time: time, noticed: parts.noticed)
    let news = OperatorNews(time: time, clerk: clerk, counters: counters, rules: rules) { watch.notice($0, $1) }
    watch.report = { [unowned news] report in
      parts.keysReported(report)
      news.report(report)
    }
    let requests = RequestList(capacity: 1000, memory: parts.memory)
    let providers = ProviderNotes(rules: rules, upstream: parts.upstream, time: time, clerk: clerk, watch: watch)
    let draining = Draining()
    let wall = time.wallNow
    let admission = policy.admission(secrets, at: wall)
    let dispatcher = Dispatcher(
      policy: admission, time: time, loop: parts.loop, news: news, providers: providers, draining: draining,
      clerk: clerk)
    let calendars = Calendars(
      loop: parts.loop, time: time, rules: rules, requests: requests, dispatcher: dispatcher, news: news,
      providers: providers)
    calendars.budgetsChanged(admission)
    calendars.keys.policyChanged(policy, told: wall)
    let sampler = Sampler(
      loop: parts.loop, time: time, rules: rules, dispatcher: dispatcher, counters: counters, news: news,
      obstacle: { clerk.obstacle })
    services = EngineServices(
      time: time, turnEnd: turnEnd, rules: rules, upstream: parts.upstream, memory: parts.memory,
      scratch: WireScratch(), clerk: clerk, counters: counters, requests: requests, news: news, providers: providers,
      dispatcher: dispatcher, calendars: calendars, nameless: NamelessSessions(hash: parts.hash),
      keepalives: Keepalives(loop: parts.loop), sampler: sampler)
    models = ModelCatalog(services, hash: parts.hash)
    frontDoor = FrontDoor(services, draining: draining, models: models, hash: parts.hash)
    self.operator = Operator(services, models: models, draining: draining)
  }
}
