// The only account of the memory that clients' bodies and texts take: code that takes such memory enters it here and
// removes it when it is freed, and code that is about to read more asks first.
//
// Promises: all numbers are bytes and never negative; entering never fails, since bytes that have come are there;
// `isFull` says when to stop reading. A sixteenth of the limit is reserved for urgent small calls. It costs a few
// additions per request, and is used on the loop's thread only.

/// Memory that clients cause, by its use.
public final class MemoryAccount {
  /// What memory is used for; the label of a metric.
  public enum Use: Int, CaseIterable, Sendable {
    /// Arriving bodies, and heads.
    case bodies
    /// Complete requests that wait for their turn.
    case queued
    /// Requests that are being sent, or that were sent and may be sent again.
    case retry
    /// Decoded copies, and incomplete frames of answers.
    case decoding
    /// Paths, names and messages in the list of requests.
    case records

    /// The name in metrics and the API.
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

  /// The most bytes that may be held. Changes with the policy.
  public var limit: Int {
    didSet { if limit > oldValue { roomCame() } }
  }
  /// All uses together.
  public private(set) var total = 0
  private var byUse = (0, 0, 0, 0, 0)
  /// Bytes that clients may still send within their flow-control windows: they count like held bytes when more is to be
  /// granted.
  private var promised = 0
  /// Called once when memory is given back after `awaitRoom`.
  public var onRoom: (() -> Void)?
  private var isAwaited = false
  /// Called by code that has freed memory early because memory is short: the freed heap stays in the process until it
  /// is returned to the system.
  public var onGivenUp: (() -> Void)?

  /// - Parameter limit: in bytes, above 0.
  public init(limit: Int = .max) { self.limit = max(1, limit) }

  /// What every call may use: the limit without the reserved sixteenth.
  public var ordinaryLimit: Int { limit - limit / 16 }
  /// Bytes that ordinary bodies may still take. Promised bytes count up to a quarter of the limit, so that promises
  /// alone cannot keep other bodies out.
  public var room: Int { max(0, ordinaryLimit - total - min(promised, limit / 4)) }
  /// True where no ordinary body may grow.
  public var isFull: Bool { room == 0 }
  /// True where nothing may grow.
  public var isExhausted: Bool { total >= limit }
  /// Bytes left for calls that may also use the reserved sixteenth.
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

  /// Moves memory from one use to another.
  public func move(_ count: Int, from old: Use, to new: Use) {
    add(-count, old)
    add(count, new)
  }

  /// Notes flow control that was granted for `count` more bytes; a negative `count` takes a grant back.
  public func promise(_ count: Int) { promised += count }

  /// True where `count` more bytes may be granted beyond what is needed: promises are at most an eighth of the limit,
  /// and only while less than half of the limit is taken.
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

/// One owner's part of the account. It follows the size of what the owner holds.
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

  /// Moves the memory to another use.
  public mutating func move(to new: MemoryAccount.Use) {
    guard new != use else { return }
    account.move(bytes, from: use, to: new)
    use = new
  }
}
