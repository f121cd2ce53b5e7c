// Everything that follows the wall clock: windows of budgets, prices that change by date or hour, keys with dates. The
// core is told of each change when it comes.
import AdmissionCore
import EventLoop
import PolicyFile
import Pricing

final class Calendars {
  private let time: Timekeeper
  private let rules: RulesInForce
  private let requests: RequestList
  private let dispatcher: Dispatcher
  private let news: OperatorNews
  private let providers: ProviderNotes
  let budgets: BudgetKeeper
  private(set) lazy var keys = KeyCalendar(
    loop: loop, wall: { [unowned self] in time.wallNow },
    tell: { [unowned self] changes, isOther in keysChanged(changes, isOther) })
  private(set) lazy var prices = PriceClock(
    loop: loop, wall: { [unowned self] in time.wallNow },
    nextChange: { [unowned self] in rules.now.prices.nextChange(after: $0) },
    isWaitedFor: { [unowned self] in !requests.isIdle }, tell: { [unowned self] in pricesChanged() })
  private let loop: EventLoop?

  init(
    loop: EventLoop?, time: Timekeeper, rules: RulesInForce, requests: RequestList, dispatcher: Dispatcher,
    news: OperatorNews, providers: ProviderNotes
  ) {
    self.loop = loop
    self.time = time
    self.rules = rules
    self.requests = requests
    self.dispatcher = dispatcher
    self.news = news
    self.providers = providers
    budgets = BudgetKeeper(
      loop: loop, now: { time.now }, wall: { time.wall(at: $0) }, isWaitedFor: { !requests.isIdle },
      tell: { dispatcher.tell($0) })
  }

  /// Called before a request is submitted. Cheap where nothing has begun or ended.
  func somebodyWaits(at now: UInt64) {
    budgets.check(at: now)
    if !rules.now.prices.isStill { prices.somebodyWaits() }
  }

  /// New budgets and daily limits are in force from now on.
  func budgetsChanged(_ policy: AdmissionPolicy) {
    budgets.policyChanged(policy.budgetWindows.map(\.window), needsDays: policy.hasDayLimits)
  }

  /// Some price has changed by date or hour.
  private func pricesChanged() {
    let rules = rules.now
    let now = time.wallNow
    dispatcher.reprice({ rules.admission(at: now) }) {
      $0.isRepriced(rules, at: now) ? $0.candidatesAnew(rules, at: now) : nil
    }
  }

  /// The dates of some keys have begun or ended, or will soon.
  private func keysChanged(_ changes: [KeyCalendar.Change], _ isOther: Bool) {
    if isOther { dispatcher.replacePolicy(rules.now.admission(at: time.wallNow)) }
    for change in changes {
      let (provider, key) = (ProviderID(change.provider), KeyID(change.key))
      news.note(.keyChanged(provider, key, state: change.state, reason: .dates(change.reason)))
      if change.begins, rules.now.provider(change.provider)?.policy.checkKeys == true {
        providers.checkKey(RefusedKey(provider: provider, key: key), for: dispatcher)
      }
    }
  }
}
