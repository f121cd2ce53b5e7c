// Webhooks as a policy has them: what is taken, and what of their URLs may be shown.
import Testing

@testable import PolicyFile

@Suite struct PolicyWebhooksTests {
  private func webhooks(_ text: String) throws -> [Webhook] {
    let parsing = PolicyParser.parse(
      text: "webhooks: [\(text)]\nproviders: {a: {dialect: openai, base_url: \"http://127.0.0.1:1\"}}",
      file: "p", environment: ["HOOK": "s3cret"])
    return try #require(parsing.policy, "\(parsing.diagnostics)").webhooks
  }

  @Test func whatIsGivenIsTaken() throws {
    let found = try webhooks(
      """
      {url: "HTTPS://Hooks.Example/X/?y=Z", secret: "${HOOK}", events: [key, outage]},
      {url: "http://h:81", secret: {file: hook.key}, format: slack}, {url: "https://s/T", format: slack}
      """)
    #expect(found.map(\.url) == ["https://hooks.example/X/?y=Z", "http://h:81/", "https://s/T"])
    #expect(found.map(\.secret) == [.text(Secret("s3cret")), .file(path: "hook.key"), nil])
    #expect(found.map(\.format) == [.json, .slack, .slack])
    #expect(found[0].events == [.key, .outage] && found[1].events == Set(WebhookEvent.allCases))
  }

  @Test(
    arguments: [
      ("https://hooks.slack.com/services/T/B/secret", "https://hooks.slack.com/services/…"),
      ("https://h/secret", "https://h/…"), ("https://h/", "https://h"), ("https://h", "https://h"),
      ("https://h:8443/a/?token=secret", "https://h:8443/a/…"), ("https://h?secret", "https://h"),
      ("https://me:secret@h/x", "https://h/…"), ("secret", "…"),
    ])
  func ofAURLOnlyTheBeginningIsShown(url: String, shown: String) {
    #expect(Webhook(url: url).shownURL == shown)
  }

  @Test(
    arguments: [
      ("http://hooks.example/x", true), ("https://hooks.example/x", false), ("http://127.0.0.1:9/x", false),
      ("http://localhost/x", false), ("http://[::1]:8/x", false), ("http://10.0.0.1/x", true),
    ])
  func cleartextToAnotherMachineIsKnown(url: String, isCleartext: Bool) {
    #expect(Webhook(url: url).isCleartext == isCleartext)
  }
}
