// Writes the API's documents on another thread, from values that the loop's thread has gathered.
//
// Promises: answers come on the loop's thread, in the order in which the documents are finished; at most `most` wait, and
// a caller beyond that is told so. Without another thread, as in tests, a document is written at once.
import EventLoop

final class Renderer {
  /// Documents that wait to be written.
  static let most = 1024

  /// Runs work on another thread, one piece after the other.
  private let background: ((@escaping @Sendable () -> Void) -> Void)?
  private let mailbox: Mailbox?
  private let address = LoopAddress<Renderer>()
  private var waiting: [Int: (Reply) -> Void] = [:]
  private var number = 0
  /// How many documents were written since the start, or are being written.
  private(set) var written = 0

  init(loop: EventLoop?, background: ((@escaping @Sendable () -> Void) -> Void)?) {
    mailbox = loop?.mailbox
    self.background = background
    address.target = self
  }

  /// - Parameter write: makes the answer; called on the other thread.
  func render(_ write: @escaping @Sendable () -> Reply, then: @escaping (Reply) -> Void) {
    guard let background, let mailbox else {
      written += 1
      return then(write())
    }
    guard waiting.count < Self.most else {
      return then(.error(503, "too many documents are asked for at once; try again in a moment"))
    }
    number += 1
    written += 1
    let (number, address) = (number, address)
    waiting[number] = then
    background {
      let reply = write()
      mailbox.post { address.target?.finish(number, reply) }
    }
  }

  private func finish(_ number: Int, _ reply: Reply) { waiting.removeValue(forKey: number)?(reply) }
}
