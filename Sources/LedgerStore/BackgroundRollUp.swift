// When the writer's thread makes roll-ups, and how many rows at a time.
//
// Promise: a chunk lasts about as long as the options say, whatever the machine and the rows are, and chunks that follow
// one another leave four fifths of the time to the entries.
import Foundation
import GRDB

struct BackgroundRollUp {
  private static let fewestRows = 64
  private let interval: UInt64
  private let mostRows: Int
  private let time: UInt64
  /// When to go on, by the monotonic clock; nil where there is nothing to count.
  private(set) var due: UInt64?
  private(set) var rows: Int
  private var late: Int64 = 0

  init(_ options: LedgerOptions, now: UInt64) {
    interval = options.rollUpInterval.wholeNanoseconds
    time = options.rollUpTime.wholeNanoseconds
    mostRows = max(1, options.rollUpRows)
    rows = min(mostRows, 512)
    // What an earlier process left is counted soon after the start.
    due = now + min(interval, 1_000_000_000)
  }

  /// Notes that there are new rows.
  mutating func wrote(at now: UInt64) { if due == nil { due = now + interval } }

  /// Counts some rows if it is time. An error is left to the writer, which meets it too: this tries again later.
  mutating func workIfDue(on database: DatabaseQueue) {
    let began = DispatchTime.now().uptimeNanoseconds
    guard let due, began >= due else { return }
    do {
      let progress = try database.writeWithoutTransaction { [rows] in
        try RollUps.step($0, most: rows, late: &late)
      }
      worked(from: began, until: DispatchTime.now().uptimeNanoseconds, isDone: progress.isDone)
    } catch {
      self.due = began + interval
    }
  }

  mutating func worked(from began: UInt64, until now: UInt64, isDone: Bool) {
    let took = now &- began
    if took > time {
      rows = max(min(BackgroundRollUp.fewestRows, mostRows), rows / 2)
    } else if took < time / 2 {
      rows = min(mostRows, rows * 2)
    }
    due = isDone ? nil : now + max(1_000_000, 4 * took)
  }
}
