// What waits for a collector and when it is sent: a value that changes by events, without clock, randomness or network.
//
// The states of a batch: none → `writing` when enough waits, or long enough → `ready` when it is written down → `sending`
// → none when it is accepted or given up, or `ready` again when it is to be sent once more.
//
// Promises: what waits is bounded in pieces and bytes, of which an overflow drops the newest and counts it, at the same
// price however much waits; there is one batch at a time; a collector that fails is asked ever more rarely, and never
// before it wants to be.

/// How one sending of a batch ended.
public enum ExportAnswer: Sendable, Equatable {
  /// - Parameters:
  ///   - retryAfter: what the collector asks for, in nanoseconds.
  ///   - rejected: the pieces that it took no notice of, by its own word.
  case status(Int, retryAfter: UInt64? = nil, rejected: Int = 0)
  /// There was no answer; why.
  case failed(String)
}

public struct ExportLimits: Sendable, Equatable {
  /// The pieces of a batch, unless one item alone has more.
  public var batch = 512
  /// The pieces and bytes that wait, beside the batch.
  public var mostWaiting = 8_192
  public var mostBytes = 4 << 20
  /// How long the oldest waits for others to fill its batch.
  public var longestStay: UInt64 = 5_000_000_000
  /// The pause after the first failure, which doubles after each one; and the longest.
  public var firstPause: UInt64 = 1_000_000_000
  public var longestPause: UInt64 = 30_000_000_000
  /// How long a batch is tried.
  public var patience: UInt64 = 300_000_000_000
  public init() {}
}

public struct ExportQueue<Item: Sendable>: Sendable {
  /// What is to be done now.
  public enum Step: Sendable {
    /// Write these down, and report with `wrote`.
    case write([Item])
    /// Send this, and report with `ended`.
    case send([UInt8])
  }
  private struct Waiting: Sendable {
    var item: Item
    var pieces: Int
    var bytes: Int
    var since: UInt64
  }
  private struct Batch: Sendable {
    enum State: Sendable { case writing, ready, sending }
    var pieces: Int
    var began: UInt64
    var state = State.writing
    var text: [UInt8] = []
  }

  private let limits: ExportLimits
  private var waiting: [Waiting] = []
  public private(set) var waitingPieces = 0
  public private(set) var waitingBytes = 0
  private var batch: Batch?
  /// Since the last success.
  private var failures = 0
  /// Nothing is sent before.
  private var restsUntil: UInt64 = 0
  /// True once nothing is sent a second time.
  public private(set) var isEnding = false
  /// Pieces that no collector took.
  public private(set) var dropped = 0
  /// Pieces that one took.
  public private(set) var delivered = 0

  public init(_ limits: ExportLimits = ExportLimits()) { self.limits = limits }

  public var isEmpty: Bool { waiting.isEmpty && batch == nil }

  // MARK: Events

  public mutating func add(_ item: Item, pieces: Int, bytes: Int, now: UInt64) {
    guard waitingPieces + pieces <= limits.mostWaiting, waitingBytes + bytes <= limits.mostBytes else {
      dropped += pieces
      return
    }
    waiting.append(Waiting(item: item, pieces: pieces, bytes: bytes, since: now))
    waitingPieces += pieces
    waitingBytes += bytes
  }

  /// What is to be done now; it counts as begun.
  public mutating func take(now: UInt64) -> Step? {
    guard let current = batch else { return beginBatch(now: now) }
    guard current.state == .ready, isEnding || now >= restsUntil else { return nil }
    batch?.state = .sending
    return .send(current.text)
  }

  private mutating func beginBatch(now: UInt64) -> Step? {
    guard let oldest = waiting.first, isEnding || (now >= restsUntil && now >= due(oldest)) else { return nil }
    var pieces = 0
    var count = 0
    while count < waiting.count, count == 0 || pieces + waiting[count].pieces <= limits.batch {
      pieces += waiting[count].pieces
      waitingBytes -= waiting[count].bytes
      count += 1
    }
    let items = waiting[..<count].map(\.item)
    waiting.removeFirst(count)
    waitingPieces -= pieces
    batch = Batch(pieces: pieces, began: now)
    return .write(items)
  }

  private func due(_ oldest: Waiting) -> UInt64 {
    waitingPieces >= limits.batch ? 0 : oldest.since + limits.longestStay
  }

  /// The batch is written down.
  public mutating func wrote(_ text: [UInt8]) {
    guard batch?.state == .writing else { return }
    batch?.text = text
    batch?.state = .ready
  }

  /// A sending has ended.
  /// - Parameter share: a random number from 0 up to, but without, 1: brokers that failed together do not come back together.
  /// - Returns: what was wrong; nil where the batch was accepted.
  @discardableResult
  public mutating func ended(_ answer: ExportAnswer, now: UInt64, share: Double) -> String? {
    guard let sent = batch, sent.state == .sending else { return nil }
    let reason: String
    var asked: UInt64 = 0
    var isFinal = isEnding
    switch answer {
    case .status(let status, _, let rejected) where (200..<300).contains(status):
      let lost = max(0, min(rejected, sent.pieces))
      dropped += lost
      delivered += sent.pieces - lost
      batch = nil
      failures = 0
      restsUntil = 0
      return lost > 0 ? "the collector rejected \(lost) of \(sent.pieces)" : nil
    case .status(let status, let retryAfter, _):
      reason = "the collector answered \(status)"
      // What the protocol allows to be sent again. A redirect is not followed: the fields are meant for this address.
      if [429, 502, 503, 504].contains(status) { asked = retryAfter ?? 0 } else { isFinal = true }
    case .failed(let why): reason = why
    }
    failures += 1
    let pause = pause(share)
    // This batch is not sent before the time that was asked for. What comes later waits no longer than one batch is tried.
    restsUntil = now + max(pause, min(asked, limits.patience))
    let left = sent.began + limits.patience
    if isFinal || restsUntil > left || asked > left - min(now, left) {
      dropped += sent.pieces
      batch = nil
    } else {
      batch?.state = .ready
    }
    return reason
  }

  /// Everything is sent once more, now, and nothing after that.
  public mutating func end() { isEnding = true }

  /// Drops everything.
  public mutating func giveUp() {
    dropped += waitingPieces + (batch?.pieces ?? 0)
    waiting = []
    waitingPieces = 0
    waitingBytes = 0
    batch = nil
  }

  /// When `take` has something, if nothing else happens before; nil where it will not. It may be over.
  public func nextDue() -> UInt64? {
    if let batch { return batch.state == .ready ? (isEnding ? 0 : restsUntil) : nil }
    return waiting.first.map { isEnding ? 0 : max(restsUntil, due($0)) }
  }

  private func pause(_ share: Double) -> UInt64 {
    var pause = limits.firstPause
    for _ in 1..<max(1, min(failures, 32)) { pause = min(limits.longestPause, pause * 2) }
    return pause / 2 + UInt64(Double(pause / 2) * max(0, min(1, share)))
  }
}
