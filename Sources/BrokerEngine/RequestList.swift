// The live requests, and the last ones that ended, in a ring of fixed size.
//
// Promises: no look-up when a request begins or ends; the senders' text in the ring is in the account of memory. A list or
// a look-up goes over the live requests once, at some nanoseconds each: ten thousand hold the loop for less than half a
// millisecond.
import AdmissionCore
import HTTPMessage

public final class RequestList {
  /// The place of a live request; free again when the request ends.
  struct Place {
    fileprivate(set) var index: Int
  }
  /// By place; nil where the place is free.
  private var records: [RequestRecord?] = []
  /// The same of their exchanges; nil also in tests of this list alone.
  private var exchangesByPlace: [Exchange?] = []
  private var free: [Int] = []
  private var ring: [RequestRecord] = []
  private var sizes: [Int] = []
  /// Bytes of senders' text in the records that ended.
  private(set) var textBytes = 0
  private var share: MemoryShare
  private var next = 0
  private let capacity: Int
  /// How many requests are under way whose body has not come in full: they do not wait for a provider yet.
  public private(set) var arriving = 0

  /// - Parameter capacity: the number of ended requests that are kept, at least 0.
  init(capacity: Int, memory: MemoryAccount) {
    self.capacity = capacity
    share = MemoryShare(memory, .records)
  }

  func began(_ record: RequestRecord, _ exchange: Exchange?) -> Place {
    arriving += 1
    if let index = free.popLast() {
      records[index] = record
      exchangesByPlace[index] = exchange
      return Place(index: index)
    }
    records.append(record)
    exchangesByPlace.append(exchange)
    return Place(index: records.count - 1)
  }

  /// One of them is with the core now.
  func arrived() { arriving -= 1 }

  /// - Parameter place: the request's place; nil where it ended when it began.
  func ended(_ record: RequestRecord, _ place: Place?) {
    if let place {
      if record.submittedAt == nil { arriving -= 1 }
      records[place.index] = nil
      exchangesByPlace[place.index] = nil
      free.append(place.index)
    }
    guard capacity > 0 else { return }
    let size = record.textBytes
    textBytes += size
    if ring.count < capacity {
      ring.append(record)
      sizes.append(size)
    } else {
      textBytes -= sizes[next]
      sizes[next] = size
      ring[next] = record
      next = (next + 1) % capacity
    }
    share.resize(to: textBytes)
  }

  /// True where no request is under way.
  public var isIdle: Bool { free.count == records.count }

  /// The exchanges under way, oldest first.
  var exchanges: [Exchange] { exchangesByPlace.compactMap(\.self).sorted { $0.record.id < $1.record.id } }

  /// The last requests that ended, newest first.
  public func recent(limit: Int, _ filter: RequestFilter = RequestFilter()) -> [RequestRecord] {
    var found: [RequestRecord] = []
    for index in ring.indices.reversed() where found.count < limit {
      let record = ring[(next + index) % ring.count]
      if filter.shows(record) { found.append(record) }
    }
    return found
  }

  /// The live requests in a state, oldest first.
  public func alive(_ state: RequestRecord.State, limit: Int, _ filter: RequestFilter = RequestFilter())
    -> [RequestRecord]
  {
    var oldest = Best(limit: limit)
    for case let record? in records where record.state == state && filter.shows(record) {
      oldest.offer(record) { $0.id < $1.id }
    }
    return oldest.records
  }

  /// The requests with the longest time from arrival to end, or to now: longest first.
  public func slowest(limit: Int, at now: UInt64, _ states: Set<RequestRecord.State>, _ filter: RequestFilter)
    -> [RequestRecord]
  {
    func lasted(_ record: RequestRecord) -> UInt64 { (record.endedAt ?? max(now, record.arrivedAt)) - record.arrivedAt }
    func isBefore(_ left: RequestRecord, _ right: RequestRecord) -> Bool {
      (lasted(right), left.id) < (lasted(left), right.id)
    }
    // In an array, since a set would hash each request's state.
    let states = Array(states)
    var slowest = Best(limit: limit)
    for case let record? in records where states.contains(record.state) && filter.shows(record) {
      slowest.offer(record, isBefore)
    }
    for record in ring where states.contains(record.state) && filter.shows(record) {
      slowest.offer(record, isBefore)
    }
    return slowest.records
  }

  /// The known ones of some requests, alive or ended.
  public func records(_ ids: Set<RequestID>) -> [RequestID: RequestRecord] {
    guard let least = ids.min(), let most = ids.max() else { return [:] }
    var found: [RequestID: RequestRecord] = [:]
    // Of most, a comparison tells that they are not meant, which costs less than their hash.
    for case let record? in records where record.id >= least && record.id <= most && ids.contains(record.id) {
      found[record.id] = record
    }
    for record in ring where ids.contains(record.id) { found[record.id] = record }
    return found
  }

  public func record(_ id: RequestID) -> RequestRecord? {
    for case let record? in records where record.id == id { return record }
    return ring.last { $0.id == id }
  }
}

/// The first ones of many, in an order: of ten thousand only those are kept while the list is walked.
private struct Best {
  let limit: Int
  private(set) var records: [RequestRecord] = []

  init(limit: Int) { self.limit = limit }

  mutating func offer(_ record: RequestRecord, _ isBefore: (RequestRecord, RequestRecord) -> Bool) {
    if records.count >= limit {
      guard let last = records.last, isBefore(record, last) else { return }
      records.removeLast()
    }
    var low = 0
    var high = records.count
    while low < high {
      let middle = (low + high) / 2
      if isBefore(records[middle], record) { low = middle + 1 } else { high = middle }
    }
    records.insert(record, at: low)
  }
}
