// How much is counted at a time, and when the next chunk is due.
import Testing

@testable import LedgerStore

@Suite struct BackgroundRollUpTests {
  @Test func chunksGrowAndShrinkWithTheTimeTheyTake() {
    var background = BackgroundRollUp(LedgerOptions(), now: 0)
    #expect(background.due == 1_000_000_000 && background.rows == 512)
    for rows in [1_024, 2_048, 4_096, 4_096] {
      background.worked(for: 1_000_000, until: 10, isDone: false)
      #expect(background.rows == rows && background.due == 4_000_010)
    }
    background.worked(for: 4_000_000, until: 20, isDone: false)
    #expect(background.rows == 4_096)
    for rows in [2_048, 1_024, 512, 512] {
      background.worked(for: 9_000_000, until: 0, isDone: false)
      #expect(background.rows == rows && background.due == 36_000_000)
    }
    background.worked(for: 0, until: 5, isDone: false)
    #expect(background.due == 1_000_005)
  }

  @Test func whereNothingIsLeftItWaitsForNewRows() {
    var background = BackgroundRollUp(LedgerOptions(), now: 0)
    background.worked(for: 1, until: 5, isDone: true)
    #expect(background.due == nil)
    background.wrote(at: 100)
    background.wrote(at: 200)
    #expect(background.due == 10_000_000_100)
  }
}
