// The one account of what the process holds of clients' bodies and texts: who takes memory enters it here, who gives it back takes
// it off, and who is about to read more asks first.
//
// Promises: all numbers are bytes and never negative; entering never fails, since what has come is there; `isFull` says when to stop
// reading. A sixteenth is for urgent small calls alone. A few additions for each request; lives on the loop's thread.

/// Memory of clients' making, by what it is held for.
public final class MemoryAccount {
  /// What memory is held for; the label of a metric.
  public enum Use: Int, CaseIterable, Sendable {
    /// Bodies on their way in, and heads.
    case bodies
    /// Whole requests that wait for their turn.
    case queued
    /// Requests that are being sent, or were and may be sent again.
    case retry
    /// Decoded copies, and frames of answers that are not whole.
    case decoding
    /// Paths, names and messages in the list of requests.
    case records

    /// As metrics and the API call it.
    public var name: String {
      switch self {
      case .bodies: "bodies"
      case .queued: "queued"
      case .retry: "retry"
      case .decoding: "decoding"
      case .records: "records"
      }
    }
  }

  /// Bytes that may be held. Changes with the policy.
  public var limit: Int {
    didSet { if limit > oldValue { roomCame() } }
  }
  /// All uses together.
  public private(set) var total = 0
  private var byUse = (0, 0, 0, 0, 0)
  /// What clients may still send by the flow control that they were granted: counts like held where more is to be granted.
  private var promised = 0
  /// Called once, when memory is given back after somebody found the account full.
  public var onRoom: (() -> Void)?
  private var isAwaited = false
  /// Told by whoever held less than it would have, because memory is short: what it gave up is free heap now, and stays in memory until
  /// somebody sees to it.
  public var onGivenUp: (() -> Void)?

  /// - Parameter limit: in bytes, above 0.
  public init(limit: Int = .max) { self.limit = max(1, limit) }

  /// What all may use: the limit without its sixteenth.
  public var ordinaryLimit: Int { limit - limit / 16 }
  /// Bytes that ordinary bodies may still take; promises count up to a quarter of the limit, so that a crowd of them alone cannot
  /// shut the rest out.
  public var room: Int { max(0, ordinaryLimit - total - min(promised, limit / 4)) }
  /// True where no ordinary body may grow.
  public var isFull: Bool { room == 0 }
  /// True where nothing may grow.
  public var isExhausted: Bool { total >= limit }
  /// Bytes left for what may use the kept sixteenth too.
  public var wholeRoom: Int { max(0, limit - total) }

  /// Bytes that one use holds.
  public func bytes(_ use: Use) -> Int {
    switch use {
    case .bodies: byUse.0
    case .queued: byUse.1
    case .retry: byUse.2
    case .decoding: byUse.3
    case .records: byUse.4
    }
  }

  public func take(_ count: Int, _ use: Use) {
    total += count
    add(count, use)
  }

  public func give(_ count: Int, _ use: Use) {
    total -= count
    add(-count, use)
    if isAwaited, count > 0 { roomCame() }
  }

  /// Holds the same memory for something else.
  public func move(_ count: Int, from old: Use, to new: Use) {
    add(-count, old)
    add(count, new)
  }

  /// Grants flow control for `count` more bytes, or takes a grant back with a negative one.
  public func promise(_ count: Int) { promised += count }

  /// True where `count` more bytes may be granted for a sender's convenience: an eighth at most, and not of the second half.
  public func mayPromise(_ count: Int) -> Bool { promised + count <= limit / 8 && total < limit / 2 }

  /// The next `give` calls `onRoom`.
  public func awaitRoom() { isAwaited = true }

  private func roomCame() {
    guard isAwaited else { return }
    isAwaited = false
    onRoom?()
  }

  private func add(_ count: Int, _ use: Use) {
    switch use {
    case .bodies: byUse.0 += count
    case .queued: byUse.1 += count
    case .retry: byUse.2 += count
    case .decoding: byUse.3 += count
    case .records: byUse.4 += count
    }
  }
}

/// What one holder has in the account: follows what it holds, and gives it back as a whole.
public struct MemoryShare {
  private let account: MemoryAccount
  public private(set) var use: MemoryAccount.Use
  public private(set) var bytes = 0

  public init(_ account: MemoryAccount, _ use: MemoryAccount.Use) {
    self.account = account
    self.use = use
  }

  /// Counts `count` bytes from now on, in place of those before.
  public mutating func resize(to count: Int) {
    if count > bytes {
      account.take(count - bytes, use)
    } else if count < bytes {
      account.give(bytes - count, use)
    }
    bytes = count
  }

  /// The same memory for another use.
  public mutating func move(to new: MemoryAccount.Use) {
    guard new != use else { return }
    account.move(bytes, from: use, to: new)
    use = new
  }
}
