// Reports as text: JSON that parses and CSV that quotes, with money to the nano-dollar.
import AdmissionCore
import Foundation
import Testing

@testable import LedgerStore

@Suite struct UsageTextTests {
  private var report: UsageReport {
    var sums = UsageSums()
    sums.requests = 3
    sums.nanodollars = 12_300_000
    sums.inputTokens = 7
    return UsageReport(
      query: UsageQuery(by: [.tenant, .model], since: Scene.start, until: Scene.at(0.25)),
      rows: [
        UsageReport.Row(labels: ["a\"b,\\", "line\nbreak\u{1}"], sums: sums),
        UsageReport.Row(labels: ["acme", ""], sums: UsageSums()),
      ], total: sums)
  }

  @Test func jsonHasTheShapeThatOthersBuildOn() throws {
    let object = try JSONSerialization.jsonObject(with: Data(report.json.utf8)) as? [String: Any]
    let rows = try #require(object?["rows"] as? [[String: Any]])
    #expect(rows[0]["tenant"] as? String == "a\"b,\\")
    #expect(rows[0]["model"] as? String == "line\nbreak\u{1}")
    #expect(rows[0]["requests"] as? Int == 3)
    #expect(rows[0]["cost_usd"] as? String == "0.012300000")
    #expect(rows[1]["cost_usd"] as? String == "0.000000000")
    #expect((object?["total"] as? [String: Any])?["input_tokens"] as? Int == 7)
    #expect(object?["since"] as? String == "2026-11-18T11:06:40Z")
    #expect(object?["until"] as? String == "2026-11-18T11:06:40.250Z")
    for name in ["presumed", "input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens"] {
      #expect(rows[0][name] is Int)
    }
  }

  @Test func anEmptyReportIsStillJSON() throws {
    let empty = UsageReport(query: report.query, rows: [], total: UsageSums())
    let object = try JSONSerialization.jsonObject(with: Data(empty.json.utf8)) as? [String: Any]
    #expect((object?["rows"] as? [Any])?.isEmpty == true)
  }

  @Test func csvQuotesWhatItMust() {
    let lines = report.csv.components(separatedBy: "\r\n")
    #expect(
      lines[0]
        == "tenant,model,requests,attempts,presumed,estimated,unpriced,input_tokens,cache_read_tokens,cache_write_tokens,output_tokens,reasoning_tokens,cost_usd"
    )
    #expect(lines[1] == "\"a\"\"b,\\\",\"line\nbreak\u{1}\",3,0,0,0,0,7,0,0,0,0,0.012300000")
    #expect(lines[2] == "acme,,0,0,0,0,0,0,0,0,0,0,0.000000000")
    #expect(lines[3].isEmpty)
  }

  @Test func sumsStopAtTheirEnd() {
    var sums = UsageSums()
    sums.nanodollars = .max
    sums.outputTokens = .max - 1
    var one = UsageSums()
    one.nanodollars = 1
    one.outputTokens = 2
    sums.add(one)
    #expect(sums.nanodollars == .max && sums.outputTokens == .max)
  }
}
