// When a client is known to give up: what SDKs and Node say, and what hostile values come to.
import AdmissionCore
import HTTPMessage
import Testing

@testable import BrokerEngine

@Suite struct ClientPatienceTests {
  private func patience(_ fields: [(String, String)]) -> Span? {
    ClientHints(HeaderFields(fields.map { (name: $0.0, value: $0.1) }), isCount: false, hasTools: true).patience
  }

  @Test(arguments: [
    ("600", Int64(600_000)), ("600.0", 600_000), ("2.5", 2500), ("1", 1000), ("0.2", 1000), ("0.000000001", 1000),
    ("1.0000000000000", 1000), ("1000000", 1_000_000_000), ("007", 7000),
  ])
  func secondsAreRead(_ text: String, _ milliseconds: Int64) {
    for name in ["x-stainless-timeout", "X-Stainless-Timeout", "x-stainless-read-timeout"] {
      #expect(patience([(name, text)]) == .milliseconds(milliseconds))
    }
  }

  @Test(arguments: [
    "", "0", "0.0", "0.0000000001", "-1", "+5", "NOT_GIVEN", "None", "1e3", "inf", "nan", "0x10", "1,5", "1.2.3", ".5",
    "5.", ".",
    "1000000.1", "1000001", "99999999999999999999999", "5 s", "\u{0665}", String(repeating: "0", count: 40),
  ])
  func hostileValuesSayNothing(_ text: String) {
    #expect(patience([("x-stainless-timeout", text)]) == nil)
    #expect(patience([("x-stainless-timeout", text), ("x-stainless-read-timeout", "9")]) == .seconds(9))
    #expect(patience([("x-stainless-timeout", text), ("x-stainless-lang", "js")]) == .seconds(300))
  }

  @Test func fieldsThatComeTwiceSayNothing() {
    #expect(patience([("x-stainless-timeout", "5"), ("X-Stainless-Timeout", "5")]) == nil)
    #expect(patience([("x-stainless-read-timeout", "5"), ("x-stainless-read-timeout", "9")]) == nil)
    #expect(patience(Array(repeating: ("x-stainless-timeout", "5"), count: 100)) == nil)
  }

  @Test func theShorterCounts() {
    #expect(patience([("x-stainless-timeout", "9"), ("x-stainless-read-timeout", "5")]) == .seconds(5))
    #expect(patience([("x-stainless-timeout", "5"), ("x-stainless-read-timeout", "9")]) == .seconds(5))
  }

  @Test(arguments: [
    ("node", true), ("undici", true), ("undici/6.24", true), ("nodejs-fetch", false), ("Node", false),
    ("curl/8", false),
    ("OpenAI/JS 7.5.0", false), ("", false),
  ])
  func nodesFetchGivesUpAfterFiveMinutes(_ agent: String, _ isNode: Bool) {
    #expect(patience([("user-agent", agent)]) == (isNode ? .seconds(300) : nil))
    #expect(patience([("user-agent", agent), ("x-stainless-timeout", "600")]) == .seconds(isNode ? 300 : 600))
  }

  @Test(arguments: [
    ("js", "node", true), ("js", "", true), ("js", "deno", false), ("js", "browser:chrome", false),
    ("python", "", false),
    ("python", "CPython", false),
  ])
  func theVendorsSDKsStandOnIt(_ language: String, _ runtime: String, _ isNode: Bool) {
    var fields = [("user-agent", "OpenAI/JS 7.5.0"), ("x-stainless-lang", language), ("x-stainless-timeout", "600")]
    if !runtime.isEmpty { fields.append(("x-stainless-runtime", runtime)) }
    #expect(patience(fields) == .seconds(isNode ? 300 : 600))
    fields[2].1 = "20"
    #expect(patience(fields) == .seconds(20))
  }

  /// Its runtime is its own, although it says Node.
  @Test func claudeCodeWaitsAsLongAsItSays() {
    #expect(
      patience([
        ("user-agent", "claude-cli/2.1.332 (external, cli)"), ("x-stainless-lang", "js"),
        ("x-stainless-runtime", "node"), ("x-stainless-timeout", "600"),
      ]) == .seconds(600))
  }

  @Test func nobodyElseIsKnownToGiveUp() {
    #expect(patience([]) == nil)
    #expect(patience([("user-agent", "codex_exec/0.163.0"), ("x-stainless-retry-count", "1")]) == nil)
  }
}
