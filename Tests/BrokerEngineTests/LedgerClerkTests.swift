// Nothing is sent before its hold is safe, and no client has its last byte before the request's end is.
import AdmissionCore
import EventLoop
import Foundation
import HTTPMessage
import PolicyFile
import Pricing
import Testing

@testable import BrokerEngine

private let answer = #"{"id":"1","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}"#
/// $2 and $10 per 1M tokens.
private let prices = PriceList(
  version: "v7", entries: [ModelPrice(models: "m", rates: PriceRates(input: 2_000_000, output: 10_000_000))])

@Suite struct LedgerClerkTests {
  @Test func nothingIsSentBeforeItsHoldIsSafe() {
    let ledger = FakeLedger()
    let rig = Rig(ledger: ledger, prices: prices)
    rig.send(fields: [("x-tollgate-session", "s1")])
    #expect(rig.upstream.calls.isEmpty)
    #expect(ledger.holds.count == 1)
    #expect(ledger.holds.first?.provider == "sim" && ledger.holds.first?.key == "main")
    #expect(ledger.holds.first?.session == "s1" && ledger.holds.first?.model == "m")
    #expect(ledger.holds.first?.priceVersion == "v7")
    ledger.commit()
    #expect(rig.upstream.calls.count == 1)
  }

  @Test func theClientHasItsLastByteWhenTheEndIsSafe() {
    let ledger = FakeLedger()
    let rig = Rig(ledger: ledger, prices: prices)
    let client = rig.send()
    ledger.commit()
    rig.upstream.last?.respond(200, [("content-type", "application/json")], [answer])
    #expect(!client.isFinished)
    // The place is free all the same.
    #expect(rig.broker.operator.snapshot().running == 0)
    #expect(ledger.settlements.map(\.cost) == [Money(nanodollars: 44_000)])
    #expect(ledger.settlements.first?.costSource == .prices)
    #expect(ledger.settlements.first?.usage.inputTokens == 7)
    #expect(ledger.conclusions.map(\.outcome) == [.completed])
    ledger.commit()
    #expect(client.isFinished && client.text == answer)
    #expect(rig.ended.first?.cost?.text == "0.000044000")
  }

  @Test func theEntriesOfATurnAreHandedOverTogether() throws {
    let loop = try TestLoop()
    let ledger = FakeLedger()
    ledger.isSafeAtOnce = true
    let rig = Rig(ledger: ledger, loop: loop.loop)
    let clients = (1...3).map { _ in rig.send() }
    #expect(rig.upstream.calls.isEmpty && ledger.handOvers.isEmpty)
    loop.loop.turn(waiting: false)
    #expect(rig.upstream.calls.count == 3 && ledger.handOvers == [3])
    for call in rig.upstream.calls { call.respond(200, [("content-type", "application/json")], [answer]) }
    #expect(clients.allSatisfy { !$0.isFinished })
    loop.loop.turn(waiting: false)
    // The end of an attempt and that of its request are one entry.
    #expect(ledger.handOvers == [3, 6])
    #expect(clients.allSatisfy { $0.isFinished && $0.text == answer })
    #expect(rig.broker.operator.requests.isIdle && rig.broker.services.dispatcher.isIdle)
    loop.loop.turn(waiting: false)
    #expect(ledger.handOvers == [3, 6])
  }

  @Test func theFirstOfABurstDoesNotWaitForTheDecisionOfTheLast() throws {
    let loop = try TestLoop()
    let ledger = FakeLedger()
    ledger.isSafeAtOnce = true
    let rig = Rig(ledger: ledger, loop: loop.loop)
    var ends: [Int32] = [-1, -1]
    try #require(pipe(&ends) == 0)
    defer { ends.forEach { close($0) } }
    try #require(write(ends[1], [1], 1) == 1)
    // What was sent when each call of the burst arrived, each on a descriptor of its own.
    var sent: [Int] = []
    var watches: [DescriptorWatch] = []
    var copies: [Int32] = []
    defer { copies.forEach { close($0) } }
    for number in 0..<20 {
      let copy = dup(ends[0])
      try #require(copy >= 0)
      copies.append(copy)
      let watch = try DescriptorWatch(loop.loop, descriptor: copy) { _ in
        watches[number].wait(for: [])
        sent.append(rig.upstream.calls.count)
        rig.send()
      }
      watch.wait(for: .readable)
      watches.append(watch)
    }
    loop.loop.turn(waiting: true)
    #expect(sent == [0, 0, 0, 0] + Array(repeating: 4, count: 8) + Array(repeating: 12, count: 8))
    // Journal first, then the call: as many were sent as were handed over.
    #expect(ledger.handOvers == [4, 12, 20] && rig.upstream.calls.count == 20)
    for call in rig.upstream.calls { call.respond(200, [("content-type", "application/json")], [answer]) }
    loop.loop.turn(waiting: false)
    #expect(ledger.handOvers == [4, 12, 20, 40])
    watches.forEach { $0.close() }
  }

  /// What an entry is of, in one word.
  private func kinds(_ ledger: FakeLedger) -> [String] {
    ledger.entries.map { entry in
      switch entry {
      case .held(let hold): "held \(hold.attempt)"
      case .settled(let end): "settled \(end.attempt)"
      case .concluded: "concluded"
      case .finished(let end, let attempt):
        end.ended == attempt.at && end.attempts == attempt.attempt && end.request == attempt.request
          ? "finished \(attempt.attempt)" : "two ends that do not fit"
      case .changed: "changed"
      case .remembered: "remembered"
      }
    }
  }

  @Test func anEndThatAnotherAttemptFollowsIsAnEntryOfItsOwn() throws {
    let ledger = FakeLedger()
    let rig = Rig(ledger: ledger, prices: prices)
    let client = rig.send()
    ledger.commit()
    rig.upstream.last?.respond(503, [], [])
    rig.advance(.seconds(60))
    ledger.commit()
    #expect(kinds(ledger) == ["held 1", "settled 1", "held 2"])
    rig.upstream.last?.respond(200, [("content-type", "application/json")], [answer])
    #expect(kinds(ledger) == ["held 1", "settled 1", "held 2", "finished 2"])
    ledger.commit()
    #expect(client.isFinished && client.text == answer)
  }

  @Test func anEndThatNothingFollowsIsHandedOverInItsTurn() {
    let ledger = FakeLedger()
    let rig = Rig(ledger: ledger)
    let client = rig.send()
    ledger.commit()
    rig.upstream.last?.respond(503, [], [])
    // Its request waits for another attempt.
    #expect(kinds(ledger) == ["held 1"])
    rig.broker.services.clerk.handOver()
    #expect(kinds(ledger) == ["held 1", "settled 1"] && ledger.handOvers == [2])
    rig.leave(client)
    #expect(kinds(ledger) == ["held 1", "settled 1", "concluded"])
  }

  @Test func whatIsAppendedAtTheEndOfATurnIsHandedOverInTheSameGo() throws {
    let loop = try TestLoop()
    let ledger = FakeLedger()
    ledger.isSafeAtOnce = true
    let rig = Rig(ledger: ledger, loop: loop.loop) { $0.providers[0].retry.attempts = 1 }
    // Its hold is safe, and then there is no secret to send it with: its end is appended while the hold is let go.
    let rules = rig.broker.services.rules
    rules.replace(with: BrokerRules(policy: rules.now.policy, secrets: KeySecrets(), prices: rules.now.prices))
    rig.send()
    loop.loop.turn(waiting: false)
    #expect(rig.upstream.calls.isEmpty && ledger.settlements.map(\.verdict) == [.ownFault])
    #expect(ledger.conclusions.map(\.outcome) == [.failedUpstream])
    #expect(ledger.handOvers == [1, 2])
  }

  @Test func aStreamsLastWordWaitsAndTheRestDoesNot() throws {
    let loop = try TestLoop()
    let ledger = FakeLedger()
    let rig = Rig(ledger: ledger, loop: loop.loop)
    let client = rig.send(body: #"{"model":"m","stream":true,"messages":[]}"#)
    ledger.commit()
    let call = try #require(rig.upstream.last)
    call.respond(200, [("content-type", "text/event-stream")], ["data: {\"choices\":[]}\n\n"], ends: false)
    #expect(client.text == "data: {\"choices\":[]}\n\n")
    call.events.upstreamReceived(Array("data: [DONE]\n\n".utf8)[...])
    call.events.upstreamEnded(.completed)
    loop.loop.turn(waiting: false)
    #expect(client.text == "data: {\"choices\":[]}\n\n" && !client.isFinished)
    ledger.commit()
    #expect(client.text == "data: {\"choices\":[]}\n\ndata: [DONE]\n\n" && client.isFinished)
  }

  @Test func aStreamThatIsOverEndsEvenIfItsProviderLeavesItOpen() throws {
    let loop = try TestLoop()
    let rig = Rig(loop: loop.loop)
    let client = rig.send(body: #"{"model":"m","stream":true,"messages":[]}"#)
    let call = try #require(rig.upstream.last)
    call.respond(200, [("content-type", "text/event-stream")], ["data: [DONE]\n\n"], ends: false)
    #expect(!client.isFinished)
    while !client.isFinished { loop.loop.turn(waiting: true) }
    #expect(client.text == "data: [DONE]\n\n")
    #expect(call.isCancelled)
    #expect(rig.ended.map(\.outcome) == [.completed])
  }

  @Test func aShortAnswerLeavesInOnePiece() throws {
    let loop = try TestLoop()
    let ledger = FakeLedger()
    let rig = Rig(ledger: ledger, prices: prices, loop: loop.loop)
    let client = rig.send()
    ledger.commit()
    rig.upstream.last?.respond(
      200, [("content-type", "application/json"), ("content-length", String(answer.utf8.count))], [answer])
    loop.loop.turn(waiting: false)
    #expect(client.answer == nil)
    ledger.commit()
    #expect(client.text == answer && client.isFinished)
    // There is no trailer behind a body of known length in HTTP/1.1.
    #expect(client.field("x-tollgate-cost-usd") == "0.000044000")
    #expect(client.trailers == nil)
  }

  @Test func theLastByteOfAKnownLengthWaits() throws {
    let loop = try TestLoop()
    let ledger = FakeLedger()
    let rig = Rig(ledger: ledger, loop: loop.loop)
    let client = rig.send()
    ledger.commit()
    let call = try #require(rig.upstream.last)
    call.respond(200, [("content-type", "application/json"), ("content-length", "4")], ["ab"], ends: false)
    loop.loop.turn(waiting: false)
    #expect(client.text == "ab")
    call.events.upstreamReceived(Array("cd".utf8)[...])
    loop.loop.turn(waiting: false)
    #expect(client.text == "ab")
    call.events.upstreamEnded(.completed)
    #expect(client.text == "ab")
    ledger.commit()
    #expect(client.text == "abcd" && client.isFinished)
  }

  @Test func costIsATrailerInHTTP2() {
    let rig = Rig(prices: prices)
    let client = rig.send(version: .http2)
    rig.upstream.last?.respond(200, [("content-type", "application/json")], [answer])
    #expect(client.trailers?.first("x-tollgate-cost-usd") == "0.000044000")
    #expect(client.field("x-tollgate-cost-usd") == nil)
  }

  @Test func anUnknownPriceIsSaidToBeUnknown() {
    let ledger = FakeLedger()
    let rig = Rig(ledger: ledger)
    let client = rig.send(version: .http2)
    ledger.commit()
    rig.upstream.last?.respond(200, [("content-type", "application/json")], [answer])
    ledger.commit()
    #expect(ledger.settlements.map(\.costSource) == [.unknown])
    #expect(ledger.settlements.map(\.cost) == [nil])
    #expect(client.trailers == nil && rig.ended.first?.cost == nil)
  }

  @Test func anUnknownPriceMayBeRefused() {
    let rig = Rig { $0.unknownPrice = .reject }
    let client = rig.send()
    #expect(client.answer?.status == 404)
    #expect(client.text.contains("has no price"))
    #expect(rig.upstream.calls.isEmpty)
  }

  @Test func aClientThatLeavesBeforeTheHoldIsSafeIsNeverSent() {
    let ledger = FakeLedger()
    let rig = Rig(ledger: ledger)
    let client = rig.send()
    rig.leave(client)
    ledger.commit()
    #expect(rig.upstream.calls.isEmpty)
    #expect(ledger.settlements.map(\.wasSent) == [false])
    #expect(ledger.settlements.map(\.cost) == [.zero])
    #expect(ledger.conclusions.map(\.outcome) == [.clientLeftRunning])
    #expect(rig.broker.operator.snapshot().running == 0)
  }

  @Test func aClientThatLeavesAfterTheEndGetsNothingMore() {
    let ledger = FakeLedger()
    let rig = Rig(ledger: ledger)
    let client = rig.send()
    ledger.commit()
    rig.upstream.last?.respond(200, [("content-type", "application/json")], [answer])
    rig.leave(client)
    ledger.commit()
    #expect(!client.isFinished)
    #expect(ledger.conclusions.map(\.outcome) == [.completed])
  }

  @Test func refusalsAreBookedTooBeforeTheyAreSaid() {
    let ledger = FakeLedger()
    let rig = Rig(ledger: ledger)
    let client = rig.send(body: "{")
    #expect(client.answer == nil)
    #expect(ledger.conclusions.map(\.outcome) == [.rejectedMalformed])
    ledger.commit()
    #expect(client.answer?.status == 400)
  }

  @Test func aRetryHasAHoldOfItsOwn() {
    let ledger = FakeLedger()
    let rig = Rig(ledger: ledger)
    let client = rig.send()
    ledger.commit()
    rig.upstream.last?.respond(503, [], ["busy"])
    rig.advance(.seconds(30))
    ledger.commit()
    rig.upstream.last?.respond(200, [("content-type", "application/json")], [answer])
    ledger.commit()
    #expect(client.isFinished)
    #expect(ledger.holds.map(\.attempt) == [1, 2])
    #expect(ledger.settlements.map(\.verdict) == [.failed, .success])
    #expect(ledger.conclusions.map(\.attempts) == [2])
  }

  @Test func aLedgerInTroubleTakesNoNewWorkAndFinishesWhatRuns() {
    let ledger = FakeLedger()
    let rig = Rig(ledger: ledger) { $0.providers[0].limits.concurrency = 2 }
    let running = rig.send()
    ledger.commit()
    let ending = rig.send()
    ledger.commit()
    rig.upstream.last?.respond(200, [("content-type", "application/json")], [answer])
    let unsent = rig.send()
    #expect(!ending.isFinished && rig.upstream.calls.count == 2)
    ledger.obstacle = "the disk is full"
    // What was sent is finished, what was not is refused.
    #expect(ending.isFinished && ending.answer?.status == 200)
    #expect(unsent.answer?.status == 503)
    #expect(unsent.field("x-tollgate-outcome") == "rejected_no_capacity")
    #expect(unsent.text.contains("the disk is full"))
    let late = rig.send()
    #expect(late.answer?.status == 503)
    rig.upstream.calls[0].respond(200, [("content-type", "application/json")], [answer])
    #expect(running.isFinished && running.answer?.status == 200)
    #expect(rig.broker.operator.snapshot().running == 0)
    ledger.obstacle = nil
    let again = rig.send()
    ledger.commit()
    #expect(rig.upstream.calls.count == 3 && !again.isFinished)
    #expect(rig.broker.operator.abandonedLeases == 0)
  }
}
