// The check of Package.swift, on manifests that break each of its rules.
import Testing

@Suite struct PackageCheckerTests {
  private let manifest = """
    let deque = Target.Dependency.product(name: "DequeModule", package: "swift-collections")
    func library(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target { .target(name: name) }
    library("Plain"),
    library("Core", [deque, heap]),
    library(
      "Shell", ["Core", "Plain", .product(name: "GRDB", package: "GRDB.swift")],
      resources: [.embedInCode("Page")]),
    .executableTarget(
      name: "tool-kit",
      dependencies: [
        "Core",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: swiftSettings),
    tests("Core", ["Core", "Plain"], exclude: ["Fixtures"]),
    """

  @Test func targetsAndTheirDependenciesAreRead() {
    #expect(
      PackageChecker(manifest: manifest).declared == [
        "Plain": [], "Core": ["DequeModule", "HeapModule"], "Shell": ["Core", "Plain", "GRDB"],
        "tool-kit": ["Core", "ArgumentParser"], "CoreTests": ["Core", "Plain"],
      ])
  }

  @Test(
    arguments: [
      (["Core", "Plain", "GRDB", "Foundation", "Glibc"], ["Core", "Plain", "GRDB", "Foundation"], []),
      (
        ["Core", "Plain", "GRDB", "Yams"], ["Core", "Plain", "GRDB"],
        ["Shell may import Yams (SwiftRules.imports) and does not declare it"]
      ),
      (
        ["Core", "GRDB"], ["Core", "GRDB", "Plain"],
        ["Shell declares Plain, which it may not import (SwiftRules.imports)"]
      ),
      (["Core", "Plain", "GRDB"], ["Core", "GRDB"], ["Shell declares Plain, which none of its files imports"]),
    ] as [(Set<String>, Set<String>, [String])])
  func whatDiffersIsTold(allowed: Set<String>, imported: Set<String>, messages: [String]) {
    let findings = PackageChecker(manifest: manifest).findings(
      allowed: ["Shell": allowed], imported: ["Shell": imported])
    #expect(findings.map(\.message) == messages)
  }

  @Test func testsDeclareWhatTheyImport() {
    func messages(_ imported: Set<String>) -> [String] {
      PackageChecker(manifest: manifest).findings(ofTests: ["CoreTests": imported]).map(\.message)
    }
    #expect(messages(["Core", "Plain", "Testing", "Foundation"]) == [])
    #expect(messages(["Core", "Plain", "GRDB"]) == ["CoreTests imports GRDB and does not declare it"])
    #expect(messages(["Core"]) == ["CoreTests declares Plain, which none of its files imports"])
  }

  @Test func aTargetThatIsGoneIsTold() {
    let findings = PackageChecker(manifest: manifest).findings(allowed: ["Gone": []], imported: [:])
    #expect(findings.map(\.message) == ["Gone is not declared here"])
  }
}
