// The live requests, and the last ones that ended, in a ring of fixed size.
//
// Promises: no look-up when a request begins or ends; the senders' text in the ring is in the account of memory.
import AdmissionCore
import HTTPMessage

public final class RequestList {
  /// The place of a live request; free again when the request ends.
  struct Place {
    fileprivate(set) var index: Int
  }
  private struct Living {
    let record: RequestRecord
    /// nil in tests of this list alone.
    let exchange: Exchange?
  }
  private var places: [Living?] = []
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
    let living = Living(record: record, exchange: exchange)
    if let index = free.popLast() {
      places[index] = living
      return Place(index: index)
    }
    places.append(living)
    return Place(index: places.count - 1)
  }

  /// One of them is with the core now.
  func arrived() { arriving -= 1 }

  /// - Parameter place: the request's place; nil where it ended when it began.
  func ended(_ record: RequestRecord, _ place: Place?) {
    if let place {
      if record.submittedAt == nil { arriving -= 1 }
      places[place.index] = nil
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
  public var isIdle: Bool { free.count == places.count }

  /// The exchanges under way, oldest first.
  var exchanges: [Exchange] { places.compactMap { $0?.exchange }.sorted { $0.record.id < $1.record.id } }

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
    // Of ten thousand only the oldest are kept while the list is walked, in their order.
    var oldest: [RequestRecord] = []
    for place in places {
      guard let record = place?.record, record.state == state, filter.shows(record) else { continue }
      if oldest.count >= limit {
        guard let last = oldest.last, record.id < last.id else { continue }
        oldest.removeLast()
      }
      var low = 0
      var high = oldest.count
      while low < high {
        let middle = (low + high) / 2
        if oldest[middle].id < record.id { low = middle + 1 } else { high = middle }
      }
      oldest.insert(record, at: low)
    }
    return oldest
  }

  /// The requests with the longest time from arrival to end, or to now: longest first.
  public func slowest(limit: Int, at now: UInt64, _ states: Set<RequestRecord.State>, _ filter: RequestFilter)
    -> [RequestRecord]
  {
    func lasted(_ record: RequestRecord) -> UInt64 { (record.endedAt ?? max(now, record.arrivedAt)) - record.arrivedAt }
    let alive = places.lazy.compactMap { $0?.record }
    let all = (Array(alive) + ring).filter { states.contains($0.state) && filter.shows($0) }
    return Array(all.sorted { (lasted($1), $0.id) < (lasted($0), $1.id) }.prefix(max(0, limit)))
  }

  /// The known ones of some requests, alive or ended.
  public func records(_ ids: Set<RequestID>) -> [RequestID: RequestRecord] {
    guard !ids.isEmpty else { return [:] }
    var found: [RequestID: RequestRecord] = [:]
    for case let living? in places where ids.contains(living.record.id) { found[living.record.id] = living.record }
    for record in ring where ids.contains(record.id) { found[record.id] = record }
    return found
  }

  public func record(_ id: RequestID) -> RequestRecord? {
    places.lazy.compactMap { $0?.record }.first { $0.id == id } ?? ring.last { $0.id == id }
  }
}
