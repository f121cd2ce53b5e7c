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

  /// - Parameter capacity: the number of ended requests that are kept, at least 0.
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

  /// - Parameter place: the request's place; nil where it ended when it began.
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

  /// True where no request is under way.
  public var isIdle: Bool { free.count == places.count }

  /// The exchanges under way, oldest first.
  var exchanges: [Exchange] { places.compactMap { $0?.exchange }.sorted { $0.record.id < $1.record.id } }

  /// The last requests that ended, newest first.
  /// - Parameter tenant: nil means every tenant.
  public func recent(limit: Int, tenant: String? = nil) -> [RequestRecord] {
    let ordered = (ring[next...] + ring[..<next]).filter { tenant == nil || $0.tenant == tenant }
    return Array(ordered.suffix(max(0, limit)).reversed())
  }

  /// The live requests in a state, oldest first.
  public func alive(_ state: RequestRecord.State, limit: Int, tenant: String? = nil) -> [RequestRecord] {
    let some = places.lazy.compactMap { $0?.record }
      .filter { $0.state == state && (tenant == nil || $0.tenant == tenant) }
    return Array(some.sorted { $0.id < $1.id }.prefix(max(0, limit)))
  }

  public func record(_ id: RequestID) -> RequestRecord? {
    places.lazy.compactMap { $0?.record }.first { $0.id == id } ?? ring.last { $0.id == id }
  }
}
