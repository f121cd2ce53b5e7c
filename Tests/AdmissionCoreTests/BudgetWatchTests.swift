// When what is left of an account may decide otherwise for a blocked head than when it was tried.
import Testing

@testable import AdmissionCore

@Suite struct BudgetWatchTests {
  /// Somebody asks for 10 to 20 of an account with so much left; then so much is left.
  @Test(arguments: [
    (100, 50, false), (100, 20, false), (100, 19, true), (100, 5, true), (15, 14, true), (5, 9, false), (5, 10, true),
    (15, 15, false), (21, 20, false), (20, 19, true),
  ])
  func isCrossedWhereItMayMatter(before: Int64, after: Int64, isCrossed: Bool) {
    var watch = BudgetWatch()
    watch.note(1, least: 10, most: 20, left: before)
    let crossed = watch.isCrossed(1, left: after)
    #expect(crossed == isCrossed)
  }

  @Test func goesOnFromWhatWasLeftLast() {
    var watch = BudgetWatch()
    #expect(watch.isEmpty)
    watch.note(1, least: 10, most: 10, left: 100)
    watch.note(1, least: 30, most: 40, left: 100)
    let crossings = [90, 41, 39, 9, 9].map { watch.isCrossed(1, left: $0) }
    #expect(crossings == [false, false, true, true, false])
    let isOther = watch.isCrossed(2, left: 0)
    #expect(!isOther, "nobody asked for anything of it")
    watch.removeAll()
    let isForgotten = watch.isCrossed(1, left: 100)
    #expect(watch.isEmpty && !isForgotten)
  }
}
