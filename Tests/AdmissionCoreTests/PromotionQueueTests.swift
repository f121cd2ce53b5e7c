// Oldest first over routes; parked tenants and closed routes are passed over.
import Testing

@testable import AdmissionCore

@Suite struct PromotionQueueTests {
  @Test func oldestFirst() {
    var queue = PromotionQueue()
    queue.insert(4, tenant: 0, route: 0, age: 30)
    queue.insert(5, tenant: 0, route: 0, age: 10)
    queue.insert(6, tenant: 1, route: 1, age: 20)
    #expect(queue.next(closed: [0, 0], pass: 1) == 5)
    #expect(queue.next(closed: [1, 0], pass: 1) == 6)
    queue.park(tenant: 0)
    #expect(queue.next(closed: [0, 0], pass: 1) == 6)
    queue.remove(6)
    #expect(queue.next(closed: [0, 0], pass: 1) == nil)
    queue.unpark(tenant: 0)
    queue.remove(5)
    queue.rename(4, to: 2)
    #expect(queue.next(closed: [0, 0], pass: 1) == 2)
    #expect(queue.count == 1)
  }
}
