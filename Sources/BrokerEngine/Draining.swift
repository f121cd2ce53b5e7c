// The end of a broker's work: nothing new is taken, what runs is finished, and whoever asked is told when nothing is left.

final class Draining {
  private(set) var hasBegun = false
  /// Exchanges that the endpoint still holds: some of them have their outcome and wait for a slow client.
  private var openExchanges = 0
  private var coreIsDrained = false
  private var report: (() -> Void)?

  /// - Parameter report: called once, when the core has nothing left and every answer has gone to its socket.
  /// - Returns: false where it has begun before.
  func begin(_ report: @escaping () -> Void) -> Bool {
    guard !hasBegun else { return false }
    hasBegun = true
    self.report = report
    return true
  }

  func exchangeBegan() { openExchanges += 1 }

  func exchangeEnded() {
    openExchanges -= 1
    reportIfOver()
  }

  /// Nothing is queued and nothing runs.
  func coreDrained() {
    coreIsDrained = true
    reportIfOver()
  }

  private func reportIfOver() {
    guard coreIsDrained, openExchanges == 0, let report else { return }
    self.report = nil
    report()
  }
}
