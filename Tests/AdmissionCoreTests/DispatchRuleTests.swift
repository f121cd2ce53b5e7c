// The numbered rules: written down once, and named by whoever waits.
import Foundation
import Testing

@testable import AdmissionCore

@Suite struct DispatchRuleTests {
  private func text(_ path: String) throws -> String {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    return try String(contentsOf: root.appendingPathComponent(path), encoding: .utf8)
  }

  @Test func thePageHasEachRuleOnceAndNoOther() throws {
    let rows = try text("docs/internals/admission.md").split(separator: "\n").filter { $0.hasPrefix("| ") }
    let numbers = rows.compactMap { row -> String? in
      let number = row.split(separator: "|").first.map { $0.trimmingCharacters(in: .whitespaces) } ?? ""
      return number.first?.isNumber == true ? number : nil
    }
    #expect(numbers == DispatchRule.allCases.map(\.rawValue))
  }

  @Test func whoWaitsIsToldByWhichRule() {
    let expected: [(Blocker, String)] = [
      (.behindInLane, "2b"), (.notItsTurn, "2"), (.providerConcurrency("p"), "7"), (.headroom("p"), "1a"),
      (.providerBucket("p", .tokens), "7"), (.modelConcurrency("p", model: "m"), "7"),
      (.modelBucket("p", model: "m", .tokens), "7"), (.tenantConcurrency("t"), "3a"),
      (.tenantBucket("t", .tokens), "3a"), (.claimed("p", by: RequestID(high: 0, low: 1)), "3"),
      (.breakerOpen("p"), "8"), (.modelBreakerOpen("p", model: "m"), "8"), (.noUsableKey("p"), "8"),
      (.keyConcurrency("p"), "7"), (.keyBucket("p", .tokens), "7"),
      (.providerClosed("p"), "8"), (.modelClosed("p", model: "m"), "8"), (.budget("b"), "3c"), (.backoff, "3b"),
      (.freeConcurrency("p"), "10"), (.sessionConcurrency("s"), "3d"),
    ]
    for (blocker, rule) in expected { #expect(blocker.rule.rawValue == rule, "\(blocker.name)") }
  }
}
