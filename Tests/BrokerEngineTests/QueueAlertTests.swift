// The alert about the queue: at, under and over each threshold, and no flapping.
import PolicyFile
import Testing

@testable import BrokerEngine

@Suite struct QueueAlertTests {
  private static let second: UInt64 = 1_000_000_000
  private let limits: QueueAlertLimits = {
    var limits = QueueAlertLimits()
    (limits.warning, limits.critical) = (50, 200)
    return limits
  }()

  @Test(arguments: [
    (0, nil), (49, nil), (50, AlertSeverity.warning), (199, .warning), (200, .critical), (100_000, .critical),
  ])
  func thresholds(_ depth: Int, _ severity: AlertSeverity?) {
    var alert = QueueAlert()
    let changed = alert.look(depth, limits, at: 7)
    #expect(changed == (severity != nil))
    #expect(alert.firing?.severity == severity)
    #expect(alert.firing.map(\.since) == severity.map { _ in 7 })
  }

  @Test func itRisesAtOnceAndFallsSlowly() {
    var alert = QueueAlert()
    var changes: [Bool] = []
    changes.append(alert.look(60, limits, at: Self.second))
    changes.append(alert.look(250, limits, at: 2 * Self.second))
    #expect(alert.firing?.severity == .critical)
    for second in 3..<12 { changes.append(alert.look(0, limits, at: UInt64(second) * Self.second)) }
    #expect(alert.firing?.severity == .critical)
    changes.append(alert.look(0, limits, at: 12 * Self.second))
    #expect(changes == [true, true] + Array(repeating: false, count: 9) + [true])
    #expect(alert.firing == nil)
  }

  @Test func itFallsToTheLowerThreshold() {
    var alert = QueueAlert()
    _ = alert.look(250, limits, at: Self.second)
    var changes = 0
    for second in 2..<40 where alert.look(60, limits, at: UInt64(second) * Self.second) { changes += 1 }
    #expect(changes == 1)
    #expect(alert.firing?.severity == .warning)
  }

  @Test func aDepthThatVariesTellsItOnce() {
    var alert = QueueAlert()
    var changes = 0
    for second in 0..<100 where alert.look(second % 9 == 0 ? 55 : 45, limits, at: UInt64(second) * Self.second) {
      changes += 1
    }
    #expect(changes == 1)
    #expect(alert.firing?.since == 0)
    #expect(alert.firing?.text == "55 requests wait, 50 or more are too many")
  }

  @Test func oneThatWaitsIsOne() {
    var limits = QueueAlertLimits()
    (limits.warning, limits.critical) = (1, 3)
    var alert = QueueAlert()
    _ = alert.look(1, limits, at: 0)
    #expect(alert.firing?.text == "1 request waits, 1 or more are too many")
    _ = alert.look(3, limits, at: 1)
    #expect(alert.firing?.text == "3 requests wait, 3 or more are too many")
    _ = alert.look(1, limits, at: 2)
    #expect(alert.firing?.text == "1 request waits now, 3 or more were too many")
    _ = alert.look(0, limits, at: 3)
    #expect(alert.firing?.text == "0 requests wait now, 3 or more were too many")
  }

  @Test func newThresholdsCountFromTheNextLook() {
    var alert = QueueAlert()
    _ = alert.look(60, limits, at: 0)
    var higher = QueueAlertLimits()
    (higher.warning, higher.critical) = (100, 200)
    var over = false
    for second in 1...10 { over = alert.look(60, higher, at: UInt64(second) * Self.second) }
    #expect(over && alert.firing == nil)
  }

  /// What an alert that fires becomes after eleven seconds of another depth.
  @Test(arguments: [
    (200, 200, AlertSeverity.critical), (200, 180, .critical), (200, 179, .warning), (200, 50, .warning),
    (200, 45, .warning), (200, 44, nil), (50, 50, .warning), (50, 49, .warning), (50, 45, .warning), (50, 44, nil),
    (50, 0, nil),
  ])
  func itFallsBelowNineTenthsOfItsLimit(_ first: Int, _ then: Int, _ severity: AlertSeverity?) {
    var alert = QueueAlert()
    _ = alert.look(first, limits, at: 0)
    for second in 1...11 { _ = alert.look(then, limits, at: UInt64(second) * Self.second) }
    #expect(alert.firing?.severity == severity)
  }

  @Test(arguments: [(1, 0), (2, 1), (9, 8), (10, 8), (11, 9), (20, 17)])
  func smallLimitsAreLeftByTheSameRule(_ limit: Int, _ below: Int) {
    var limits = QueueAlertLimits()
    (limits.warning, limits.critical) = (limit, 200)
    var alert = QueueAlert()
    _ = alert.look(limit, limits, at: 0)
    var changes = [alert.look(below + 1, limits, at: 60 * Self.second)]
    changes.append(alert.look(below, limits, at: 69 * Self.second))
    changes.append(alert.look(below, limits, at: 70 * Self.second))
    #expect(changes == [false, false, true] && alert.firing == nil)
  }

  /// The events of a depth that goes through these values, one a second, ten times over.
  private func events(_ depths: [Int]) -> [AlertSeverity?] {
    var alert = QueueAlert()
    var events: [AlertSeverity?] = []
    var second: UInt64 = 0
    for depth in Array(repeating: depths, count: 10).joined() {
      if alert.look(depth, limits, at: second * Self.second) { events.append(alert.firing?.severity) }
      second += 1
    }
    return events
  }

  @Test func aDepthThatStaysNearItsLimitTellsItOnce() {
    // Slow turns: longer on each side of the limit than an alert needs to fall.
    func turns(_ over: Int, _ under: Int) -> [Int] {
      Array(repeating: over, count: 30) + Array(repeating: under, count: 30)
    }
    #expect(events(turns(51, 49)) == [.warning])
    #expect(events(turns(50, 45)) == [.warning])
    #expect(events(turns(201, 199)) == [.critical])
    #expect(events(turns(220, 180)) == [.critical])
    // Quick turns, however deep.
    #expect(events([55, 0, 0, 0, 0, 0, 0, 0, 0]) == [.warning])
    #expect(events([500, 60, 60, 0, 0, 60, 0, 0, 0]) == [.critical])
  }

  @Test func anAlertThatFallsDoesNotPassOverTheLowerLimit() {
    // Long below the upper limit, and only just below the lower one.
    var alert = QueueAlert()
    _ = alert.look(250, limits, at: 0)
    for second in 1...9 { _ = alert.look(60, limits, at: UInt64(second) * Self.second) }
    var changes = [alert.look(3, limits, at: 10 * Self.second)]
    #expect(alert.firing?.severity == .warning)
    changes.append(alert.look(3, limits, at: 18 * Self.second))
    changes.append(alert.look(3, limits, at: 19 * Self.second))
    #expect(changes == [true, false, true] && alert.firing == nil)
  }

  @Test func itSaysWhatItIsAndWhatItWas() {
    var alert = QueueAlert()
    _ = alert.look(60, limits, at: 0)
    #expect(alert.firing?.text == "60 requests wait, 50 or more are too many")
    _ = alert.look(48, limits, at: Self.second)
    #expect(alert.firing?.text == "48 requests wait now, 50 or more were too many")
    #expect(alert.firing?.since == 0)
  }
}
