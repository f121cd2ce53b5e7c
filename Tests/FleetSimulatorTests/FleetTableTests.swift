// Tables for people: numbers, widths, colours only where asked.
import Testing

@testable import FleetSimulator

@Suite struct FleetTableTests {
  private var measures: FleetMeasures {
    var measures = FleetMeasures(groups: ["steer", "background"])
    measures.groups[0].completed = 12_345
    measures.groups[0].wait.append(0.44)
    measures.groups[1].errors = ["429": 2]
    return measures
  }
  private var counts: ProviderCounts? {
    ProviderCounts(
      text: """
        {"calls":9,"completed":8,"refused_total":1,"in_flight":3,"peak":5,"tokens":{"input":1,"output":2},
         "buckets":[{"dimension":"tokens","used":600,"budget":1000,"used_share":0.6}]}
        """)
  }

  @Test(arguments: [
    (nil, "-"), (0, "0.0 ms"), (0.44, "0.4 ms"), (9.96, "10.0 ms"), (12.4, "12 ms"), (999.4, "999 ms"),
    (1530, "1.53 s"),
  ])
  func timesAreShort(value: Double?, text: String) { #expect(FleetTable.milliseconds(value) == text) }

  @Test(arguments: [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567"), (-1000, "-1,000")])
  func numbersAreGrouped(value: Int, text: String) { #expect(FleetTable.grouped(value) == text) }

  @Test func tableHasALineForEachGroupAndTheProvider() {
    var table = FleetTable(colours: false)
    let lines = table.text(measures, counts: counts, title: "T").split(separator: "\n")
    #expect(lines.count == 5)
    #expect(lines[0] == "T")
    #expect(lines[2].contains("steer") && lines[2].contains("12,345") && lines[2].contains("0.4 ms"))
    #expect(lines[4].contains("refused 1") && lines[4].contains("600 of 1,000 (60 %)"))
    #expect(lines.allSatisfy { $0.count <= 100 && !$0.contains("\u{1B}") })
  }

  @Test func coloursComeOnlyWhereAsked() {
    var table = FleetTable(colours: true)
    #expect(table.text(measures, counts: counts, title: "T").contains("\u{1B}[31m"))
  }

  @Test func runsStandSideBySide() {
    var table = FleetTable(colours: false)
    let outcome = FleetOutcome(measures: measures, provider: nil, counts: counts, departures: nil)
    let both = table.comparison(outcome, outcome).split(separator: "\n")
    #expect(both[0].contains("with Tollgate") && both[0].contains("without"))
    #expect(both.contains { $0.hasPrefix("refused by the provider") && $0.hasSuffix("1") })
    #expect(table.comparison(outcome, nil).contains("with Tollgate"))
    #expect(!table.comparison(outcome, nil).contains("without"))
  }
}
