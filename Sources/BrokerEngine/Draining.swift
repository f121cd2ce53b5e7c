// The end of a broker's work: new requests are refused, running ones are finished, and a report is made when nothing is
// left.

final class Draining {
  private(set) var hasBegun = false
  /// The number of exchanges that the endpoint still has; some have their outcome and wait for a slow client.
  private var openExchanges = 0
  private var coreIsDrained = false
  private var report: (() -> Void)?

  /// - Parameter report: called once, when the core has nothing left and every answer has been written to its socket.
  /// - Returns: false where the drain had already begun.
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

  /// The core reports that nothing is queued and nothing runs.
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
