// Where URLs lead and how request heads read.
import HTTPMessage
import Testing

@testable import UpstreamHTTP

@Suite struct Destinations {
  @Test(arguments: [
    ("http://a.example/x?y=1#z", "http://a.example:80", "a.example", "/x?y=1"),
    ("https://A.example:443/", "https://A.example:443", "A.example", "/"),
    ("http://a.example:8080", "http://a.example:8080", "a.example:8080", "/"),
    ("http://[::1]:8080/a/../%2e", "http://[::1]:8080", "[::1]:8080", "/a/../%2e"),
    ("https://a.example:80/?", "https://a.example:80", "a.example:80", "/"),
  ])
  func taken(_ url: String, _ origin: String, _ host: String, _ target: String) throws {
    let destination = try #require(try Destination(url))
    #expect(destination.origin == origin)
    #expect(destination.host == host)
    #expect(destination.target == target || destination.target == target + "?")
    #expect(destination.isTLS == url.hasPrefix("https"))
  }

  @Test func aPoolKeepsApartWhatSwiftTakesForEqual() throws {
    let pool = ProviderPool(ProviderTransport(), environmentNamesProxy: false)
    for path in ["/K", "/\u{212A}", "/K", "/e\u{301}", "/\u{E9}", "/x", "/x"] {
      let target = try #require(try pool.destination(of: "http://h" + path)).target
      #expect(target.utf8.elementsEqual(path.utf8), "\(path): \(target)")
    }
  }

  @Test(arguments: ["ftp://a.example/", "http://user:secret@a.example/"]) func leftToLibcurl(_ url: String) throws {
    #expect(try Destination(url) == nil)
  }

  @Test(arguments: ["", "http://", "http://a b/", "http://[::1/"]) func refused(_ url: String) {
    #expect(throws: TransferSetupFailure.self) { try Destination(url) }
  }

  @Test func aMethodThatIsNoTokenIsRefused() throws {
    let destination = try #require(try Destination("http://a.example/"))
    for method in ["GE T", "GET\r\nX: y", "G\u{7F}"] {
      let request = UpstreamRequest(
        provider: "p", method: method, url: "", fields: HeaderFields(), body: [], timeouts: Bench.timeouts)
      #expect(request.headText(destination) == nil)
    }
  }
}
