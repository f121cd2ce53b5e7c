// What should be impossible, by kind. Whoever meets it throws it out, says so and serves on: a broker that ends or stands still
// for a mistake of ours takes every stream with it.

/// A label of `tollgate_our_bugs_total`; the set is closed.
public enum OurBug: String, CaseIterable, Sendable {
  /// A place in the queue that holds no request, or a request without its place.
  case staleHead = "stale_head"
  /// A pass over the heads that came to no end by itself.
  case endlessPass = "endless_pass"
  /// A lease that was dropped without being settled.
  case abandonedLease = "abandoned_lease"
  /// An entry that the ledger does not take, and that was put aside.
  case refusedEntry = "refused_entry"
}

/// Where a number came from that cannot be true. A label of `tollgate_impossible_numbers_total`; the set is closed.
public enum ImpossibleNumber: String, CaseIterable, Sendable {
  /// A count or a price in an answer: it was cut, and the call is marked.
  case usage
  /// A limit in an answer's head: it was ignored.
  case limits
}
