// When the writer's thread makes roll-ups, and how many rows at a time.
//
// Promise: a chunk takes about as much processor time as the options say, whatever the machine and the rows are, and
// chunks that follow one another leave four fifths of that thread's time to the entries. On a busy machine a chunk lasts longer, but is
// no smaller: each has costs that do not depend on its rows.
import Foundation
import GRDB

struct BackgroundRollUp {
  private static let fewestRows = 512
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
    due = now + min(interval, options.firstRollUp.wholeNanoseconds)
  }

  /// Notes that there are new rows.
  mutating func wrote(at now: UInt64) { if due == nil { due = now + interval } }

  /// Counts some rows if it is time. An error is left to the writer, which meets it too: this tries again later.
  mutating func workIfDue(on database: DatabaseQueue) {
    guard let due, DispatchTime.now().uptimeNanoseconds >= due else { return }
    let began = BackgroundRollUp.processorTime
    do {
      let progress = try database.writeWithoutTransaction { [rows] in
        try RollUps.step($0, most: rows, late: &late)
      }
      worked(
        for: BackgroundRollUp.processorTime &- began, until: DispatchTime.now().uptimeNanoseconds,
        isDone: progress.isDone)
    } catch {
      self.due = DispatchTime.now().uptimeNanoseconds + interval
    }
  }

  /// Of this thread, in nanoseconds.
  private static var processorTime: UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }

  /// - Parameter took: processor time.
  mutating func worked(for took: UInt64, until now: UInt64, isDone: Bool) {
    if took > time {
      rows = max(min(BackgroundRollUp.fewestRows, mostRows), rows / 2)
    } else if took < time / 2 {
      rows = min(mostRows, rows * 2)
    }
    due = isDone ? nil : now + max(1_000_000, 4 * took)
  }
}
