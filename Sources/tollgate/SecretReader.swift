// Reads the secrets of a policy's keys and webhooks on a separate thread, since a command, or a file on a slow disk, must not hold
// up the loop.
import BrokerEngine
import EventLoop
import Foundation
import PolicyFile

/// Reads the secrets of one policy after another, in the order of the requests.
final class SecretReader {
  typealias Continuation = (Result<ReadSecrets, any Error>) -> Void

  private struct Job {
    var policy: Policy
    var file: String?
    var then: Continuation
  }

  private let loop: EventLoop
  private let address = LoopAddress<SecretReader>()
  private var jobs: [Job] = []

  init(loop: EventLoop) {
    self.loop = loop
    address.target = self
  }

  /// Reads the secrets and calls `then`, in a later turn of the loop, with them or with what was wrong.
  func read(_ policy: Policy, relativeTo file: String?, then: @escaping Continuation) {
    jobs.append(Job(policy: policy, file: file, then: then))
    if jobs.count == 1 { start() }
  }

  private func start() {
    guard let job = jobs.first else { return }
    let (policy, file, mailbox, address) = (job.policy, job.file, loop.mailbox, address)
    let thread = Thread {
      let result = Result { try PolicyLoading.allSecrets(of: policy, relativeTo: file) }
      mailbox.post { address.target?.finish(result) }
    }
    thread.name = "secrets"
    thread.start()
  }

  private func finish(_ result: Result<ReadSecrets, any Error>) {
    let job = jobs.removeFirst()
    job.then(result)
    start()
  }
}
