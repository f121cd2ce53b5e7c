// The queue of messages, event by event: what is due when, what is tried again, what is dropped.
import PolicyFile
import Testing

@testable import Courier

@Suite struct DeliveryQueueTests {
  private static let second: UInt64 = 1_000_000_000
  private static let all = Set(WebhookEvent.allCases)

  private static func news(_ subject: String = "openai", _ event: WebhookEvent = .breaker, state: String = "open")
    -> WebhookNews
  {
    WebhookNews(event: event, at: 5, subject: subject, state: state, text: "breaker of \(subject) is \(state)")
  }

  private static func queue(
    _ hooks: [String] = ["a"], change: (inout DeliveryLimits) -> Void = { _ in }
  ) -> DeliveryQueue {
    var limits = DeliveryLimits()
    change(&limits)
    var queue = DeliveryQueue(limits)
    queue.replaceHooks(hooks.map { ($0, all) })
    return queue
  }

  private static func refuse(
    _ queue: inout DeliveryQueue, _ delivery: WebhookDelivery, at now: UInt64, share: Double = 0
  ) {
    queue.ended(delivery, .failed("refused"), now: now, share: share)
  }

  @Test func whatIsAcceptedIsDone() {
    var queue = Self.queue(["a", "b"])
    queue.add(Self.news(), id: "1", now: 10)
    #expect(queue.nextDue() == 10)
    let taken = queue.take(now: 10)
    #expect(taken.map(\.url) == ["a", "b"] && taken.allSatisfy { $0.attempt == 1 && $0.id == "1" })
    #expect(queue.take(now: 10).isEmpty && queue.nextDue() == nil && !queue.isEmpty)
    for delivery in taken { queue.ended(delivery, .status(204, retryAfter: nil), now: 20, share: 0) }
    #expect(queue.isEmpty && queue.totals.delivered == 2 && queue.counts("a").delivered == 1)
    #expect(queue.records.map(\.result) == [.delivered, .delivered] && queue.records[0].status == 204)
    // An answer that comes twice changes nothing.
    queue.ended(taken[0], .failed("late"), now: 30, share: 0)
    #expect(queue.totals.failed == 0)
  }

  @Test func eachWebhookIsToldWhatItWants() {
    var queue = DeliveryQueue()
    queue.replaceHooks([("a", [.key]), ("b", [.key, .outage]), ("c", [.budget])])
    queue.add(Self.news("openai/main", .key), id: "1", now: 0)
    queue.add(Self.news("openai", .outage), id: "2", now: 0)
    #expect(queue.take(now: 0).map { $0.url + $0.id } == ["a1", "b1", "b2"])
    #expect(queue.waiting("c") == 0)
  }

  @Test func pausesDoubleUpToTheLongestAndEndAfterAnHour() throws {
    for share in [0, 0.999_999] {
      var queue = Self.queue()
      queue.add(Self.news(), id: "1", now: 0)
      var now: UInt64 = 0
      var pauses: [UInt64] = []
      while let due = queue.nextDue() {
        #expect(due == 0 || queue.take(now: due - 1).isEmpty)
        pauses.append((due - now) / Self.second)
        now = due
        let delivery = try #require(queue.take(now: now).first)
        #expect(delivery.attempt == pauses.count)
        Self.refuse(&queue, delivery, at: now, share: share)
      }
      #expect(now == 3_600 * Self.second)
      #expect(queue.totals.failed == 1 && queue.isEmpty && queue.records[0].result == .failed)
      #expect(queue.records[0].error == "refused" && queue.records[0].attempts == pauses.count)
      if share == 0 {
        #expect(pauses.prefix(12) == [0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300])
      } else {
        #expect(pauses.prefix(10) == [0, 0, 1, 3, 7, 15, 31, 63, 127, 255])
        #expect((pauses.dropLast().max() ?? 0) <= 600)
      }
    }
  }

  @Test func aReceiverMayAskForALongerPauseButNotBeyondTheHour() {
    var queue = Self.queue()
    queue.add(Self.news(), id: "1", now: 0)
    queue.ended(queue.take(now: 0)[0], .status(429, retryAfter: 90 * Self.second), now: 7, share: 0)
    #expect(queue.nextDue() == 90 * Self.second + 7)
    #expect(queue.records[0].status == 429 && queue.records[0].next == 90 * Self.second + 7)
    queue.ended(
      queue.take(now: 100 * Self.second)[0], .status(503, retryAfter: 86_400 * Self.second), now: 100 * Self.second,
      share: 0)
    #expect(queue.nextDue() == 3_600 * Self.second)
    // A shorter one does not shorten ours.
    queue.add(Self.news("other"), id: "2", now: 200 * Self.second)
    queue.ended(
      queue.take(now: 200 * Self.second)[0], .status(500, retryAfter: 0), now: 200 * Self.second, share: 0)
    #expect(queue.nextDue() == 200 * Self.second + Self.second / 2)
  }

  @Test(arguments: [301, 302, 307, 308, 410]) func whatCannotGetBetterIsNotTriedAgain(status: Int) {
    var queue = Self.queue()
    queue.add(Self.news(), id: "1", now: 0)
    queue.ended(queue.take(now: 0)[0], .status(status, retryAfter: nil), now: 0, share: 0)
    #expect(queue.isEmpty && queue.counts("a").failed == 1)
    #expect(queue.records[0].error == "the receiver answered \(status)")
  }

  @Test(arguments: [400, 401, 404, 408, 429, 500, 503]) func whatCanGetBetterIsTriedAgain(status: Int) {
    var queue = Self.queue()
    queue.add(Self.news(), id: "1", now: 0)
    queue.ended(queue.take(now: 0)[0], .status(status, retryAfter: nil), now: 0, share: 0)
    #expect(queue.nextDue() == Self.second / 2 && queue.totals == DeliveryCounts())
  }

  /// A later message about the same subject waits for the earlier one, and others pass it.
  @Test func ofOneSubjectTheOrderStays() {
    var queue = Self.queue()
    queue.add(Self.news(state: "open"), id: "1", now: 0)
    queue.add(Self.news(state: "closed"), id: "2", now: 0)
    queue.add(Self.news("openai", .outage), id: "3", now: 0)
    queue.add(Self.news("anthropic"), id: "4", now: 0)
    let first = queue.take(now: 0)
    #expect(first.map(\.id) == ["1", "3", "4"])
    Self.refuse(&queue, first[0], at: 0)
    queue.ended(first[1], .status(200, retryAfter: nil), now: 0, share: 0)
    #expect(queue.take(now: Self.second / 4).isEmpty)
    let again = queue.take(now: Self.second)
    #expect(again.map(\.id) == ["1"] && again[0].attempt == 2)
    queue.ended(again[0], .status(200, retryAfter: nil), now: Self.second, share: 0)
    #expect(queue.nextDue() == 0)
    #expect(queue.take(now: Self.second).map(\.id) == ["2"])
  }

  @Test func oneThatHangsTakesOnlyItsOwnPlaces() {
    var queue = Self.queue(["slow", "quick"]) { $0.mostSending = 2 }
    for number in 0..<5 { queue.add(Self.news("s\(number)"), id: "\(number)", now: 0) }
    let first = queue.take(now: 0)
    #expect(first.map(\.url) == ["slow", "slow", "quick", "quick"])
    for delivery in first where delivery.url == "quick" {
      queue.ended(delivery, .status(200, retryAfter: nil), now: 1, share: 0)
    }
    #expect(queue.take(now: 1).map { $0.url + $0.id } == ["quick2", "quick3"])
    #expect(queue.waiting("slow") == 5)
  }

  @Test func anOverflowDropsTheOldestOfItsOwnWebhook() {
    var queue = Self.queue(["a", "b"]) { $0.mostWaiting = 3 }
    queue.add(Self.news("s0"), id: "0", now: 0)
    let sending = queue.take(now: 0)
    queue.ended(sending[1], .status(200, retryAfter: nil), now: 0, share: 0)
    for number in 1...4 {
      queue.add(Self.news("s\(number)"), id: "\(number)", now: 0)
      for delivery in queue.take(now: 0) where delivery.url == "b" {
        queue.ended(delivery, .status(200, retryAfter: nil), now: 0, share: 0)
      }
    }
    #expect(queue.waiting("a") <= 4 && queue.counts("b").dropped == 0 && queue.counts("b").delivered == 5)
    var full = Self.queue { $0.mostWaiting = 2 }
    for number in 1...4 { full.add(Self.news("s\(number)"), id: "\(number)", now: 0) }
    #expect(full.take(now: 0).map(\.id) == ["3", "4"] && full.totals.dropped == 2)
    #expect(full.records.map(\.result) == [.dropped, .dropped, .waiting, .waiting])
    #expect(full.records[0].error == "too many messages waited")
    var heavy = Self.queue { $0.mostBytes = 3_000 }
    for number in 1...9 {
      heavy.add(Self.news("s\(number)" + String(repeating: "x", count: 500)), id: "\(number)", now: 0)
    }
    #expect((1...3).contains(heavy.waiting("a")) && heavy.totals.dropped == 9 - heavy.waiting("a"))
  }

  @Test func aReloadKeepsWhatWaitsForThoseThatStay() {
    var queue = Self.queue(["a", "b"])
    queue.add(Self.news(), id: "1", now: 0)
    queue.add(Self.news("anthropic"), id: "2", now: 0)
    let sending = queue.take(now: 0)
    queue.replaceHooks([("c", [.key]), ("b", [.outage])])
    #expect(queue.waiting("a") == 0 && queue.waiting("b") == 2 && queue.totals.dropped == 2)
    // Its answer comes too late.
    queue.ended(sending[0], .status(200, retryAfter: nil), now: 1, share: 0)
    #expect(queue.totals.delivered == 0)
    for delivery in sending where delivery.url == "b" {
      queue.ended(delivery, .status(200, retryAfter: nil), now: 1, share: 0)
    }
    #expect(queue.totals.delivered == 2 && queue.isEmpty)
    queue.add(Self.news("openai/main", .key), id: "3", now: 2)
    #expect(queue.take(now: 2).map(\.url) == ["c"])
  }

  @Test func atTheEndEverythingIsTriedOnceMore() {
    var queue = Self.queue()
    for number in 1...3 { queue.add(Self.news(state: "\(number)"), id: "\(number)", now: 0) }
    Self.refuse(&queue, queue.take(now: 0)[0], at: 0)
    queue.end(now: 5)
    for id in ["1", "2", "3"] {
      let taken = queue.take(now: 5)
      #expect(taken.map(\.id) == [id])
      Self.refuse(&queue, taken[0], at: 5)
    }
    #expect(queue.isEmpty && queue.totals.failed == 3 && queue.nextDue() == nil)
  }

  @Test func theListOfDeliveriesIsBounded() {
    var queue = Self.queue { $0.mostRecords = 5 }
    for number in 1...9 { queue.add(Self.news("s\(number)"), id: "\(number)", now: 0) }
    #expect(queue.records.map(\.id) == ["5", "6", "7", "8", "9"])
    // What is no longer in the list is delivered all the same.
    for delivery in queue.take(now: 0) { queue.ended(delivery, .status(200, retryAfter: nil), now: 0, share: 0) }
    #expect(queue.totals.delivered == 4)
  }

  /// Any order of events: nothing is sent twice at a time, nothing is lost uncounted.
  @Test(arguments: [1, 2, 3] as [UInt64]) func everyMessageEndsOnce(seed: UInt64) {
    var state = seed
    func roll(_ most: UInt64) -> UInt64 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return (state >> 33) % most
    }
    var queue = Self.queue(["a", "b", "c"]) {
      $0.mostWaiting = 20
      $0.mostRecords = 10_000
      $0.patience = 100 * Self.second
    }
    var sending: [WebhookDelivery] = []
    var now: UInt64 = 0
    for number in 0..<3_000 {
      now += roll(20) * Self.second
      if roll(3) == 0 { queue.add(Self.news("s\(roll(6))"), id: "\(number)", now: now) }
      for delivery in queue.take(now: now) {
        let isAlone = !sending.contains {
          $0.url == delivery.url && ($0.id == delivery.id || $0.news.subject == delivery.news.subject)
        }
        #expect(isAlone)
        sending.append(delivery)
      }
      if !sending.isEmpty, roll(2) == 0 {
        let delivery = sending.remove(at: Int(roll(UInt64(sending.count))))
        let answers: [DeliveryAnswer] = [
          .status(200, retryAfter: nil), .status(500, retryAfter: nil), .status(429, retryAfter: 60 * Self.second),
          .failed("gone"),
        ]
        queue.ended(delivery, answers[min(3, Int(roll(20)))], now: now, share: Double(roll(1_000)) / 1_000)
      }
      if roll(500) == 0 {
        queue.replaceHooks([("a", Self.all), ("b", Self.all), ("c", Self.all)].filter { _ in roll(9) > 0 })
      }
    }
    let totals = queue.totals
    let waiting = ["a", "b", "c"].reduce(0) { $0 + queue.waiting($1) }
    #expect(queue.records.count == totals.delivered + totals.failed + totals.dropped + waiting)
    #expect(queue.records.count { $0.result == .waiting } == waiting)
    #expect(totals.delivered > 50 && totals.failed > 0)
  }
}

@Suite struct SlackTextTests {
  @Test(arguments: [
    ("budget a/day is used up", "budget a/day is used up"), ("<!channel> & co", "&lt;!channel&gt; &amp; co"),
    ("@all [pay](https://x.example)", "@\u{200B}all [\u{200B}pay]\u{200B}(https:\u{200B}//x.example)"),
    ("*a* `b` ~c~ d_e #f", "*\u{200B}a*\u{200B} `\u{200B}b`\u{200B} ~\u{200B}c~\u{200B} d_e #f"),
    ("a:b c:/d", "a:b c:\u{200B}/d"),
  ])
  func aNameMentionsNobodyAndLinksNowhere(_ text: String, _ escaped: String) {
    #expect(WebhookNews.escapedForSlack(text) == escaped)
  }
}
