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
  private let wait: (String) -> UInt64?
  private let done: (Answer) -> Void
  private var head: (status: Int, retryAfter: UInt64?)?
  private var body: [UInt8] = []
  private var call: (any UpstreamCall)?

  private init(limit: Int, wait: @escaping (String) -> UInt64?, done: @escaping (Answer) -> Void) {
    self.limit = limit
    self.wait = wait
    self.done = done
  }

  /// - Parameters:
  ///   - limit: how many bytes of an answer are read.
  ///   - wait: how long the text of `Retry-After` asks to wait, in nanoseconds.
  ///   - done: called once, in a later turn of the loop.
  public static func begin(
    _ request: UpstreamRequest, over upstream: any Upstream, reading limit: Int,
    wait: @escaping (String) -> UInt64?, done: @escaping (Answer) -> Void
  ) {
    let posting = Posting(limit: limit, wait: wait, done: done)
    posting.call = upstream.begin(request, events: posting)
  }

  public func upstreamResponded(_ head: ResponseHead) {
    self.head = (head.status, head.fields.first("retry-after").flatMap { wait($0) })
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
    // The upstream speaks of providers, whoever is asked.
    let detail = failure.detail.replacing("the provider", with: "the receiver")
    done(.failed(detail.isEmpty ? failure.kind.rawValue : "\(failure.kind.rawValue): \(detail)"))
  }

  private func report() {
    guard let head else { return done(.failed("no answer")) }
    done(.answered(status: head.status, retryAfter: head.retryAfter, body: body))
  }
}
