// The beat by which clients of silent streams are told that the stream still lives (`keepalive` in the policy).
//
// Streams of one interval share a timer, which runs only while there are such streams and fires four times in each
// interval. A stream counts these beats, and forgets them with each piece from its provider: so bytes that pass cost no
// look at the clock. Silence of between one interval and a quarter more is thus seen.
//
// Promises: a stream is in the list from `keepAlive` to `close`; nothing is kept for streams that are over.
import EventLoop

final class Keepalives {
  /// Beats in an interval.
  static let beats: UInt8 = 4

  /// The streams of one interval.
  final class Beat {
    let interval: Duration
    private var relays: [Relay] = []
    private var timer: LoopTimer?

    fileprivate init(_ interval: Duration, loop: EventLoop?) {
      self.interval = interval
      if let loop { timer = LoopTimer(loop) { [unowned self] in fire() } }
    }

    var isEmpty: Bool { relays.isEmpty }

    /// - Returns: its place, for `leave`.
    func join(_ relay: Relay) -> Int {
      if relays.isEmpty { schedule() }
      relays.append(relay)
      return relays.count - 1
    }

    func leave(_ place: Int) {
      guard let last = relays.popLast(), place < relays.count else { return }
      relays[place] = last
      last.moved(to: place)
    }

    fileprivate func fire() {
      for relay in relays { relay.beat() }
      if !relays.isEmpty { schedule() }
    }

    private func schedule() { timer?.schedule(after: interval / Int(Keepalives.beats)) }
  }

  private let loop: EventLoop?
  private var all: [Beat] = []

  /// - Parameter loop: nil in tests that call `fire` themselves.
  init(loop: EventLoop?) { self.loop = loop }

  /// The beat of an interval.
  func beat(of interval: Duration) -> Beat {
    if let known = all.first(where: { $0.interval == interval }) { return known }
    // A reload has set another interval: those that no stream has any more are dropped.
    all.removeAll { $0.isEmpty }
    all.append(Beat(interval, loop: loop))
    return all[all.count - 1]
  }

  /// For tests without a loop: a beat of every interval.
  func fire() { for beat in all { beat.fire() } }
}
