// Secrets in what providers say.
import HTTPMessage
import Testing

@testable import ProviderWire

@Suite struct SecretMaskTests {
  private let secret = "sk-a/b\"c\\d-0123"

  @Test(arguments: [
    "sk-a/b\"c\\d-0123", #"sk-a/b\"c\\d-0123"#, #"sk-a\/b\"c\\d-0123"#, #"sk\u002da\u002Fb\u0022c\u005cd\u002d0123"#,
    "sk-a%2Fb%22c%5cd-0123", "%73k-a/b\"c\\\\d-0123",
  ])
  func isFoundHoweverItIsEscaped(_ form: String) {
    let text = "before \(form) between \(form)\(form) after"
    #expect(SecretMask.masked(text, secret: secret) == "before *** between ****** after")
  }

  @Test(arguments: [
    "", "sk-", "sk-a/b\"c\\d-012", "sk-a/b\"c\\d-0124", "SK-A/B\"C\\D-0123", "\\", "%", "\\u", "\\u00", "%7",
    "sk\\u002",
  ])
  func otherTextStays(_ text: String) {
    #expect(SecretMask.masked(text, secret: secret) == nil)
  }

  @Test func overlapsAndEdges() {
    #expect(SecretMask.masked("aaaaaaaaa", secret: "aaaaaaaa") == "***a")
    #expect(SecretMask.masked("aaaaaaaa", secret: "aaaaaaaa") == "***")
    #expect(SecretMask.masked("xaaaaaaab", secret: "aaaaaaaa") == nil)
    #expect(SecretMask.masked("1234567", secret: "1234567") == nil, "too short to be told from other text")
    #expect(SecretMask.masked("12345678", secret: "12345678") == "***")
    #expect(SecretMask.masked("12345678", secret: "") == nil)
  }

  @Test func looksBehindACoding() throws {
    let body = Array("the key sk-0123456789 is wrong".utf8)
    for (coding, coded) in [("gzip", Coded.gzip(body)), ("deflate", Coded.zlib(body)), ("zstd", Coded.zstd(body))] {
      let fields = HeaderFields([("content-encoding", coding), ("x", "sk-0123456789")])
      let clean = try #require(
        SecretMask.masked(fields, coded, secret: "sk-0123456789", decodedLimit: 1 << 20))
      #expect(String(decoding: clean.body, as: UTF8.self) == "the key *** is wrong")
      #expect(!clean.fields.contains("content-encoding"))
      #expect(clean.fields.first("x") == "***")
      #expect(
        SecretMask.masked(
          HeaderFields([("content-encoding", coding)]), coded, secret: "sk-other-one", decodedLimit: 1 << 20) == nil)
    }
  }

  @Test func mutatedTextNeverTraps() {
    var random = SeededRandom(seed: 11)
    let alphabet = Array("sk-a/b\"c\\d%u0123".utf8)
    for _ in 0..<20_000 {
      let text = (0..<random.next(below: 40)).map { _ in alphabet[random.next(below: alphabet.count)] }
      let masked = SecretMask.masked(text, secret: secret)
      #expect(masked == nil || masked != text)
    }
  }
}
