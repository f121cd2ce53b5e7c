// Percentiles and the JSON that other tools read.
import Foundation
import Testing

@testable import FleetSimulator

@Suite struct MeasuresTests {
  @Test func percentilesGoByNearestRank() {
    var times = Times()
    #expect(times.percentile(0.5) == nil)
    for value in (1...100).reversed() { times.append(Double(value)) }
    #expect(times.percentile(0) == 1)
    #expect(times.percentile(0.5) == 50)
    #expect(times.percentile(0.99) == 99)
    #expect(times.percentile(1) == 100)
    times.append(0)
    #expect(times.percentile(0) == 0)
  }

  @Test func orderIsKeptInRuns() {
    var measures = FleetMeasures(groups: ["a", "b"])
    for name in ["a", "a", "b", "a"] { measures.noteFirstByte(name) }
    #expect(measures.order.map(\.name) == ["a", "b", "a"])
    #expect(measures.order.map(\.count) == [2, 1, 1])
  }

  @Test func textIsJSON() throws {
    var measures = FleetMeasures(groups: ["a"])
    measures.seconds = 2
    measures.groups[0].completed = 4
    measures.groups[0].completedInTime = 3
    measures.groups[0].errors = ["429": 1, "connection": 2]
    measures.groups[0].wait.append(1.234)
    var departures = Departures()
    departures.noticed = 4
    let text = measures.json(profile: "p", provider: "{\"calls\":5}", departures: departures)
    let object = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
    #expect(object["client_errors"] as? Int == 3)
    let group = try #require((object["groups"] as? [[String: Any]])?.first)
    #expect(group["per_second"] as? Double == 1.5)
    #expect((group["wait_ms"] as? [String: Any])?["p99"] as? Double == 1.23)
    #expect(group["queue_ms"] is NSNull)
    #expect((object["departures"] as? [String: Any])?["noticed"] as? Int == 4)
    #expect((object["provider"] as? [String: Any])?["calls"] as? Int == 5)
  }
}
