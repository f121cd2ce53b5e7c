// Sends one short message of our own over the upstream, and tells how it was answered.
//
// Promises: exactly one report, on the loop's thread; no redirect is followed; of the answer no more than the wanted bytes
// are kept, and reading ends behind them.

public final class Posting: UpstreamEvents {
  public enum Answer: Sendable, Equatable {
    /// - Parameters:
    ///   - retryAfter: what the receiver asks for, in nanoseconds, a day at most.
    ///   - body: its beginning.
    case answered(status: Int, retryAfter: UInt64?, body: [UInt8])
    /// There was no answer; why.
    case failed(String)
  }

  private let limit: Int
  private let done: (Answer) -> Void
  private var head: (status: Int, retryAfter: UInt64?)?
  private var body: [UInt8] = []
  private var call: (any UpstreamCall)?

  private init(limit: Int, done: @escaping (Answer) -> Void) {
    self.limit = limit
    self.done = done
  }

  /// - Parameters:
  ///   - limit: how many bytes of an answer are read.
  ///   - done: called once, in a later turn of the loop.
  public static func begin(
    _ request: UpstreamRequest, over upstream: any Upstream, reading limit: Int, done: @escaping (Answer) -> Void
  ) {
    let posting = Posting(limit: limit, done: done)
    posting.call = upstream.begin(request, events: posting)
  }

  public func upstreamResponded(_ head: ResponseHead) {
    let seconds = head.fields.first("retry-after").flatMap { UInt64($0) }
    self.head = (head.status, seconds.map { min($0, 86_400) * 1_000_000_000 })
  }

  public func upstreamReceived(_ bytes: ArraySlice<UInt8>) {
    let room = limit - body.count
    body.append(contentsOf: bytes.prefix(room))
    guard bytes.count > room else { return }
    let call = call
    self.call = nil
    call?.cancel()
    report()
  }

  public func upstreamEnded(_ ending: UpstreamEnding) {
    call = nil
    if head != nil { return report() }
    guard case .failed(let failure) = ending else { return done(.failed("no answer")) }
    done(.failed(failure.detail.isEmpty ? failure.kind.rawValue : "\(failure.kind.rawValue): \(failure.detail)"))
  }

  private func report() {
    guard let head else { return done(.failed("no answer")) }
    done(.answered(status: head.status, retryAfter: head.retryAfter, body: body))
  }
}
