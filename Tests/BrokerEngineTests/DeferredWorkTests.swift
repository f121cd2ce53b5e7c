// Work that is charged when its end is read: once, for what is new, bounded, and the same after a restart.
import AdmissionCore
import LedgerVocabulary
import Testing

@testable import BrokerEngine

@Suite struct DeferredWorkTests {
  private func usage(_ input: TokenCount, _ output: TokenCount) -> Usage {
    Usage(inputTokens: input, cacheReadTokens: 1, outputTokens: output)
  }
  private func work(_ id: String, at provider: String = "sim") -> DeferredWork.Name {
    DeferredWork.Name(provider: provider, id: id)
  }
  private func dollars(_ nano: Int64) -> Money { Money(nanodollars: nano) }

  @Test func theSameEndIsChargedOnce() {
    var known = DeferredWork()
    known.began(work("resp_1"), model: "m")
    #expect(known.model(of: work("resp_1")) == "m" && known.knows(work("resp_1")) && !known.knows(work("resp_2")))
    let first = known.show(work("resp_1"), usage(121, 400), cacheWriteHour: 3, cost: dollars(50))
    #expect(first == DeferredWork.Charge(usage: usage(121, 400), cacheWriteHour: 3, cost: dollars(50)))
    for _ in 0..<3 {
      #expect(known.show(work("resp_1"), usage(121, 400), cacheWriteHour: 3, cost: dollars(50)) == nil)
    }
  }

  @Test func aReadingThatBrokeOffIsChargedAndTheNextOneForTheRest() {
    var known = DeferredWork()
    _ = known.show(work("b"), usage(100, 10), cacheWriteHour: 0, cost: dollars(7))
    let rest = known.show(work("b"), usage(150, 10), cacheWriteHour: 0, cost: dollars(9))
    #expect(rest?.usage == Usage(inputTokens: 50) && rest?.cost == dollars(2))
    // One that broke off earlier than an earlier one costs nothing.
    #expect(known.show(work("b"), usage(20, 2), cacheWriteHour: 0, cost: dollars(1)) == nil)
  }

  @Test func workThatIsBegunAnewIsChargedAnew() {
    var known = DeferredWork()
    known.began(work("r"), model: "m")
    _ = known.show(work("r"), usage(1, 1), cacheWriteHour: 0, cost: dollars(1))
    known.began(work("r"), model: "n")
    #expect(known.show(work("r"), usage(1, 1), cacheWriteHour: 0, cost: dollars(1))?.cost == dollars(1))
  }

  @Test func aBatchAndItsFileAreOneThing() {
    var known = DeferredWork()
    known.began(work("batch_1"), model: "m")
    known.link(file: "file-1", to: work("batch_1"))
    #expect(known.model(of: work("file-1")) == "m")
    #expect(known.show(work("batch_1"), usage(9, 9), cacheWriteHour: 0, cost: dollars(5)) != nil)
    #expect(known.show(work("file-1"), usage(9, 9), cacheWriteHour: 0, cost: dollars(5)) == nil)
    // The file first, before it is known whose it is.
    #expect(known.show(work("file-2"), usage(4, 4), cacheWriteHour: 0, cost: dollars(3)) != nil)
    known.link(file: "file-2", to: work("batch_2"))
    #expect(known.show(work("batch_2"), usage(4, 4), cacheWriteHour: 0, cost: dollars(3)) == nil)
    #expect(known.show(work("file-2"), usage(4, 4), cacheWriteHour: 0, cost: dollars(3)) == nil)
  }

  @Test func twoProvidersMayGiveTheSameID() {
    var known = DeferredWork()
    known.began(work("batch_1", at: "a"), model: "m")
    #expect(known.show(work("batch_1", at: "a"), usage(9, 9), cacheWriteHour: 0, cost: dollars(5))?.cost == dollars(5))
    #expect(!known.knows(work("batch_1", at: "b")))
    #expect(known.show(work("batch_1", at: "b"), usage(9, 9), cacheWriteHour: 0, cost: dollars(5))?.cost == dollars(5))
    known.began(work("batch_1", at: "c"), model: "n")
    // Where nobody knows who will be asked, it is the one of which was spoken last.
    #expect(known.model(of: "batch_1", at: ["a", "b", "c"]) == "n")
    #expect(known.model(of: "batch_1", at: ["a", "b"]) == "m")
    #expect(known.model(of: "batch_1", at: ["b"]) == nil && known.model(of: "batch_2", at: ["a"]) == nil)
  }

  @Test func anUnknownPriceIsChargedOnceToo() {
    var known = DeferredWork()
    #expect(known.show(work("b"), usage(5, 5), cacheWriteHour: 0, cost: nil)?.cost == nil)
    #expect(known.show(work("b"), usage(5, 5), cacheWriteHour: 0, cost: nil) == nil)
  }

  @Test(arguments: [1, 7, 8, 9, 100]) func itIsBoundedAndForgetsTheOldest(_ extra: Int) {
    var known = DeferredWork(most: 64)
    for index in 0..<(64 + extra) { known.began(work("r\(index)"), model: "m") }
    #expect(known.count <= 64 && known.count >= 56)
    #expect(known.knows(work("r\(63 + extra)")) && !known.knows(work("r0")))
  }

  @Test func oneThatIsNamedAgainAndAgainDoesNotGrow() {
    var known = DeferredWork(most: 64)
    known.began(work("old"), model: "m")
    for index in 0..<10_000 {
      _ = known.show(work("b"), Usage(inputTokens: TokenCount(index + 1)), cacheWriteHour: 0, cost: nil)
    }
    #expect(known.count == 2 && known.knows(work("old")))
  }

  @Test func whatItKnowsSurvives() {
    var memos: [LedgerMemo] = []
    var known = DeferredWork()
    known.keep = { memos.append($0) }
    known.began(work("resp_1"), model: "a model with blanks")
    known.link(file: "file-1", to: work("resp_1"))
    _ = known.show(work("resp_1"), usage(12, 34), cacheWriteHour: 5, cost: dollars(56))
    var next = DeferredWork()
    next.restore(memos)
    #expect(next.model(of: work("file-1")) == "a model with blanks")
    #expect(next.show(work("file-1"), usage(12, 34), cacheWriteHour: 5, cost: dollars(56)) == nil)
    #expect(next.show(work("resp_1"), usage(13, 34), cacheWriteHour: 5, cost: dollars(57))?.cost == dollars(1))
  }

  @Test(arguments: ["", " ", "1 2 3", "a b c d e f g h i", "-1 0 0 0 0 0 0  m", "99999999999999999999 0 0 0 0 0 0  m"])
  func aMemoThatIsNoneIsPassedOver(_ text: String) {
    var known = DeferredWork()
    known.restore([LedgerMemo(kind: .work, name: "sim x", value: text)])
    #expect(known.count == 0)
    known.restore([LedgerMemo(kind: .work, name: "no-provider", value: "0 0 0 0 0 0 0  m")])
    #expect(known.count == 0)
  }
}
