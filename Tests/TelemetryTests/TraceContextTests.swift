// Trace Context by the standard's own examples and rules, the decision to sample, and the ids of a call's spans.
import HTTPMessage
import Testing

@testable import Telemetry

private func parent(_ text: String) -> Traceparent? { Traceparent(Array(text.utf8)[...]) }

private let example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

@Suite struct TraceContextTests {
  /// A generator without pattern, the same in each run.
  private static func numbers(_ seed: UInt64 = 1) -> () -> UInt64 {
    var state = seed
    return {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return state ^ (state >> 31)
    }
  }

  private static func tracer(_ basisPoints: Int, _ draw: @escaping () -> UInt64 = numbers()) -> Tracer {
    Tracer(HeadSampling(basisPoints: basisPoints), draw: draw)
  }

  @Test func theStandardsExampleIsReadAndWritten() throws {
    let read = try #require(parent(example))
    #expect(read.trace == TraceID(high: 0x4bf9_2f35_77b3_4da6, low: 0xa3ce_929d_0e0e_4736))
    #expect(read.span == SpanID(0x00f0_67aa_0ba9_02b7) && read.isSampled && !read.isRandom)
    #expect(read.text == example)
    #expect(parent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")?.isSampled == false)
  }

  @Test(arguments: [
    "", "00", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
    // An upper-case digit, a letter beyond f, a blank, a sign, bytes beyond ASCII.
    "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
    "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
    "00-4bf92f3577b34da6a3ce929d0e0e473 -00f067aa0ba902b7-01",
    "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "0A-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0A",
    "00-4bf92f3577b34da6a3ce929d0e0e47\u{e9}-00f067aa0ba902b7-01",
    // Ids of zeros, and the version that is forbidden.
    "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
    "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    // Version 00 ends there; later versions go on behind a dash only.
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-011",
    "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
    "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
    " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
  ])
  func whatIsNoTraceparentIsNone(_ text: String) {
    #expect(parent(text) == nil)
  }

  @Test(arguments: ["cc", "01", "fe"]) func versionsToComeAreReadAsFarAsTheyAreKnown(_ version: String) throws {
    for end in ["", "-", "-what-the-future-brings"] {
      let read = try #require(parent(version + example.dropFirst(2) + end))
      #expect(read.text == example)
    }
    // Their other flags are not known.
    #expect(parent(version + "-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff")?.text == example)
  }

  @Test func ofTheFlagsOnlyThoseThatAreKnownGoOn() {
    for flags in 0...255 {
      let digits = String(flags, radix: 16)
      let read = parent(example.dropLast(2) + (flags < 16 ? "0" : "") + digits)
      #expect(read?.isSampled == (flags & 1 == 1) && read?.isRandom == (flags & 2 == 2))
      #expect(read?.text.hasSuffix("-0\(flags & 3)") == true)
    }
  }

  @Test func aClientsTraceIsContinuedWithItsDecision() {
    for (flags, basisPoints) in [("01", 0), ("00", 10_000)] {
      let trace = Self.tracer(basisPoints).begin(
        HeaderFields([("Traceparent", String(example.dropLast(2) + flags)), ("tracestate", "a=1,b=2")]))
      #expect(trace.trace.text == "4bf92f3577b34da6a3ce929d0e0e4736" && trace.parent?.text == "00f067aa0ba902b7")
      #expect(trace.isSampled == (flags == "01") && trace.isContinued && trace.state == "a=1,b=2")
      #expect(trace.traceparent(ofAttempt: 1).hasSuffix("-\(trace.attempt(1).text)-\(flags)"))
    }
  }

  @Test func whatIsWrongOrTwiceBeginsATraceWithoutItsState() {
    for fields in [
      [], [("traceparent", "00-x")], [("traceparent", example), ("x", "y"), ("TraceParent", example)],
      [("traceparent", "")],
    ] {
      let trace = Self.tracer(10_000).begin(HeaderFields(fields + [("tracestate", "a=1")]))
      #expect(!trace.isContinued && trace.parent == nil && trace.state.isEmpty && trace.isSampled)
      #expect(trace.trace.text != "4bf92f3577b34da6a3ce929d0e0e4736")
      #expect(parent(trace.traceparent(ofAttempt: 1)) != nil)
    }
  }

  @Test func anIDOfZerosIsNeverMade() {
    let trace = Self.tracer(10_000, { 0 }).begin(HeaderFields())
    #expect(parent(trace.traceparent(ofAttempt: 1)) != nil && trace.root.value != 0)
  }

  @Test func theIDsOfACallDiffer() {
    let trace = Self.tracer(10_000).begin(HeaderFields())
    var ids: Set<SpanID> = [trace.root]
    for number in 0..<1_000 {
      ids.insert(trace.wait(number))
      ids.insert(trace.attempt(number + 1))
    }
    #expect(ids.count == 2_001 && !ids.contains(SpanID(0)))
  }

  @Test func shareOfTraces() {
    let draw = Self.numbers(7)
    let traces = (0..<100_000).map { _ in TraceID(high: draw(), low: draw()) }
    var before: Set<TraceID> = []
    for (basisPoints, range) in [
      (0, 0...0), (1, 0...40), (1_000, 9_600...10_400), (5_000, 49_000...51_000), (10_000, 100_000...100_000),
    ] {
      let sampling = HeadSampling(basisPoints: basisPoints)
      let taken = Set(traces.filter { sampling.takes($0) })
      #expect(range.contains(taken.count), "\(basisPoints): \(taken.count)")
      #expect(taken.isSuperset(of: before))
      before = taken
    }
    #expect(!HeadSampling(basisPoints: 0).takes(TraceID(high: 1, low: .max)))
    #expect(HeadSampling(basisPoints: 10_000).takes(TraceID(high: 1, low: 0)))
    #expect(HeadSampling(basisPoints: -1).basisPoints == 0 && HeadSampling(basisPoints: 10_001).basisPoints == 10_000)
  }

  @Test func aStateIsCutAtAMember() {
    func state(_ values: String...) -> String {
      TraceState.text(of: HeaderFields(values.map { (name: "tracestate", value: $0) }))
    }
    let long = "k=" + String(repeating: "v", count: 510)
    #expect(state(long) == long && state(long + "v") == "" && state("a=1", long) == "a=1" && state(long, "a=1") == long)
    #expect(state("a=1", "b=2,,c=3") == "a=1,b=2,c=3")
    #expect(state("a=\u{7}") == "" && state("a=\u{e9}") == "" && state("") == "" && state(" ") == "")
  }
}
