// The end of a broker's work is told once, and not before the core is empty and every answer has gone.
import Testing

@testable import BrokerEngine

@Suite struct DrainingTests {
  @Test func tellsOnceWhenTheCoreIsEmptyAndEveryAnswerHasGone() {
    let draining = Draining()
    var reports = 0
    draining.exchangeBegan()
    draining.exchangeBegan()
    #expect(!draining.hasBegun)
    #expect(draining.begin { reports += 1 })
    #expect(draining.hasBegun)
    draining.exchangeEnded()
    draining.coreDrained()
    #expect(reports == 0)
    draining.exchangeEnded()
    #expect(reports == 1)
    draining.exchangeBegan()
    draining.exchangeEnded()
    #expect(reports == 1)
  }

  @Test func anEmptyBrokerIsDrainedAtOnce() {
    let draining = Draining()
    var reports = 0
    #expect(draining.begin { reports += 1 })
    draining.coreDrained()
    #expect(reports == 1)
  }

  @Test func whoAsksAgainIsNotTold() {
    let draining = Draining()
    var told: [String] = []
    #expect(draining.begin { told.append("first") })
    #expect(!draining.begin { told.append("second") })
    draining.coreDrained()
    #expect(told == ["first"])
  }
}
