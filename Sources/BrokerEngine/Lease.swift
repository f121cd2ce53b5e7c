// The right to use what one grant committed. It cannot be copied, so it cannot be settled twice; dropping it settles it as abandoned.
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
    // Our bug: whoever held it forgot it. The permit must come back all the same.
    if !isSettled { dispatcher.abandon(id) }
  }
}
