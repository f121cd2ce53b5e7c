// Time for the simulator: a clock and one alarm, which tests can control, and the agenda that uses them.
import EventLoop
import Foundation
import HeapModule

/// A monotonic clock with one alarm.
public protocol SimulatorTime: AnyObject {
  /// Nanoseconds of the monotonic clock.
  var now: UInt64 { get }
  /// Seconds since 1970, for dates in headers.
  var wallSeconds: Double { get }
  /// Called when the alarm rings.
  var rang: (() -> Void)? { get set }
  /// Sets the one alarm, replacing an earlier setting.
  func setAlarm(at deadline: UInt64)
}

/// The loop's own clock and one of its timers.
public final class LoopTime: SimulatorTime {
  private let loop: EventLoop
  private var timer: LoopTimer?
  public var rang: (() -> Void)?

  public init(_ loop: EventLoop) { self.loop = loop }

  public var now: UInt64 { loop.now }
  public var wallSeconds: Double { Date().timeIntervalSince1970 }

  public func setAlarm(at deadline: UInt64) {
    if timer == nil { timer = LoopTimer(loop) { [weak self] in self?.rang?() } }
    timer?.schedule(at: deadline)
  }
}

/// Schedules the work of many calls with a single alarm. Entries for the same instant run in the order in which they
/// were made.
final class Agenda {
  private struct Entry: Comparable {
    var deadline: UInt64
    var order: UInt64
    var work: () -> Void
    static func < (a: Entry, b: Entry) -> Bool { (a.deadline, a.order) < (b.deadline, b.order) }
    static func == (a: Entry, b: Entry) -> Bool { a.order == b.order }
  }

  let time: any SimulatorTime
  private var entries = Heap<Entry>()
  private var made: UInt64 = 0
  private var alarm = UInt64.max
  private var isRunning = false

  init(_ time: any SimulatorTime) {
    self.time = time
    time.rang = { [weak self] in self?.run() }
  }

  var count: Int { entries.count }

  func schedule(at deadline: UInt64, _ work: @escaping () -> Void) {
    made += 1
    entries.insert(Entry(deadline: deadline, order: made, work: work))
    if !isRunning { setAlarm() }
  }

  func schedule(after nanoseconds: UInt64, _ work: @escaping () -> Void) {
    schedule(at: time.now &+ nanoseconds, work)
  }

  private func run() {
    alarm = .max
    isRunning = true
    // Runs only what was due when the alarm rang. Work that is added meanwhile for the same instant waits for the next
    // alarm, so that it cannot block the loop.
    let now = time.now
    let last = made
    var late: [Entry] = []
    while let next = entries.min, next.deadline <= now {
      let entry = entries.removeMin()
      if entry.order > last { late.append(entry) } else { entry.work() }
    }
    for entry in late { entries.insert(entry) }
    isRunning = false
    setAlarm()
  }

  private func setAlarm() {
    guard let next = entries.min?.deadline, next < alarm else { return }
    alarm = next
    time.setAlarm(at: next)
  }
}
