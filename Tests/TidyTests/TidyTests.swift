// The project checks its own sources: imports, bans, names, links. A finding reads `path:line: error: X is banned here, use Y`.
import Foundation
import Testing

@Suite struct TidyTests {
  static let tree = ProjectTree.load()
  static let declared = HopChecker(sources: tree.files.filter { $0.isSwift && $0.target != nil })

  @Test func swiftSourcesKeepTheirRules() {
    #expect(Self.tree.files.filter(\.isSwift).count > 20, "the sources were not found")
    report(Self.tree.files.filter(\.isSwift).flatMap { SwiftChecker($0).findings() })
  }

  @Test func swiftTestsCanFail() {
    let product = AssertingFunctions.names(in: Self.tree.files.filter { $0.isSwift && $0.target != nil })
    let tests = Self.tree.files.filter { $0.isSwift && $0.testTarget != nil }
    #expect(tests.count > 100, "the tests were not found")
    for target in Dictionary(grouping: tests, by: \.testTarget).values {
      let blocks = target.map { SwiftBlockReader.read($0.swift) }
      let asserting = AssertingFunctions(in: blocks, product: product)
      report(zip(target, blocks).flatMap { SwiftTestChecker($0, $1, asserting: asserting).findings() })
    }
  }

  @Test func pythonTestsCanFail() {
    let files = Self.tree.files.filter { $0.path.hasPrefix("Tests/") && $0.path.hasSuffix(".py") }
    #expect(files.count > 30, "the end-to-end tests were not found")
    let texts = files.map { PythonText($0.text) }
    let asserting = PythonTestChecker.asserting(in: texts)
    report(zip(files, texts).flatMap { PythonTestChecker($0, $1, asserting: asserting).findings() })
  }

  @Test func everyFileThatMayHoldPointersIsThere() {
    let gone = SwiftRules.pointerFiles.keys.filter { !Self.tree.paths.contains($0) }
    #expect(gone.isEmpty, "rows of SwiftRules.pointerFiles without a file: \(gone)")
  }

  @Test func filesKeepTheirRules() {
    report(Self.tree.files.flatMap { FileChecker(file: $0).findings() })
  }

  @Test func documentationLinksLeadSomewhere() {
    report(Self.tree.files.flatMap { LinkChecker(file: $0, paths: Self.tree.paths).findings() })
  }

  @Test func theHopsOfARequestAreThere() throws {
    let page = try #require(Self.tree.files.first { $0.path == "docs/internals/life-of-a-request.md" })
    #expect(HopChecker.hops(of: page).count > 40, "the table of hops was not found")
    report(Self.declared.findings(in: page))
  }

  @Test func theGlossaryIsTrueAndKept() throws {
    let sources = Self.tree.files.filter { $0.isSwift && $0.target != nil }
    let page = try #require(Self.tree.files.first { $0.path == "docs/internals/glossary.md" })
    let glossary = GlossaryChecker(page)
    #expect(glossary.countOfTerms > 60 && glossary.countOfForbidden > 5, "the tables were not found")
    report(glossary.findings(declared: Self.declared, strings: StringsOfSources(sources)))
    // A note or a changelog tells what was, in the words of its time.
    let told = Self.tree.files.filter { file in
      (file.path.hasPrefix("Sources/") || file.path.hasPrefix("docs/") || !file.path.contains("/"))
        && !file.path.hasPrefix("docs/decisions/") && file.path != page.path && file.path != "CHANGELOG.md"
    }
    report(told.flatMap(glossary.findings(in:)))
  }

  @Test func whatTheGuideNamesIsThere() throws {
    let page = try #require(Self.tree.files.first { $0.path == "HACKING.md" })
    report(GuideChecker(Self.tree.files, paths: Self.tree.paths).findings(in: page))
    let readme = try #require(Self.tree.files.first { $0.path == "README.md" })
    #expect(readme.text.contains("](HACKING.md)"))
  }

  @Test func pagesOfReferenceAreWhole() {
    report(ReferenceChecker(sources: Self.tree.files, pages: Self.tree.files).findings())
  }

  @Test func oneNameIsOneType() {
    report(TypeNames.findings(in: Self.tree.files.filter { $0.isSwift && $0.target != nil }))
  }

  @Test func everyTargetHasItsTests() {
    let folders = Self.tree.paths.filter { $0.hasPrefix("Sources/") && $0.split(separator: "/").count == 2 }
    let targets = folders.map { String($0.dropFirst("Sources/".count)) }
    // The C shims hold no code of ours to test by themselves; the executables are tested from outside, in Tests/EndToEnd.
    let executables = ["tollgate", "tollgate-dev"]
    let untested = targets.filter { target in
      SwiftRules.imports[target] != nil && !executables.contains(target)
        && !Self.tree.paths.contains("Tests/\(target)Tests")
    }
    #expect(untested.isEmpty, "targets without a folder in Tests: \(untested)")
  }

  @Test func thePackageDeclaresWhatItsTargetsImport() throws {
    let manifest = try #require(Self.tree.files.first { $0.path == "Package.swift" })
    var (sources, tests): ([String: Set<String>], [String: Set<String>]) = ([:], [:])
    for file in Self.tree.files where file.isSwift {
      let modules = file.swift.lines.compactMap { SwiftChecker.importedModule($0.code) }
      if let target = file.target { sources[target, default: []].formUnion(modules) }
      // What fuzzes has two forms, and is declared by a function.
      if let target = file.testTarget, target != "FuzzingTests" { tests[target, default: []].formUnion(modules) }
    }
    let checker = PackageChecker(manifest: manifest.text)
    report(checker.findings(allowed: SwiftRules.imports, imported: sources) + checker.findings(ofTests: tests))
  }

  private func report(_ findings: [Finding]) {
    for finding in findings { Issue.record(Comment(rawValue: finding.description)) }
    #expect(findings.isEmpty, "\(findings.count) findings")
  }
}

/// The text files that people write, read from disk: everything but what is built, fetched or hidden.
struct ProjectTree {
  let files: [ProjectFile]
  let paths: Set<String>

  static func load() -> ProjectTree {
    let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    var files: [ProjectFile] = []
    var paths: Set<String> = []
    for top in ["Sources", "Tests", "docs", "examples", "policies", "scripts", ".ci", "Benchmarks"] {
      walk(root.appending(path: top), as: top, into: &files, paths: &paths)
    }
    for name in (try? FileManager.default.contentsOfDirectory(atPath: root.path)) ?? [] {
      let isText = name.hasSuffix(".md") || ["Package.swift", "Dockerfile", "LICENSE", ".gitignore"].contains(name)
      if isText { read(root.appending(path: name), as: name, into: &files, paths: &paths) }
    }
    return ProjectTree(files: files.sorted { $0.path < $1.path }, paths: paths)
  }

  private static func walk(_ folder: URL, as path: String, into files: inout [ProjectFile], paths: inout Set<String>) {
    // What is no folder, or not there, adds nothing: the tests of the tree look for files that must be.
    guard let names = try? FileManager.default.contentsOfDirectory(atPath: folder.path) else { return }
    paths.insert(path)
    for name in names where !(name.hasPrefix(".") || name == "__pycache__" || name == "node_modules") {
      let item = folder.appending(path: name)
      var isFolder: ObjCBool = false
      if FileManager.default.fileExists(atPath: item.path, isDirectory: &isFolder), isFolder.boolValue {
        walk(item, as: path + "/" + name, into: &files, paths: &paths)
      } else {
        read(item, as: path + "/" + name, into: &files, paths: &paths)
      }
    }
  }

  private static func read(_ item: URL, as path: String, into files: inout [ProjectFile], paths: inout Set<String>) {
    paths.insert(path)
    if let data = try? Data(contentsOf: item), let text = String(data: data, encoding: .utf8) {
      files.append(ProjectFile(path: path, text: text))
    }
  }
}
