// What should be impossible, by kind. The code that finds it throws it out, reports it and goes on: if the broker ended
// or hung because of our mistake, every stream would be lost.

/// A label of `tollgate_our_bugs_total`; the set is closed.
public enum OurBug: String, CaseIterable, Sendable {
  /// A place in the queue that holds no request, or a request without its place.
  case staleHead = "stale_head"
  /// A pass over the heads that did not end by itself.
  case endlessPass = "endless_pass"
  /// A lease that was dropped without being settled.
  case abandonedLease = "abandoned_lease"
  /// An entry that the ledger does not accept; it was put aside.
  case refusedEntry = "refused_entry"
}

/// The source of a number that cannot be true. A label of `tollgate_impossible_numbers_total`; the set is closed.
public enum ImpossibleNumber: String, CaseIterable, Sendable {
  /// A count or a price in an answer: it was cut, and the call is marked.
  case usage
  /// A limit in an answer's head: it was ignored.
  case limits
}
