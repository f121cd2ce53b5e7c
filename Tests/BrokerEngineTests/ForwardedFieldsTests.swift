// What goes on and what ends here, in both directions.
import HTTPMessage
import Testing

@testable import BrokerEngine

@Suite struct ForwardedFieldsTests {
  private func names(_ fields: HeaderFields) -> [String] { fields.pairs.map(\.name) }

  @Test func towardsTheProviderDropsHopsHintsAndCredentials() {
    let fields = HeaderFields([
      ("Host", "localhost"), ("Connection", "keep-alive, X-Hop"), ("X-Hop", "1"), ("Authorization", "Bearer tg-secret"),
      ("x-api-key", "k"), ("X-Tollgate-Priority", "high"), ("Content-Length", "2"), ("Transfer-Encoding", "chunked"),
      ("TE", "trailers"), ("Expect", "100-continue"), ("Content-Type", "application/json"), ("X-Stainless-Lang", "py"),
      ("Accept-Encoding", "gzip"), ("anthropic-beta", "a"), ("anthropic-beta", "b"), ("priority", "u=1"),
    ])
    let sent = ForwardedFields.forProvider(
      fields, credential: (name: "authorization", value: "Bearer sk"), passThrough: false, identityOnly: false)
    #expect(
      names(sent) == [
        "Content-Type", "X-Stainless-Lang", "Accept-Encoding", "anthropic-beta", "anthropic-beta", "priority",
        "authorization",
      ])
    #expect(sent.first("authorization") == "Bearer sk")
  }

  @Test func passThroughKeepsTheClientsCredential() {
    let fields = HeaderFields([("Authorization", "Bearer own"), ("X-Api-Key", "k")])
    let sent = ForwardedFields.forProvider(fields, credential: nil, passThrough: true, identityOnly: false)
    #expect(names(sent) == ["Authorization", "X-Api-Key"])
  }

  @Test func anEditedAnswerMustComeUncompressed() {
    let fields = HeaderFields([("Accept-Encoding", "gzip"), ("Accept", "*/*")])
    let sent = ForwardedFields.forProvider(fields, credential: nil, passThrough: false, identityOnly: true)
    #expect(names(sent) == ["Accept"])
  }

  @Test(arguments: [
    ("gzip, deflate", "gzip, deflate"), ("gzip, deflate, br", "gzip, deflate"),
    ("gzip, deflate, br, zstd", "gzip, deflate, zstd"), ("br", "identity"), ("*", "identity"),
    ("br;q=1.0, *;q=0.5", "identity"),
    ("GZIP;q=0.8 , BR , zstd", "GZIP;q=0.8 , zstd"), ("br, gzip", "gzip"), ("identity", "identity"), ("", ""),
  ])
  func codingsInWhichUsageCouldNotBeReadAreNotAskedFor(_ asked: String, _ sent: String) {
    let fields = HeaderFields([("Accept-Encoding", asked), ("Accept", "*/*")])
    let result = ForwardedFields.forProvider(fields, credential: nil, passThrough: false, identityOnly: false)
    #expect(names(result) == ["Accept-Encoding", "Accept"])
    #expect(result.first("accept-encoding") == sent)
  }

  @Test func towardsTheClientKeepsEverythingElse() {
    let fields = HeaderFields([
      ("Content-Type", "text/event-stream"), ("Connection", "close"), ("Transfer-Encoding", "chunked"),
      ("Content-Length", "5"), ("X-RateLimit-Remaining-Requests", "4"), ("x-tollgate-key", "theirs"),
      ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("retry-after", "3"),
    ])
    #expect(
      names(ForwardedFields.forClient(fields, bodyMayShrink: false)) == [
        "Content-Type", "Content-Length", "X-RateLimit-Remaining-Requests", "Set-Cookie", "Set-Cookie", "retry-after",
      ])
    #expect(!names(ForwardedFields.forClient(fields, bodyMayShrink: true)).contains("Content-Length"))
  }
}
