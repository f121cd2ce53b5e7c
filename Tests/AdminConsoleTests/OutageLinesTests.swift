// How many lines about a receiver the log gets.
import Testing

@testable import AdminConsole

@Suite struct OutageLinesTests {
  private static let second: UInt64 = 1_000_000_000

  @Test func eachChangeIsToldWhereThereAreFew() {
    var lines = OutageLines()
    let verdicts = (0..<30).map { lines.change(at: UInt64($0) * 67 * Self.second) }
    #expect(verdicts == Array(repeating: .told, count: 30))
  }

  @Test func aReceiverThatChangesAllTheTimeFillsNothing() {
    var lines = OutageLines()
    let verdicts = (0..<3600).map { lines.change(at: UInt64($0) * Self.second) }
    let told = verdicts.indices.filter { verdicts[$0] != .untold }
    // Ten at the beginning of each ten minutes, the last of which says so.
    #expect(told == (0..<6).flatMap { span in (0..<10).map { span * 600 + $0 } })
    #expect(told.filter { verdicts[$0] == .toldLast } == (0..<6).map { $0 * 600 + 9 })
  }
}
