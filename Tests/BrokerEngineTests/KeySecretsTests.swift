// Secrets are found by key, counted by change, and printed never.
import PolicyFile
import Testing

@testable import BrokerEngine

@Suite struct KeySecretsTests {
  private func secrets(_ pairs: [(String, String)]) -> KeySecrets {
    var secrets = KeySecrets()
    for (key, secret) in pairs { secrets.set(Secret(secret), provider: "p", key: key) }
    return secrets
  }

  @Test func generationsGrowOnlyWithAChange() {
    let first = secrets([("a", "one"), ("b", "two")])
    var same = secrets([("a", "one"), ("b", "two")])
    let sameChanged = same.succeed(first)
    #expect(!sameChanged)
    #expect(same.generation(provider: "p", key: "a") == 0)
    var second = secrets([("a", "ONE"), ("b", "two")])
    let secondChanged = second.succeed(same)
    #expect(secondChanged)
    #expect(second.generation(provider: "p", key: "a") == 1)
    #expect(second.generation(provider: "p", key: "b") == 0)
    var third = secrets([("a", "one"), ("b", "two")])
    let thirdChanged = third.succeed(second)
    #expect(thirdChanged)
    #expect(third.generation(provider: "p", key: "a") == 2)
    var fewer = secrets([("a", "one")])
    let fewerChanged = fewer.succeed(third)
    #expect(fewerChanged)
    var more = secrets([("a", "one"), ("c", "x")])
    let moreChanged = more.succeed(fewer)
    #expect(moreChanged)
  }

  @Test func printsNoSecret() {
    let secrets = secrets([("a", "sk-very-secret-text")])
    var dumped = ""
    dump(secrets, to: &dumped)
    #expect(!("\(secrets)\(String(reflecting: secrets))" + dumped).contains("secret-text"))
    #expect(secrets.secret(provider: "p", key: "a")?.revealed == "sk-very-secret-text")
    #expect(secrets.secret(provider: "q", key: "a") == nil)
  }
}
