// Work that is charged when its end is read: once, for what is new, bounded, and the same after a restart.
import AdmissionCore
import LedgerVocabulary
import Testing

@testable import BrokerEngine

@Suite struct WorkBookTests {
  private func usage(_ input: TokenCount, _ output: TokenCount) -> Usage {
    Usage(inputTokens: input, cacheReadTokens: 1, outputTokens: output)
  }
  private func work(_ id: String, at provider: String = "sim") -> WorkBook.Name {
    WorkBook.Name(provider: provider, id: id)
  }
  private func dollars(_ nano: Int64) -> Money { Money(nanodollars: nano) }

  @Test func theSameEndIsChargedOnce() {
    var book = WorkBook()
    book.began(work("resp_1"), model: "m")
    #expect(book.model(of: work("resp_1")) == "m" && book.knows(work("resp_1")) && !book.knows(work("resp_2")))
    let first = book.show(work("resp_1"), usage(121, 400), cacheWriteHour: 3, cost: dollars(50))
    #expect(first == WorkBook.Charge(usage: usage(121, 400), cacheWriteHour: 3, cost: dollars(50)))
    for _ in 0..<3 {
      #expect(book.show(work("resp_1"), usage(121, 400), cacheWriteHour: 3, cost: dollars(50)) == nil)
    }
  }

  @Test func aReadingThatBrokeOffIsChargedAndTheNextOneForTheRest() {
    var book = WorkBook()
    _ = book.show(work("b"), usage(100, 10), cacheWriteHour: 0, cost: dollars(7))
    let rest = book.show(work("b"), usage(150, 10), cacheWriteHour: 0, cost: dollars(9))
    #expect(rest?.usage == Usage(inputTokens: 50) && rest?.cost == dollars(2))
    // One that broke off earlier than an earlier one costs nothing.
    #expect(book.show(work("b"), usage(20, 2), cacheWriteHour: 0, cost: dollars(1)) == nil)
  }

  @Test func workThatIsBegunAnewIsChargedAnew() {
    var book = WorkBook()
    book.began(work("r"), model: "m")
    _ = book.show(work("r"), usage(1, 1), cacheWriteHour: 0, cost: dollars(1))
    book.began(work("r"), model: "n")
    #expect(book.show(work("r"), usage(1, 1), cacheWriteHour: 0, cost: dollars(1))?.cost == dollars(1))
  }

  @Test func aBatchAndItsFileAreOneThing() {
    var book = WorkBook()
    book.began(work("batch_1"), model: "m")
    book.link(file: "file-1", to: work("batch_1"))
    #expect(book.model(of: work("file-1")) == "m")
    #expect(book.show(work("batch_1"), usage(9, 9), cacheWriteHour: 0, cost: dollars(5)) != nil)
    #expect(book.show(work("file-1"), usage(9, 9), cacheWriteHour: 0, cost: dollars(5)) == nil)
    // The file first, before it is known whose it is.
    #expect(book.show(work("file-2"), usage(4, 4), cacheWriteHour: 0, cost: dollars(3)) != nil)
    book.link(file: "file-2", to: work("batch_2"))
    #expect(book.show(work("batch_2"), usage(4, 4), cacheWriteHour: 0, cost: dollars(3)) == nil)
    #expect(book.show(work("file-2"), usage(4, 4), cacheWriteHour: 0, cost: dollars(3)) == nil)
  }

  @Test func twoProvidersMayGiveTheSameID() {
    var book = WorkBook()
    book.began(work("batch_1", at: "a"), model: "m")
    #expect(book.show(work("batch_1", at: "a"), usage(9, 9), cacheWriteHour: 0, cost: dollars(5))?.cost == dollars(5))
    #expect(!book.knows(work("batch_1", at: "b")))
    #expect(book.show(work("batch_1", at: "b"), usage(9, 9), cacheWriteHour: 0, cost: dollars(5))?.cost == dollars(5))
    book.began(work("batch_1", at: "c"), model: "n")
    // Where nobody knows who will be asked, it is the one of which was spoken last.
    #expect(book.model(of: "batch_1", at: ["a", "b", "c"]) == "n")
    #expect(book.model(of: "batch_1", at: ["a", "b"]) == "m")
    #expect(book.model(of: "batch_1", at: ["b"]) == nil && book.model(of: "batch_2", at: ["a"]) == nil)
  }

  @Test func anUnknownPriceIsChargedOnceToo() {
    var book = WorkBook()
    #expect(book.show(work("b"), usage(5, 5), cacheWriteHour: 0, cost: nil)?.cost == nil)
    #expect(book.show(work("b"), usage(5, 5), cacheWriteHour: 0, cost: nil) == nil)
  }

  @Test(arguments: [1, 7, 8, 9, 100]) func itIsBoundedAndForgetsTheOldest(_ extra: Int) {
    var book = WorkBook(most: 64)
    for index in 0..<(64 + extra) { book.began(work("r\(index)"), model: "m") }
    #expect(book.count <= 64 && book.count >= 56)
    #expect(book.knows(work("r\(63 + extra)")) && !book.knows(work("r0")))
  }

  @Test func oneThatIsNamedAgainAndAgainDoesNotGrow() {
    var book = WorkBook(most: 64)
    book.began(work("old"), model: "m")
    for index in 0..<10_000 {
      _ = book.show(work("b"), Usage(inputTokens: TokenCount(index + 1)), cacheWriteHour: 0, cost: nil)
    }
    #expect(book.count == 2 && book.knows(work("old")))
  }

  @Test func whatItKnowsSurvives() {
    var memos: [LedgerMemo] = []
    var book = WorkBook()
    book.keep = { memos.append($0) }
    book.began(work("resp_1"), model: "a model with blanks")
    book.link(file: "file-1", to: work("resp_1"))
    _ = book.show(work("resp_1"), usage(12, 34), cacheWriteHour: 5, cost: dollars(56))
    var next = WorkBook()
    next.restore(memos)
    #expect(next.model(of: work("file-1")) == "a model with blanks")
    #expect(next.show(work("file-1"), usage(12, 34), cacheWriteHour: 5, cost: dollars(56)) == nil)
    #expect(next.show(work("resp_1"), usage(13, 34), cacheWriteHour: 5, cost: dollars(57))?.cost == dollars(1))
  }

  @Test(arguments: ["", " ", "1 2 3", "a b c d e f g h i", "-1 0 0 0 0 0 0  m", "99999999999999999999 0 0 0 0 0 0  m"])
  func aMemoThatIsNoneIsPassedOver(_ text: String) {
    var book = WorkBook()
    book.restore([LedgerMemo(kind: .work, name: "sim x", value: text)])
    #expect(book.count == 0)
    book.restore([LedgerMemo(kind: .work, name: "no-provider", value: "0 0 0 0 0 0 0  m")])
    #expect(book.count == 0)
  }
}
