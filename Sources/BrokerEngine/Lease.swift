// The right to use what one grant committed. A lease cannot be copied, so it cannot be settled twice; dropping it
// settles it as abandoned.
import AdmissionCore

/// One open lease. Settle it exactly once.
struct Lease: ~Copyable {
  let id: LeaseID
  private let dispatcher: Dispatcher
  private var isSettled = false

  init(_ id: LeaseID, of dispatcher: Dispatcher) {
    self.id = id
    self.dispatcher = dispatcher
  }

  consuming func settle(_ settlement: Settlement) {
    isSettled = true
    dispatcher.settle(id, settlement)
  }

  deinit {
    // A lease that was dropped unsettled is our bug. The permit must come back all the same.
    if !isSettled { dispatcher.abandon(id) }
  }
}
