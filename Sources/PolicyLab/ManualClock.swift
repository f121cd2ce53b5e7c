// Time that moves only when a test moves it, and a timeline of future elements. Promises: time never goes back;
// elements that are due at the same instant come out in the order in which they were added, so that a run is the same
// on every machine.
import AdmissionCore
import HeapModule

/// A clock that stands still until it is moved.
public struct ManualClock: Sendable {
  public private(set) var now: Instant

  public init(at start: Instant = Instant(nanoseconds: 0)) { now = start }

  /// Moves forward by `span`, which must not be negative.
  public mutating func advance(by span: Span) {
    precondition(span >= .zero, "time does not go back")
    now = now + span
  }

  /// Moves forward to `instant`; an instant that has passed changes nothing.
  public mutating func advance(to instant: Instant) {
    if instant > now { now = instant }
  }
}

/// Elements that are due at instants: the earliest comes first, and first in, first out within one instant.
public struct Timeline<Element> {
  private struct Entry: Comparable {
    var due: Int64
    var order: UInt64
    var slot: Int
    static func < (left: Entry, right: Entry) -> Bool {
      left.due == right.due ? left.order < right.order : left.due < right.due
    }
    static func == (left: Entry, right: Entry) -> Bool { left.order == right.order }
  }
  private var heap = Heap<Entry>()
  private var elements: [Element?] = []
  private var free: [Int] = []
  private var nextOrder: UInt64 = 0

  public init() {}

  public var isEmpty: Bool { heap.isEmpty }
  public var count: Int { heap.count }
  /// When the earliest element is due.
  public var nextDue: Instant? { heap.min.map { Instant(nanoseconds: $0.due) } }

  public mutating func schedule(_ element: Element, at due: Instant) {
    let slot: Int
    if let reused = free.popLast() {
      slot = reused
      elements[slot] = element
    } else {
      slot = elements.count
      elements.append(element)
    }
    heap.insert(Entry(due: due.nanoseconds, order: nextOrder, slot: slot))
    nextOrder += 1
  }

  /// Removes and returns the earliest element that is due at `now` or before.
  public mutating func popDue(at now: Instant) -> Element? {
    guard let first = heap.min, first.due <= now.nanoseconds else { return nil }
    heap.removeMin()
    defer {
      elements[first.slot] = nil
      free.append(first.slot)
    }
    return elements[first.slot]
  }
}
