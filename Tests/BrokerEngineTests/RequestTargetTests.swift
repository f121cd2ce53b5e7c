// Our path prefixes come off; everything else stays byte for byte.
import Testing

@testable import BrokerEngine

@Suite struct RequestTargetTests {
  @Test(arguments: [
    ("/v1/chat/completions", "/v1/chat/completions", nil as String?),
    ("/p/openai/v1/chat/completions?a=b%20c", "/v1/chat/completions?a=b%20c", "openai"),
    ("/p/openai", "/", "openai"),
    ("/p/openai?x=1", "/?x=1", "openai"),
    ("/p/my%2Fname/v1/x", "/v1/x", "my/name"),
    ("/x/priority=low/v1/messages", "/v1/messages", nil),
    ("/x/priority=low/p/anthropic/v1/messages", "/v1/messages", "anthropic"),
    ("/x/provider=anthropic,session=a%2Fb/v1/messages", "/v1/messages", "anthropic"),
    ("/xyz/p/openai", "/xyz/p/openai", nil),
    ("/chat/completions?api-version=1", "/v1/chat/completions?api-version=1", nil),
    ("/x/priority=low/openai/v1/models", "/v1/models", nil),
    ("/p/groq/openai/v1/models", "/openai/v1/models", "groq"),
    ("/p/groq/chat/completions", "/chat/completions", "groq"),
  ])
  func takesPrefixesOff(_ target: String, _ rest: String, _ provider: String?) throws {
    let read = try RequestTarget(target)
    #expect(read.rest == rest)
    #expect(read.provider == provider)
  }

  @Test func readsHints() throws {
    let read = try RequestTarget("/x/priority=High,kind=steer,session=a%2Fb%/v1/x")
    #expect(read.hints == ["priority": "High", "kind": "steer", "session": "a/b%"])
  }

  @Test(arguments: [
    ("/x/priority/v1/x", "name=value"), ("/x/colour=red/v1/x", "no hint 'colour'"),
    ("/p//v1/x", "must name a provider"),
  ])
  func saysWhatIsWrong(_ target: String, _ part: String) {
    let mistake = #expect(throws: RequestTarget.Mistake.self) { try RequestTarget(target) }
    #expect(mistake?.message.contains(part) == true)
  }
}
