// What exchanges, attempts and the model catalog work with. Made once and handed over as a value; each of them uses what it needs, and
// none of them knows the others' owner.
import AdmissionCore
import HTTPMessage
import ProviderWire

struct EngineServices {
  let time: Timekeeper
  /// nil in tests without a loop: then nothing is put off.
  let turnEnd: TurnEnd?
  let rules: RulesInForce
  let upstream: any Upstream
  /// What the process holds of clients' making; the endpoint keeps the same account.
  let memory: MemoryAccount
  /// Memory for reading JSON, shared by all readers and taps of the loop.
  let scratch: WireScratch
  let books: Books
  let counters: Counters
  let book: RequestBook
  let news: OperatorNews
  let providers: ProviderNotes
  let dispatcher: Dispatcher
  let calendars: Calendars
}

/// The rules by which new requests are taken. A request that is under way keeps those with which it came.
final class RulesInForce {
  private(set) var now: BrokerRules

  init(_ rules: BrokerRules) { now = rules }

  func replace(with rules: BrokerRules) { now = rules }
}
