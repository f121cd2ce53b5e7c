// Secrets in what providers say.
import AdmissionCore
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
        SecretMask.masked(fields, coded, secrets: ["sk-0123456789"], decodedLimit: 1 << 20))
      #expect(String(decoding: clean.body, as: UTF8.self) == "the key *** is wrong")
      #expect(!clean.fields.contains("content-encoding"))
      #expect(clean.fields.first("x") == "***")
      #expect(
        SecretMask.masked(
          HeaderFields([("content-encoding", coding)]), coded, secrets: ["sk-other-one"], decodedLimit: 1 << 20) == nil)
    }
  }

  @Test(arguments: [0, 1]) func whatUnfoldsBeyondTheLimitEndsThere(_ beyond: Int) throws {
    let text = "the key sk-0123456789 is wrong" + String(repeating: " ", count: 40_000 - 30 + beyond)
    let clean = try #require(
      SecretMask.masked(
        HeaderFields([("content-encoding", "gzip")]), Coded.gzip(Array(text.utf8)),
        secrets: ["sk-other-one", "sk-0123456789"], decodedLimit: 40_000))
    #expect(String(decoding: clean.body, as: UTF8.self).hasPrefix("the key *** is wrong "))
    #expect(clean.body.count <= 40_000 && clean.body.count > 30_000 && !clean.fields.contains("content-encoding"))
  }

  @Test func nothingOfASecretIsLeftWhereABodyIsCut() throws {
    // The limit lies inside of the secret; zlib gives 16 KiB at a time.
    let text =
      String(repeating: " ", count: (16 << 10) - 5) + "sk-0123456789 is wrong" + String(repeating: " ", count: 20_000)
    let clean = try #require(
      SecretMask.masked(
        HeaderFields([("content-encoding", "gzip")]), Coded.gzip(Array(text.utf8)), secrets: ["sk-0123456789"],
        decodedLimit: 16 << 10))
    #expect(!String(decoding: clean.body, as: UTF8.self).contains("s"))
    #expect(clean.body.count > 16_000)
  }

  @Test func severalSecretsAreFound() throws {
    let text = Array("one sk-0123456789 two hdr-abcdefgh three".utf8)
    let secrets = ["hdr-abcdefgh", "sk-0123456789", "short"]
    let clean = try #require(SecretMask.masked(HeaderFields(), text, secrets: secrets, decodedLimit: 1 << 20))
    #expect(String(decoding: clean.body, as: UTF8.self) == "one *** two *** three")
    #expect(SecretMask.masked(HeaderFields(), text, secrets: [], decodedLimit: 1 << 20) == nil)
    for size in [1, 7, 100] {
      var mask = try #require(AnswerMask(secrets: secrets, contentEncoding: nil))
      var out: [UInt8] = []
      for start in stride(from: 0, to: text.count, by: size) {
        let ready = mask.take(text[start..<min(start + size, text.count)])
        out += try #require(ready)
      }
      #expect(String(decoding: out + mask.rest(), as: UTF8.self) == "one ************* two ************ three")
    }
  }

  @Test(arguments: [
    (#"{"error":{"message":"x"}}"#, true), (" { \"error\" : \"x\"}", true), (#"{"type":"error","error":{}}"#, true),
    (#"{"object":"error"}"#, true), (#"{"message":"x"}"#, true), (#"{"error":null,"id":1}"#, false),
    (#"{"id":"error"}"#, false), (#"{"message":{"content":"x"}}"#, false), ("", false), ("<html>", false),
  ])
  func knowsHowErrorsBegin(_ body: String, _ isError: Bool) {
    #expect(AnswerMask.isNeeded(for: Array(body.utf8)[...]) == isError)
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
    guard var mask = AnswerMask(secrets: [secret], contentEncoding: coding) else { return nil }
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
    #expect(AnswerMask(secrets: ["short"], contentEncoding: nil) == nil)
    #expect(AnswerMask(secrets: [secret], contentEncoding: "br") == nil)
    #expect(pieces("no gzip at all", 100, "gzip") == nil)
  }

  @Test(arguments: [1, 10, 1000]) func aCodedBodyGoesOnWithoutItsCoding(_ size: Int) throws {
    let coded = Coded.gzip(Array("a \(secret) b".utf8))
    var mask = try #require(AnswerMask(secrets: [secret], contentEncoding: "gzip"))
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
