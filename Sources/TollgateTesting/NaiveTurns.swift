// Start-time fair queueing as plainly as possible, for the naive reference: every flow in a dictionary, every question answered by looking at all
// of them. And the old rule, which moved virtual time by estimates and never corrected it.
import AdmissionCore
import PolicyLab

/// The flows of one level: the tenants of a band, or the sessions of a tenant in a band.
struct NaiveTurns {
  /// - `withoutDebts`, `withAllDebts`: real costs, where a running call counts at least as little, or as much, as any reading of the
  ///   rule about debtors lets it. Between the two is every right order.
  enum Rule {
    case real, estimatedTime, uncorrected, withoutDebts, withAllDebts
    var isReal: Bool { self != .estimatedTime && self != .uncorrected }
  }

  struct Seat {
    var weight = 1.0
    var past = 0.0
    var pastRunning = 0.0
    var start = 0.0
    var since = 0.0
    var sinceRunning = 0.0
    var dearest = 0.0
    var waiting = 0
    var running = 0
    var stay = 0
    var isInTurn = false
    var owes = 0.0
    /// Of its last grant, or of its coming.
    var order = 0
    var tag: Double { max(past, start) + since }
    var settled: Double { max(past - pastRunning, start) + since - sinceRunning }
    var isBusy: Bool { waiting > 0 || running > 0 }
  }
  struct Charge {
    var expected = 0.0
    var stay = 0
    var weight = 1.0
  }

  var seats: [String: Seat] = [:]
  var time = 0.0
  private var order = 0
  /// The largest debt since nobody owed anything.
  private var mostOwed = 0.0

  private mutating func follow() {
    let least = seats.values.filter { $0.waiting > 0 && $0.isInTurn }.map(\.settled).min()
    if let least { time = max(time, least) }
  }

  private mutating func begin(_ name: String) {
    guard var seat = seats[name] else { return }
    seat.past = seat.running == 0 ? min(seat.tag, time + seat.dearest) : seat.tag
    if seat.running == 0 { seat.dearest = 0 }
    seat.pastRunning += seat.sinceRunning
    seat.start = time
    seat.since = 0
    seat.sinceRunning = 0
    seat.stay += 1
    seats[name] = seat
  }

  mutating func arrived(_ name: String, weight: Double, rule: Rule) {
    var seat = seats[name] ?? Seat()
    seat.weight = weight
    let isNew = seat.waiting == 0
    let wasIdle = !seat.isBusy
    seats[name] = seat
    if isNew {
      order += 1
      seats[name]?.order = order
      if rule.isReal {
        follow()
        begin(name)
        seats[name]?.isInTurn = false
        let debt = max(0, (seats[name]?.tag ?? 0) - time) * weight
        if wasIdle { seats[name]?.owes = debt }
        mostOwed = max(mostOwed, debt)
      } else {
        seats[name]?.past = max(seat.past, time)
      }
    }
    seats[name]?.waiting += 1
  }

  mutating func left(_ name: String) {
    seats[name]?.waiting -= 1
    if seats[name]?.waiting == 0 { seats[name]?.owes = 0 }
    rest()
  }

  /// - Parameter passed: flows that would have gone before, had something not been in their way.
  mutating func granted(_ name: String, cost: Double, passed: [String], rule: Rule) -> Charge {
    guard let seat = seats[name] else { return Charge() }
    var charge = Charge(expected: cost / seat.weight, stay: seat.stay, weight: seat.weight)
    order += 1
    seats[name]?.order = order
    // It still waits for its turn, and so holds virtual time.
    if rule.isReal {
      for other in passed { seats[other]?.isInTurn = false }
      follow()
    }
    seats[name]?.waiting -= 1
    seats[name]?.running += 1
    if !rule.isReal {
      let weights = seats.values.filter { $0.waiting > 0 }.reduce(0) { $0 + $1.weight }
      time = max(time + cost / max(weights, seat.weight), seat.past)
      seats[name]?.past += charge.expected
      return charge
    }
    var debt = seats.filter { $0.key != name && $0.value.waiting > 0 }.map(\.value.owes).max() ?? 0
    if rule == .withoutDebts { debt = 0 }
    if rule == .withAllDebts { debt = mostOwed }
    seats[name]?.owes = 0
    if seats.values.allSatisfy({ $0.owes == 0 }) { mostOwed = 0 }
    if seat.tag < time { begin(name) }
    charge.stay = seats[name]?.stay ?? 0
    charge.expected = max(cost, debt) / seat.weight
    seats[name]?.since += charge.expected
    seats[name]?.sinceRunning += charge.expected
    seats[name]?.isInTurn = true
    return charge
  }

  mutating func ended(_ name: String, _ charge: Charge, real: Double, rule: Rule) {
    guard var seat = seats[name] else { return }
    seat.running -= 1
    let share = real / charge.weight
    if rule == .uncorrected {
      seats[name] = seat
    } else if rule == .estimatedTime {
      seat.past += share - charge.expected
      seats[name] = seat
    } else {
      if charge.stay == seat.stay {
        seat.since += share - charge.expected
        seat.sinceRunning -= charge.expected
      } else {
        seat.past += share - charge.expected
        seat.pastRunning -= charge.expected
      }
      seat.dearest = max(seat.dearest, share)
      seats[name] = seat
      let inTurn = seats.values.contains { $0.waiting > 0 && $0.isInTurn }
      follow()
      let weights = seats.values.filter(\.isBusy).reduce(0) { $0 + $1.weight } + (seat.isBusy ? 0 : seat.weight)
      if !inTurn { time += real / weights }
    }
    rest()
  }

  /// The end of everybody's busy time.
  private mutating func rest() {
    if seats.values.allSatisfy({ !$0.isBusy }) { time = max(time, seats.values.map(\.tag).max() ?? time) }
  }
}
