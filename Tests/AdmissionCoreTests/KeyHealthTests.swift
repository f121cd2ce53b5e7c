// Doubt, disabling, re-probing, our own checks, the operator's word.
import Testing

@testable import AdmissionCore

@Suite struct KeyHealthTests {
  let start = Instant(nanoseconds: 0)

  /// - Parameter client: nil is one of its own.
  private func mark(
    _ number: UInt64, content: UInt64 = 0, isRepeat: Bool = false, client: UInt64? = nil
  ) -> CallMark {
    CallMark(
      request: RequestID(high: 0, low: number), content: content == 0 ? number : content, client: client ?? number,
      isRepeat: isRepeat)
  }

  /// Refused by two requests.
  private func out(_ key: inout KeyHealth, at now: Instant) {
    _ = key.refused(by: mark(1), generation: key.pass(at: now), at: now)
    let news = key.refused(by: mark(2), generation: key.pass(at: now), at: now)
    #expect(news == .out)
  }

  @Test func oneRequestMakesADoubtAndASecondOneDisables() {
    var key = KeyHealth()
    let first = key.refused(by: mark(1), generation: key.pass(at: start), at: start)
    #expect(first == .doubted)
    #expect(key.condition(at: start) == .usable && key.isDoubted(at: start) && !key.isOut)
    #expect(key.reason(at: start) == .perhapsRefused)
    #expect(key.unusableUntil(at: start) == nil)
    // The same request again, and what its SDK sends again, are the same refusal.
    let again = key.refused(by: mark(1), generation: key.pass(at: start), at: start)
    let repeated = key.refused(by: mark(7, content: 1, isRepeat: true), generation: key.pass(at: start), at: start)
    #expect(again == .none && repeated == .none && !key.isOut)
    let second = key.refused(by: mark(2), generation: key.pass(at: start), at: start)
    #expect(second == .out && key.condition(at: start) == .disabled && key.isRefused(at: start))
  }

  @Test func ourOwnCheckConfirmsARefusalOrAnswersTheDoubt() {
    var refused = KeyHealth()
    _ = refused.refused(by: mark(1), generation: refused.pass(at: start), at: start)
    let confirmed = refused.checked(isRefused: true, at: start)
    #expect(confirmed == .out && refused.condition(at: start) == .disabled)
    var fine = KeyHealth()
    _ = fine.refused(by: mark(1), generation: fine.pass(at: start), at: start)
    let answered = fine.checked(isRefused: false, at: start)
    #expect(answered == .none && !fine.isDoubted(at: start) && fine.reason(at: start) == nil)
    // The same call again is asked about no second time.
    let again = fine.refused(by: mark(1), generation: fine.pass(at: start), at: start)
    let repeated = fine.refused(by: mark(7, content: 1, isRepeat: true), generation: fine.pass(at: start), at: start)
    #expect(again == .none && repeated == .none && !fine.isDoubted(at: start))
    // It is remembered all the same.
    let second = fine.refused(by: mark(2), generation: fine.pass(at: start), at: start)
    #expect(second == .out)
  }

  @Test func afterAnAnsweredCheckOneClientAloneDisablesNothing() {
    var key = KeyHealth()
    _ = key.refused(by: mark(1, client: 7), generation: key.pass(at: start), at: start)
    _ = key.checked(isRefused: false, at: start)
    var now = start
    for number in 2...20 as ClosedRange<UInt64> {
      now = now + .seconds(1)
      let news = key.refused(by: mark(number, client: 7), generation: key.pass(at: now), at: now)
      #expect(news == .none && !key.isOut && !key.isDoubted(at: now))
    }
    // The answer grows old: it is asked for again, once.
    now = start + KeyHealth.answerLife
    let late = key.refused(by: mark(30, client: 7), generation: key.pass(at: now), at: now)
    let later = key.refused(by: mark(31, client: 7), generation: key.pass(at: now), at: now)
    #expect(late == .unclear && later == .none)
    var dead = key
    let confirmed = dead.checked(isRefused: true, at: now)
    #expect(confirmed == .out && dead.condition(at: now) == .disabled)
    _ = key.checked(isRefused: false, at: now)
    let same = key.refused(by: mark(32, client: 7), generation: key.pass(at: now), at: now)
    let other = key.refused(by: mark(33, client: 8), generation: key.pass(at: now), at: now)
    #expect(same == .none && other == .out)
  }

  @Test func untilTheCheckIsAnsweredTwoRequestsOfOneClientDisableTheKey() {
    var key = KeyHealth()
    _ = key.refused(by: mark(1, client: 7), generation: key.pass(at: start), at: start)
    let second = key.refused(by: mark(2, client: 7), generation: key.pass(at: start), at: start)
    #expect(second == .out && key.isRefused(at: start))
    var dead = key
    let refused = dead.checked(isRefused: true, at: start)
    #expect(refused == .none && dead.isRefused(at: start))
    // The answer comes late: it was their client's own fault.
    let answered = key.checked(isRefused: false, at: start)
    #expect(answered == .back && key.condition(at: start) == .usable && key.reason(at: start) == nil)
    #expect(key.unusableUntil(at: start) == nil)
    let third = key.refused(by: mark(3, client: 7), generation: key.pass(at: start), at: start)
    #expect(third == .none)
    // As often as before.
    let other = key.refused(by: mark(4, client: 8), generation: key.pass(at: start), at: start)
    #expect(other == .out && key.unusableUntil(at: start) == start + .seconds(60))
    // Two clients' word is no one's own.
    let late = key.checked(isRefused: false, at: start)
    #expect(late == .none && key.isRefused(at: start))
  }

  @Test func oneClientAloneMakesAKeyUnpaidOnlyWhereOurOwnCallIsNotAnswered() {
    var key = KeyHealth()
    _ = key.unpaid(by: mark(1, client: 7), generation: key.pass(at: start), at: start)
    let second = key.unpaid(by: mark(2, client: 7), generation: key.pass(at: start), at: start)
    #expect(second == .unclear && !key.isOut && key.isDoubted(at: start))
    var silent = key
    let third = silent.unpaid(by: mark(3, client: 7), generation: silent.pass(at: start), at: start)
    #expect(third == .out && silent.isOut)
    let late = silent.checked(isRefused: false, at: start)
    #expect(late == .back && !silent.isOut && silent.condition(at: start) == .cooling)
    var closed = key
    let refused = closed.checked(isRefused: true, at: start)
    #expect(refused == .out && closed.isRefused(at: start))
    _ = key.checked(isRefused: false, at: start)
    let same = key.unpaid(by: mark(4, client: 7), generation: key.pass(at: start), at: start)
    #expect(same == .none && !key.isOut)
    // Other keys go first all the same.
    #expect(key.isDoubted(at: start) && key.condition(at: start) == .cooling)
    let other = key.unpaid(by: mark(5, client: 8), generation: key.pass(at: start), at: start)
    #expect(other == .out && key.isOut)
  }

  @Test func aCheckAloneIsAWarningOnly() {
    var key = KeyHealth()
    let news = key.checked(isRefused: true, at: start)
    let again = key.checked(isRefused: true, at: start)
    #expect(
      news == .doubted && again == .none && key.condition(at: start) == .usable && key.unusableUntil(at: start) == nil)
    let call = key.refused(by: mark(1), generation: key.pass(at: start), at: start)
    #expect(call == .out)
  }

  @Test func aDoubtIsForgottenAfterASuccessOrTenMinutes() {
    var key = KeyHealth()
    _ = key.refused(by: mark(1), generation: key.pass(at: start), at: start)
    _ = key.succeed(generation: key.pass(at: start))
    #expect(!key.isDoubted(at: start))
    let alone = key.refused(by: mark(2), generation: key.pass(at: start), at: start)
    #expect(alone == .doubted)
    let edge = start + KeyHealth.doubtLife
    #expect(!key.isDoubted(at: edge))
    let late = key.refused(by: mark(3), generation: key.pass(at: edge), at: edge)
    #expect(late == .doubted)
  }

  @Test func aRefusedKeyIsProbedAfterOneTwoFourToSixtyMinutes() {
    var key = KeyHealth()
    var now = start
    for minutes in [1, 2, 4, 8, 16, 32, 60, 60] as [Int64] {
      if minutes == 1 {
        out(&key, at: now)
      } else {
        // Out already, one call is enough.
        let news = key.refused(by: mark(9), generation: key.pass(at: now), at: now)
        #expect(news == .out)
      }
      #expect(key.condition(at: now) == .disabled)
      #expect(key.unusableUntil(at: now) == now + .seconds(60 * minutes))
      now = now + .seconds(60 * minutes)
      #expect(key.unusableUntil(at: now) == nil && !key.isRefused(at: now))
    }
    let probe = key.pass(at: now)
    #expect(key.unusableUntil(at: now) == .distantFuture && key.isRefused(at: now))
    let back = key.succeed(generation: probe)
    #expect(back)
    #expect(key.condition(at: now) == .usable)
    #expect(!key.isOut)
  }

  @Test func anUnpaidKeyRestsTenMinutesOnceTwoRequestsSaySo() {
    var key = KeyHealth()
    let first = key.unpaid(by: mark(1), generation: key.pass(at: start), at: start)
    #expect(first == .doubted && key.condition(at: start) == .cooling && !key.isOut)
    #expect(key.until(at: start) == start + .seconds(600))
    // A free list of models tells nothing about money, nor does a refusal of another sort confirm it.
    _ = key.checked(isRefused: false, at: start)
    #expect(key.isDoubted(at: start))
    let second = key.unpaid(by: mark(2), generation: key.pass(at: start), at: start)
    #expect(second == .out && key.condition(at: start) == .cooling && key.isOut)
    #expect(key.unusableUntil(at: start) == start + .seconds(600))
  }

  @Test func refusalsOfDifferentSortsDoNotConfirmEachOther() {
    var key = KeyHealth()
    _ = key.unpaid(by: mark(1), generation: key.pass(at: start), at: start)
    let other = key.refused(by: mark(2), generation: key.pass(at: start), at: start)
    #expect(other == .doubted && !key.isOut)
  }

  @Test func anOldWordSaysNothingOfANewSecret() {
    var key = KeyHealth()
    let old = key.pass(at: start)
    key.enable()
    let first = key.refused(by: mark(1), generation: old, at: start)
    let second = key.refused(by: mark(2), generation: old, at: start)
    #expect(first == .none && second == .none && key.condition(at: start) == .usable)
  }

  @Test func aThrottledKeyCoolsAsTold() {
    var key = KeyHealth()
    _ = key.throttled(until: start + .seconds(3), generation: key.pass(at: start))
    #expect(key.condition(at: start) == .cooling)
    #expect(!key.isOut)
    #expect(key.earliestRecovery(at: start) == start + .seconds(3))
    #expect(key.unusableUntil(at: start + .seconds(3)) == nil)
  }

  @Test func whatTheOperatorDisabledStaysSo() {
    var key = KeyHealth()
    let running = key.pass(at: start)
    key.disable()
    let back = key.succeed(generation: running)
    #expect(!back)
    #expect(key.unusableUntil(at: start + .seconds(1_000_000)) == .distantFuture)
    key.enable()
    #expect(key.unusableUntil(at: start) == nil)
  }
}
