// Waiting requests in the order in which their stays began, in one list for each owner: the provider and class for which
// they wait, or their tenant. The first of a list has waited longest, which status and metrics tell of each.
//
// Promise: entering, leaving and the ends of a list are O(1), and nothing is sorted: a stay begins when a request enters.
// Links are in a column beside the requests, as those of lanes are.

/// A provider and a class: an owner of a list.
struct ProviderBand: SlotElement {}

extension Slots<ProviderBand>.Index {
  @inline(__always) init(_ provider: ProviderIndex, band: Int) { self.init(number: provider.position * 3 + band) }
}

struct Arrivals<Owner: SlotElement>: Sendable {
  typealias OwnerIndex = Slots<Owner>.Index

  private struct Link: Sendable {
    var next: RequestIndex?
    var previous: RequestIndex?
    var owner: OwnerIndex?
  }
  private struct Ends: Sendable {
    var first: RequestIndex?
    var last: RequestIndex?
  }
  private var links = Column<Request, Link>(Link())
  private var ends = Column<Owner, Ends>(Ends())

  /// The request that has waited longest.
  func first(of owner: OwnerIndex) -> RequestIndex? { ends[owner].first }

  /// The requests whose stays began last, the newest first, at most so many.
  func last(_ most: Int, of owner: OwnerIndex) -> [RequestIndex] {
    var found: [RequestIndex] = []
    var next = ends[owner].last
    while let request = next, found.count < most {
      found.append(request)
      next = links[request].previous
    }
    return found
  }

  /// - Parameter request: in no list.
  mutating func enter(_ request: RequestIndex, of owner: OwnerIndex) {
    let last = ends[owner].last
    links[request] = Link(previous: last, owner: owner)
    if let last { links[last].next = request } else { ends[owner].first = request }
    ends[owner].last = request
  }

  /// Does nothing where the request is in no list.
  mutating func leave(_ request: RequestIndex) {
    let link = links[request]
    guard let owner = link.owner else { return }
    if let before = link.previous { links[before].next = link.next } else { ends[owner].first = link.next }
    if let after = link.next { links[after].previous = link.previous } else { ends[owner].last = link.previous }
    links[request] = Link()
  }

  /// The request at the place `old` has moved to the place `new`.
  mutating func rename(_ old: RequestIndex, to new: RequestIndex) {
    let link = links[old]
    guard let owner = link.owner else { return }
    links[new] = link
    links[old] = Link()
    if let before = link.previous { links[before].next = new } else { ends[owner].first = new }
    if let after = link.next { links[after].previous = new } else { ends[owner].last = new }
  }

  /// Places from `count` on are no longer used.
  mutating func trim(to count: Int) { links.trim(to: count) }

  mutating func removeAll() {
    links.removeAll()
    ends.removeAll()
  }
}
