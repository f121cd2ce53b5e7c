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
    let sameChanged = same.inheritGenerations(from: first)
    #expect(!sameChanged)
    #expect(same.generation(provider: "p", key: "a") == 0)
    var second = secrets([("a", "ONE"), ("b", "two")])
    let secondChanged = second.inheritGenerations(from: same)
    #expect(secondChanged)
    #expect(second.generation(provider: "p", key: "a") == 1)
    #expect(second.generation(provider: "p", key: "b") == 0)
    var third = secrets([("a", "one"), ("b", "two")])
    let thirdChanged = third.inheritGenerations(from: second)
    #expect(thirdChanged)
    #expect(third.generation(provider: "p", key: "a") == 2)
    var fewer = secrets([("a", "one")])
    let fewerChanged = fewer.inheritGenerations(from: third)
    #expect(fewerChanged)
    var more = secrets([("a", "one"), ("c", "x")])
    let moreChanged = more.inheritGenerations(from: fewer)
    #expect(moreChanged)
  }

  @Test func aKeyWithAnothersSecretIsThatKeyUnderANewName() {
    let first = secrets([("a", "one"), ("b", "two")])
    var renamed = secrets([("c", "one"), ("b", "two")])
    let wasRenamed = renamed.inheritGenerations(from: first)
    #expect(wasRenamed)
    #expect(renamed.predecessor(provider: "p", key: "c") == "a")
    #expect(renamed.predecessor(provider: "p", key: "b") == nil)
    var swapped = secrets([("c", "two"), ("b", "one")])
    _ = swapped.inheritGenerations(from: renamed)
    #expect(swapped.predecessor(provider: "p", key: "c") == "b")
    #expect(swapped.predecessor(provider: "p", key: "b") == "c")
    // A second name for a secret whose first one stays is a key of its own, and so is a new secret under an old name.
    var twice = secrets([("b", "one"), ("c", "two"), ("d", "two")])
    _ = twice.inheritGenerations(from: swapped)
    #expect(twice.predecessor(provider: "p", key: "d") == nil)
    var moved = secrets([("b", "new"), ("e", "one")])
    _ = moved.inheritGenerations(from: twice)
    #expect(moved.predecessor(provider: "p", key: "e") == "b")
    #expect(moved.predecessor(provider: "p", key: "b") == nil)
    #expect(moved.generation(provider: "p", key: "b") == twice.generation(provider: "p", key: "b") + 1)
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
