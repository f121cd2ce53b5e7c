// What carries a credential, what is taken off, what stays.
import HTTPMessage
import Testing

@testable import ProviderWire

@Suite struct CredentialsTests {
  @Test func eachDialectHasItsField() {
    #expect(Credentials.field("authorization", secret: "s") == ("authorization", "Bearer s"))
    #expect(Credentials.field("x-api-key", secret: "s") == ("x-api-key", "s"))
    #expect(Credentials.field("api-key", secret: "s") == ("api-key", "s"))
  }

  @Test(arguments: [
    "Authorization", "x-api-key", "X-Goog-Api-Key", "api-key", "X-Tollgate-Priority", "x-tollgate-", "Connection",
    "content-length", "Expect",
    "Host", "HTTP2-Settings", "Keep-Alive", "Proxy-Authorization", "proxy-connection", "TE", "Transfer-Encoding",
    "Trailer", "Upgrade",
  ])
  func takesOff(_ name: String) {
    #expect(Credentials.isStripped(HeaderFields([(name, "v")]), at: 0, passThrough: false))
    let isCredential = [
      "authorization", "x-api-key", "x-goog-api-key", "api-key", "openai-organization", "openai-project",
    ].contains(name.lowercased())
    #expect(Credentials.isStripped(HeaderFields([(name, "v")]), at: 0, passThrough: true) == !isCredential)
  }

  @Test(arguments: [
    "content-type", "Anthropic-Version", "anthropic-beta", "User-Agent", "x-stainless-lang", "priority", "accept",
    "accept-encoding", "OpenAI-Beta", "openai-organizations",
    "x-tollgat", "content-encoding", "x-api-keys", "api-keys", "key", "traceparent",
  ])
  func leaves(_ name: String) {
    #expect(!Credentials.isStripped(HeaderFields([(name, "v")]), at: 0, passThrough: false))
  }

  @Test(
    arguments: [
      ("key=abc", ""), ("alt=sse&key=abc", "alt=sse"), ("key=a&alt=sse&key=b", "alt=sse"), ("k%65y=abc&x=1", "x=1"),
      ("key", ""), ("alt=sse", nil),
      ("monkey=1", nil), ("x=key", nil), ("", nil),
    ] as [(String, String?)])
  func takesTheKeyOutOfQueries(_ query: String, _ expected: String?) {
    #expect(Credentials.queryWithoutKey(query[...]) == expected)
  }

  @Test(
    arguments: [
      ([("authorization", "Bearer tg-1")], "", "tg-1"), ([("Authorization", "bearer  tg-1")], "", "tg-1"),
      ([("x-api-key", "tg-2")], "", "tg-2"),
      ([("x-goog-api-key", "tg-3")], "", "tg-3"), ([("api-key", "tg-4")], "", "tg-4"),
      ([], "alt=sse&key=tg%2D5", "tg-5"), ([], "", nil),
      ([("authorization", "Basic eA==")], "", nil), ([("authorization", "Bearer")], "", nil),
      ([("authorization", "Basic x"), ("x-api-key", "k")], "", "k"),
    ] as [([(String, String)], String, String?)])
  func findsTheClientsSecret(_ fields: [(String, String)], _ query: String, _ secret: String?) {
    #expect(
      Credentials.clientSecret(HeaderFields(fields.map { (name: $0.0, value: $0.1) }), query: query[...]) == secret)
  }
}
