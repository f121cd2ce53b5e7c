// One broker per ledger: the lock is refused while it is held, and free again when it is released or dropped.
import Foundation
import Testing

@testable import LedgerStore

@Suite struct LedgerLockTests {
  private let place = Place()

  @Test func heldReleasedAndDropped() throws {
    let first = try LedgerLock(of: place.path())
    let error = #expect(throws: LedgerError.self) { try LedgerLock(of: place.path()) }
    #expect(error?.description.contains("process \(getpid())") == true)
    first.release()
    first.release()
    _ = try LedgerLock(of: place.path())
    // The last one was dropped at once.
    let third = try LedgerLock(of: place.path())
    let other = try LedgerLock(of: place.path("other.db"))
    third.release()
    other.release()
  }

  @Test func aDirectoryThatIsNotThereIsRefused() {
    let error = #expect(throws: LedgerError.self) { try LedgerLock(of: place.path("none/t.db")) }
    #expect(error?.description.contains("cannot be opened") == true)
  }
}
