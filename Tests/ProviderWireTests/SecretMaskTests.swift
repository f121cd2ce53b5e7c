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

  // MARK: In pieces

  private func pieces(_ text: String, _ size: Int, _ coding: String? = nil) -> String? {
    guard var mask = AnswerMask(secret: secret, contentEncoding: coding) else { return nil }
    let bytes = Array(text.utf8)
    var out: [UInt8] = []
    for start in stride(from: 0, to: bytes.count, by: size) {
      guard let ready = mask.take(bytes[start..<min(start + size, bytes.count)]) else { return nil }
      out += ready
    }
    return String(decoding: out + mask.rest(), as: UTF8.self)
  }

  @Test(arguments: [1, 2, 5, 16, 1000]) func isFoundHoweverItIsCut(_ size: Int) {
    let text = #"a \#(secret) b sk\u002da\u002Fb\u0022c\u005cd\u002d0123\#(secret) sk-a/b"c\d-012"#
    let masked =
      "a " + String(repeating: "*", count: secret.utf8.count) + " b "
      + String(repeating: "*", count: 40 + secret.utf8.count) + #" sk-a/b"c\d-012"#
    #expect(pieces(text, size) == masked)
    #expect(pieces("nothing in here", size) == "nothing in here")
  }

  @Test func whatCannotBeReadIsNotMasked() {
    #expect(AnswerMask(secret: "short", contentEncoding: nil) == nil)
    #expect(AnswerMask(secret: secret, contentEncoding: "br") == nil)
    #expect(pieces("no gzip at all", 100, "gzip") == nil)
  }

  @Test(arguments: [1, 10, 1000]) func aCodedBodyGoesOnWithoutItsCoding(_ size: Int) throws {
    let coded = Coded.gzip(Array("a \(secret) b".utf8))
    var mask = try #require(AnswerMask(secret: secret, contentEncoding: "gzip"))
    #expect(mask.decodes)
    var out: [UInt8] = []
    for start in stride(from: 0, to: coded.count, by: size) {
      let ready = mask.take(coded[start..<min(start + size, coded.count)])
      out += try #require(ready)
    }
    out += mask.rest()
    #expect(String(decoding: out, as: UTF8.self) == "a \(String(repeating: "*", count: secret.utf8.count)) b")
  }
}
