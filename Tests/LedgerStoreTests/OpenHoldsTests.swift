// What is open: there and back through a list's bytes, and every change taken back where the transaction failed.
import AdmissionCore
import Testing

@testable import LedgerStore

@Suite struct OpenHoldsTests {
  private func made(_ number: Int, attempt: Int = 1) -> (OpenHold, AttemptHold)? {
    guard case .held(let source) = Scene.held(number, attempt: attempt) else { return nil }
    return (OpenHold(source, series: 3, prices: 4, list: 1), source)
  }

  @Test func bytesThereAndBack() throws {
    let pairs = [try #require(made(1)), try #require(made(2, attempt: 9))]
    var bytes: [UInt8] = []
    for var (hold, _) in pairs {
      hold.held = -1
      hold.key.request.high |= 1 << 63
      hold.append(to: &bytes)
    }
    #expect(bytes.count == 2 * OpenHold.size)
    for (index, pair) in pairs.enumerated() {
      var expected = pair.0
      expected.held = -1
      expected.key.request.high |= 1 << 63
      expected.list = 0
      #expect(OpenHold(bytes[(index * OpenHold.size)..<((index + 1) * OpenHold.size)]) == expected)
    }
  }

  @Test func unknownPriceAndNegativeReservation() throws {
    guard case .held(var source) = Scene.held(1, held: nil) else { return }
    source.reservedInput = -5
    let open = OpenHold(source, series: 1, prices: 1, list: 1)
    #expect(open.held == -1)
    #expect(open.reservedInput == 0)
  }

  @Test func holdEndConclude() throws {
    var open = OpenHolds()
    let (hold, source) = try #require(made(1))
    open.insert(hold, source)
    #expect(open.begun[source.request]?.firstRow == .max)
    #expect(open.end(hold.key) == hold)
    #expect(open.end(hold.key) == nil)
    open.wrote(row: 7, of: source.request)
    open.wrote(row: 9, of: source.request)
    #expect(open.begun[source.request]?.firstRow == 7)
    #expect(open.conclude(source.request)?.series == 3)
    #expect(open.conclude(source.request) == nil)
    #expect(open.holds.isEmpty && open.begun.isEmpty)
  }

  @Test func aFailedTransactionChangesNothing() throws {
    var open = OpenHolds()
    let (first, firstSource) = try #require(made(1))
    let (second, secondSource) = try #require(made(2))
    let (retry, retrySource) = try #require(made(1, attempt: 2))
    open.insert(first, firstSource)
    open.committed()
    let (holds, begun) = (open.holds, open.begun)
    open.insert(second, secondSource)
    open.gave(row: 5, to: first.key)
    _ = open.end(first.key)
    open.insert(retry, retrySource)
    open.wrote(row: 6, of: secondSource.request)
    _ = open.end(second.key)
    _ = open.conclude(secondSource.request)
    _ = open.conclude(firstSource.request)
    open.rolledBack()
    #expect(open.holds == holds)
    #expect(open.begun.mapValues(\.firstRow) == begun.mapValues(\.firstRow))
    // And nothing is left to take back.
    open.rolledBack()
    #expect(open.holds == holds)
  }

  @Test func nothingHappensToWhatIsNotOpen() throws {
    var open = OpenHolds()
    let (hold, source) = try #require(made(1))
    open.gave(row: 1, to: hold.key)
    open.wrote(row: 1, of: source.request)
    #expect(open.holds.isEmpty && open.begun.isEmpty)
  }
}
