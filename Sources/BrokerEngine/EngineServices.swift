// The services that exchanges, attempts and the model catalog use. Made once and handed over as one reference, since
// each exchange keeps it. None of the services knows who owns the others.
import AdmissionCore
import HTTPMessage
import ProviderWire
import Telemetry

final class EngineServices {
  let time: Timekeeper
  /// nil in tests without a loop: then nothing is postponed.
  let turnEnd: TurnEnd?
  let rules: RulesInForce
  let upstream: any Upstream
  /// The account of memory that clients cause; the endpoint uses the same account.
  let memory: MemoryAccount
  /// Memory for reading JSON, shared by all readers and taps of the loop.
  let scratch: WireScratch
  let clerk: LedgerClerk
  let counters: Counters
  let requests: RequestList
  let news: OperatorNews
  let providers: ProviderNotes
  let dispatcher: Dispatcher
  let calendars: Calendars
  /// The sessions of clients that name none.
  let nameless: NamelessSessions
  /// Tells clients that silent streams live.
  let keepalives: Keepalives
  let sampler: Sampler
  /// Who calls.
  let sessions = SessionBook()
  /// The classes of sessions' last turns.
  var turns = TurnMemory()
  /// The turns that titles may belong to.
  var titles = TitleThreads()
  /// Gives calls their traces; nil where no collector is told of them.
  var tracer: Tracer?

  init(
    time: Timekeeper, turnEnd: TurnEnd?, rules: RulesInForce, upstream: any Upstream, memory: MemoryAccount,
    scratch: WireScratch,
    clerk: LedgerClerk, counters: Counters, requests: RequestList, news: OperatorNews, providers: ProviderNotes,
    dispatcher: Dispatcher,
    calendars: Calendars, nameless: NamelessSessions, keepalives: Keepalives, sampler: Sampler
  ) {
    self.time = time
    self.turnEnd = turnEnd
    self.rules = rules
    self.upstream = upstream
    self.memory = memory
    self.scratch = scratch
    self.clerk = clerk
    self.counters = counters
    self.requests = requests
    self.news = news
    self.providers = providers
    self.dispatcher = dispatcher
    self.calendars = calendars
    self.nameless = nameless
    self.keepalives = keepalives
    self.sampler = sampler
  }

  /// The only place that gives a request its outcome: in its record, in the list and in the counters.
  /// - Parameter place: its place in the list; nil where it was refused when it came.
  func conclude(_ record: RequestRecord, _ outcome: Outcome, from place: RequestList.Place?, at now: UInt64) {
    record.concluded(outcome, at: now)
    requests.ended(record, place)
    counters.ended(record)
  }
}

/// The rules for new requests. A request that is under way keeps the rules with which it came.
final class RulesInForce {
  private(set) var now: BrokerRules

  init(_ rules: BrokerRules) { now = rules }

  func replace(with rules: BrokerRules) { now = rules }
}
