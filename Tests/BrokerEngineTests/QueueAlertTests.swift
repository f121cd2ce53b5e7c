// The alert about the queue: at, under and over each threshold, and no flapping.
import PolicyFile
import Testing

@testable import BrokerEngine

@Suite struct QueueAlertTests {
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
    changes.append(alert.look(60, limits, at: 1))
    changes.append(alert.look(250, limits, at: 2))
    #expect(alert.firing?.severity == .critical)
    for second in 3..<12 { changes.append(alert.look(0, limits, at: UInt64(second))) }
    #expect(alert.firing?.severity == .critical)
    changes.append(alert.look(0, limits, at: 12))
    #expect(changes == [true, true] + Array(repeating: false, count: 9) + [true])
    #expect(alert.firing == nil)
  }

  @Test func itFallsToTheLowerThreshold() {
    var alert = QueueAlert()
    _ = alert.look(250, limits, at: 1)
    var changes = 0
    for second in 2..<40 where alert.look(60, limits, at: UInt64(second)) { changes += 1 }
    #expect(changes == 1)
    #expect(alert.firing?.severity == .warning)
  }

  @Test func aDepthThatVariesTellsItOnce() {
    var alert = QueueAlert()
    var changes = 0
    for second in 0..<100 where alert.look(second % 9 == 0 ? 55 : 45, limits, at: UInt64(second)) { changes += 1 }
    #expect(changes == 1)
    #expect(alert.firing?.since == 0)
    #expect(alert.firing?.text == "55 requests wait, 50 or more are too many")
  }

  @Test func newThresholdsCountFromTheNextLook() {
    var alert = QueueAlert()
    _ = alert.look(60, limits, at: 0)
    var higher = QueueAlertLimits()
    (higher.warning, higher.critical) = (100, 200)
    var over = false
    for second in 1...10 { over = alert.look(60, higher, at: UInt64(second)) }
    #expect(over && alert.firing == nil)
  }
}
