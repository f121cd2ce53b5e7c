// The account of memory: sums by use, the part that is kept, and who is told when memory comes back.
import Testing

@testable import HTTPMessage

@Suite struct MemoryAccountTests {
  @Test func addsUpByUse() {
    let account = MemoryAccount(limit: 1600)
    for (index, use) in MemoryAccount.Use.allCases.enumerated() { account.take(index + 1, use) }
    #expect(MemoryAccount.Use.allCases.map(account.bytes) == [1, 2, 3, 4, 5])
    #expect(account.total == 15)
    account.move(1, from: .bodies, to: .queued)
    account.give(5, .records)
    #expect(MemoryAccount.Use.allCases.map(account.bytes) == [0, 3, 3, 4, 0])
    #expect(account.total == 10)
  }

  @Test(arguments: [
    (1499, false, false), (1500, true, false), (1599, true, false), (1600, true, true), (1700, true, true),
  ])
  func keepsASixteenth(held: Int, isFull: Bool, isExhausted: Bool) {
    let account = MemoryAccount(limit: 1600)
    account.take(held, .bodies)
    #expect(account.isFull == isFull)
    #expect(account.isExhausted == isExhausted)
    #expect(account.room == max(0, 1500 - held))
    #expect(account.wholeRoom == max(0, 1600 - held))
  }

  @Test func promisesCountUpToAQuarter() {
    let account = MemoryAccount(limit: 1600)
    account.promise(300)
    #expect(account.room == 1200)
    account.promise(10_000)
    #expect(account.room == 1100)
    #expect(account.total == 0)
    account.promise(-10_300)
    #expect(account.room == 1500)
  }

  @Test func largeGrantsAreForTimesOfPlenty() {
    let account = MemoryAccount(limit: 1600)
    #expect(account.mayPromise(200) && !account.mayPromise(201))
    account.promise(100)
    #expect(account.mayPromise(100) && !account.mayPromise(101))
    account.take(799, .bodies)
    #expect(account.mayPromise(100))
    account.take(1, .bodies)
    #expect(!account.mayPromise(1))
  }

  @Test func tellsOnceWhenMemoryComesBack() {
    let account = MemoryAccount(limit: 100)
    var told = 0
    account.onRoom = { told += 1 }
    account.take(100, .bodies)
    account.give(10, .bodies)
    #expect(told == 0)
    account.awaitRoom()
    account.give(10, .bodies)
    account.give(10, .bodies)
    #expect(told == 1)
    account.awaitRoom()
    account.limit = 200
    #expect(told == 2)
  }

  @Test func aShareFollowsWhatItsHolderHolds() {
    let account = MemoryAccount(limit: 100)
    var share = MemoryShare(account, .bodies)
    share.resize(to: 30)
    share.resize(to: 50)
    share.move(to: .retry)
    share.resize(to: 40)
    #expect(account.bytes(.bodies) == 0 && account.bytes(.retry) == 40)
    share.resize(to: 0)
    #expect(account.total == 0)
  }

  @Test func withoutALimitNothingIsEverFull() {
    let account = MemoryAccount()
    account.take(1 << 50, .bodies)
    account.promise(1 << 50)
    #expect(!account.isFull && !account.isExhausted && account.room > 1 << 60)
  }
}
