// What is open: there and back through a list's bytes, and every change taken back where the transaction failed.
import AdmissionCore
import Testing

@testable import LedgerStore

@Suite struct OpenHoldsTests {
  private func made(_ number: Int, attempt: Int64 = 1) -> OpenHold {
    OpenHold(
      AttemptKey(request: RequestID(high: UInt64(number), low: ~0), attempt: attempt), series: 3, at: 5,
      reservedInput: 6,
      reservedOutput: 7, held: 8, prices: 4, list: 1)
  }

  @Test func bytesThereAndBack() {
    let holds = [made(1), made(2, attempt: 9)]
    var bytes: [UInt8] = []
    for var hold in holds {
      hold.held = -1
      hold.key.request.high |= 1 << 63
      hold.append(to: &bytes)
    }
    #expect(bytes.count == 2 * OpenHold.size)
    for (index, hold) in holds.enumerated() {
      var expected = hold
      expected.held = -1
      expected.key.request.high |= 1 << 63
      expected.list = 0
      #expect(OpenHold(bytes[(index * OpenHold.size)..<((index + 1) * OpenHold.size)]) == expected)
    }
  }

  @Test func unknownPriceAndNegativeReservation() {
    let open = OpenHold(
      made(1).key, series: 1, at: 1, reservedInput: -5, reservedOutput: 0, held: nil, prices: 1, list: 1)
    #expect(open.held == -1)
    #expect(open.reservedInput == 0)
  }

  @Test func holdEndConclude() {
    var open = OpenHolds()
    let hold = made(1)
    let request = hold.key.request
    open.insert(hold)
    #expect(open.begun == [request: .max])
    #expect(open.end(hold.key) == hold)
    #expect(open.end(hold.key) == nil)
    open.wrote(row: 7, of: request)
    open.wrote(row: 9, of: request)
    open.insert(made(1, attempt: 2))
    #expect(open.begun == [request: 7])
    _ = open.end(made(1, attempt: 2).key)
    open.conclude(request)
    open.conclude(request)
    #expect(open.holds.isEmpty && open.begun.isEmpty)
  }

  @Test func aFailedTransactionChangesNothing() {
    var open = OpenHolds()
    let (first, second, retry) = (made(1), made(2), made(1, attempt: 2))
    open.insert(first)
    open.committed()
    let (holds, begun) = (open.holds, open.begun)
    open.insert(second)
    open.gave(row: 5, to: first.key)
    _ = open.end(first.key)
    open.insert(retry)
    open.wrote(row: 6, of: second.key.request)
    _ = open.end(second.key)
    open.conclude(second.key.request)
    open.conclude(first.key.request)
    open.rolledBack()
    #expect(open.holds == holds)
    #expect(open.begun == begun)
    // And nothing is left to take back.
    open.rolledBack()
    #expect(open.holds == holds)
  }

  @Test func nothingHappensToWhatIsNotOpen() {
    var open = OpenHolds()
    open.gave(row: 1, to: made(1).key)
    open.wrote(row: 1, of: made(1).key.request)
    #expect(open.holds.isEmpty && open.begun.isEmpty)
  }
}
