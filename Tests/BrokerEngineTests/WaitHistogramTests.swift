// Classes of waits, and percentiles made from them.
import AdmissionCore
import Testing

@testable import BrokerEngine

@Suite struct WaitHistogramTests {
  @Test func aClassIsNarrowAndClassesFollowOneAnother() {
    var last = -1
    for microseconds in stride(from: Int64(0), to: 40_000_000, by: 997) {
      let place = WaitHistogram.place(of: Span(nanoseconds: microseconds * 1000))
      #expect(place >= last)
      last = place
      // Shorter ones count as none, which the test after this looks at.
      guard microseconds >= 1024 else { continue }
      let told = WaitHistogram.seconds(ofPlace: place) * 1e6
      #expect(abs(told - Double(microseconds)) <= 0.07 * Double(microseconds), "\(microseconds) is told as \(told)")
    }
  }

  @Test(arguments: [Int64.min, -1, 0, 1_023_999]) func whatIsShortCountsAsNone(_ nanoseconds: Int64) {
    #expect(WaitHistogram.place(of: Span(nanoseconds: nanoseconds)) == 0)
  }

  @Test func theLongestWaitHasAPlace() {
    #expect(WaitHistogram.place(of: Span(nanoseconds: .max)) == WaitHistogram.classes - 1)
    #expect(WaitHistogram.place(of: Span(nanoseconds: 1_024_000)) == 1)
  }

  /// Against the definition: the smallest wait that at least so many do not exceed.
  @Test func percentilesAreThoseOfTheWaitsThemselves() {
    var state: UInt64 = 7
    for size in [1, 2, 3, 20, 99, 100, 101, 5000] {
      var histogram = WaitHistogram()
      var waits: [Double] = []
      for _ in 0..<size {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        let milliseconds = 2 + Int64((state >> 33) % 30_000)
        waits.append(Double(milliseconds) / 1000)
        histogram.count(Span(nanoseconds: milliseconds * 1_000_000))
      }
      waits.sort()
      for share in [1, 50, 95, 99, 100] {
        let exact = waits[max(1, (size * share + 99) / 100) - 1]
        let told = WaitHistogram.percentile(share, of: histogram.counts) ?? -1
        #expect(abs(told - exact) <= 0.07 * exact, "p\(share) of \(size) is \(exact), told as \(told)")
      }
    }
    #expect(WaitHistogram.percentile(50, of: WaitHistogram().counts) == nil)
  }
}
