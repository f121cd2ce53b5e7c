// Misspelt words: what is near, what is not, and which of two is meant.
import Testing
import TextForms

@Suite struct SpellingTests {
  static let known = ["serve", "status", "check", "simulate", "id", "tenant-key"]

  @Test(arguments: [
    ("serv", "serve"), ("srvee", nil), ("sevre", "serve"), ("stauts", "status"), ("chek", "check"),
    ("simulat", "simulate"), ("tenantkey", "tenant-key"), ("ix", nil), ("", nil), ("brew", nil),
    (String(repeating: "s", count: 100), nil),
  ])
  func theNearestWordIsMeant(word: String, meant: String?) {
    #expect(Spelling.nearest(to: word, among: Self.known) == meant)
  }

  @Test func guessesOnlyWhatIsNear() {
    let known = ["listen", "limits", "per_key"]
    #expect(Spelling.nearest(to: "lisen", among: known) == "listen")
    #expect(Spelling.nearest(to: "limtis", among: known) == "limits")
    #expect(Spelling.nearest(to: "LISTEN", among: known) == nil)
    #expect(Spelling.nearest(to: "per-key", among: known) == "per_key")
    #expect(Spelling.nearest(to: "budget", among: known) == nil)
    #expect(Spelling.nearest(to: "", among: known) == nil)
    #expect(Spelling.nearest(to: String(repeating: "l", count: 1000), among: known) == nil)
    #expect(Spelling.nearest(to: "2", among: ["1"]) == nil)
  }

  @Test func ofTwoEquallyNearTheFirstIsMeant() {
    #expect(Spelling.nearest(to: "bear", among: ["beat", "beer"]) == "beat")
  }
}
