// The requests that live, and the last ones that ended, in a ring of fixed size.
//
// Promises: a request that begins or ends costs no look-up; what the ring holds of senders' text is in the account of memory.
import AdmissionCore
import HTTPMessage

public final class RequestList {
  /// A request that lives. Its place is free again when it ends.
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

  /// - Parameter capacity: records of the past, at least 0.
  init(capacity: Int, memory: MemoryAccount) {
    self.capacity = capacity
    share = MemoryShare(memory, .records)
  }

  func began(_ record: RequestRecord, _ exchange: Exchange?) -> Place {
    let living = Living(record: record, exchange: exchange)
    if let index = free.popLast() {
      places[index] = living
      return Place(index: index)
    }
    places.append(living)
    return Place(index: places.count - 1)
  }

  /// - Parameter place: where it lived; nil where it has ended as it began.
  func ended(_ record: RequestRecord, _ place: Place?) {
    if let place {
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

  /// True where nobody is under way.
  public var isIdle: Bool { free.count == places.count }

  /// Those under way, oldest first.
  var exchanges: [Exchange] { places.compactMap { $0?.exchange }.sorted { $0.record.id < $1.record.id } }

  /// The newest first.
  /// - Parameter tenant: nil gives every tenant's.
  public func recent(limit: Int, tenant: String? = nil) -> [RequestRecord] {
    let ordered = (ring[next...] + ring[..<next]).filter { tenant == nil || $0.tenant == tenant }
    return Array(ordered.suffix(max(0, limit)).reversed())
  }

  /// Oldest first.
  public func alive(_ state: RequestRecord.State, limit: Int, tenant: String? = nil) -> [RequestRecord] {
    let some = places.lazy.compactMap { $0?.record }
      .filter { $0.state == state && (tenant == nil || $0.tenant == tenant) }
    return Array(some.sorted { $0.id < $1.id }.prefix(max(0, limit)))
  }

  public func record(_ id: RequestID) -> RequestRecord? {
    places.lazy.compactMap { $0?.record }.first { $0.id == id } ?? ring.last { $0.id == id }
  }
}
