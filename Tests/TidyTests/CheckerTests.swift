// The checks themselves, on samples that break each rule and on samples that only look as if they did.
import Testing

@Suite struct CheckerTests {
  private func swift(_ path: String, _ body: String) -> [String] {
    SwiftChecker(ProjectFile(path: path, text: "// A sample.\n" + body)).findings().map(\.description)
  }
  private func file(_ path: String, _ text: String) -> [String] {
    FileChecker(file: ProjectFile(path: path, text: text)).findings().map(\.description)
  }

  @Test(arguments: [
    ("AdmissionCore", "import Foundation"), ("AdmissionCore", "import Glibc"), ("AdmissionCore", "import Dispatch"),
    ("AdmissionCore", "public import struct Foundation.Date"), ("PolicyFile", "import Foundation"),
    ("HTTPEndpoint", "import UpstreamHTTP"), ("UpstreamHTTP", "import HTTPEndpoint"), ("EventLoop", "import CCurl"),
    ("BrokerEngine", "import CNghttp2"), ("BrokerEngine", "@preconcurrency import HTTPEndpoint"),
    ("ProviderWire", "import EventLoop"), ("AdminConsole", "import UpstreamHTTP"),
    ("HTTPMessage", "import AdmissionCore"),
  ])
  func foreignImportIsFound(target: String, statement: String) {
    let found = swift("Sources/\(target)/Sample.swift", statement)
    #expect(found.count == 1)
    #expect(found.first?.hasPrefix("Sources/\(target)/Sample.swift:2: error: import ") == true)
    #expect(found.first?.contains("is banned here, use ") == true)
  }

  @Test(arguments: [
    ("AdmissionCore", "import DequeModule"), ("PolicyFile", "import Yams"), ("HTTPEndpoint", "import CNghttp2"),
    ("BrokerEngine", "import HTTPMessage"), ("tollgate", "import UpstreamHTTP"), ("EventLoop", "let important = 1"),
  ])
  func ownImportPasses(target: String, statement: String) {
    #expect(swift("Sources/\(target)/Sample.swift", statement).isEmpty)
  }

  @Test func oneFileMayImportMore() {
    #expect(swift("Sources/BrokerEngine/BudgetCalendar.swift", "import Foundation").isEmpty)
    #expect(swift("Sources/BrokerEngine/BudgetCalendar.swift", "import GRDB").count == 1)
    #expect(swift("Sources/BrokerEngine/BudgetKeeper.swift", "import Foundation").count == 1)
  }

  @Test func unknownTargetMustBeDeclared() {
    #expect(swift("Sources/NewTarget/Sample.swift", "let a = 1").first?.contains("SwiftRules.imports") == true)
  }

  @Test(arguments: [
    "let now = ContinuousClock.now", "let x = Int.random(in: 0..<3)", "let x = list.shuffled()", "func f() async {}",
    "let x = await f()", "let d = Date()", "let m = Mutex(1)", "actor A {}", "Task { f() }", "print(1)",
    "let p: UnsafePointer<Int>", "withUnsafeBytes(of: x) { _ in }",
  ])
  func impureCoreIsFound(body: String) {
    #expect(swift("Sources/AdmissionCore/Sample.swift", body).count >= 1)
    #expect(swift("Sources/PolicyFile/Sample.swift", body).count >= 1)
  }

  @Test(arguments: [
    "let asyncHandle = 1", "let candidate = Update(x)", "// async, print(1), Date()", #"let s = "try! await async""#,
    "let tasks = Tasks()", "let a = x.randomly", "blueprint(1)", "enum E { case `async` }",
  ])
  func wordsThatOnlyLookBannedPass(body: String) {
    #expect(swift("Sources/AdmissionCore/Sample.swift", body).isEmpty)
  }

  @Test(arguments: [
    "print(x)", "FileHandle.standardError.write(Data(x))", "let out = FileHandle.standardOutput", "fputs(x, stderr)",
    "_ = Glibc.write(1, x, 1)",
  ])
  func standardStreamsAreWrittenInOnePlace(body: String) {
    #expect(swift("Sources/tollgate/A.swift", body).count == 1)
    #expect(swift("Sources/BrokerEngine/A.swift", body).count == 1)
    #expect(swift("Sources/ProcessOutput/A.swift", body).isEmpty)
  }

  @Test func locksAreOfTheKindThatTheSanitizerSees() {
    #expect(swift("Sources/LedgerStore/A.swift", "let box = Mutex(1)").count == 1)
    #expect(swift("Sources/LedgerStore/A.swift", "let box = Guarded(1)").isEmpty)
    #expect(swift("Sources/SharedState/A.swift", "let box = Mutex(1)").isEmpty)
    #expect(swift("Tests/LedgerStoreTests/A.swift", "let box = Mutex(1)").count == 1)
    #expect(swift("Sources/AdmissionCore/A.swift", "let box = Guarded(1)").count == 1)
  }

  @Test func pointersStayInTheWrappers() {
    let body = "let p: UnsafeMutablePointer<Int>"
    #expect(swift("Sources/EventLoop/Handles.swift", "import CUV\n" + body).isEmpty)
    #expect(swift("Sources/EventLoop/A.swift", body).count == 1, "by file, not by target")
    #expect(swift("Sources/HTTP1Codec/RequestHeadParser.swift", body).count == 1)
    #expect(swift("Sources/BrokerEngine/Handles.swift", body).count == 1)
    #expect(swift("Sources/ProviderWire/A.swift", body).count == 1)
    #expect(swift("Sources/ProviderWire/A.swift", "import CSimdjson\n" + body).count == 1, "by file, not by import")
    #expect(
      swift("Sources/ProviderWire/ContentDecoding.swift", "import CZlib\n" + body).count == 1, "zstd is not called")
    #expect(swift("Sources/ProviderWire/ByteSearch.swift", "import CSimdjson\nlet p = 1").count == 1, "holds none")
  }

  @Test(arguments: [
    "try! f()", "x as! Y", "let h = try FileHandle(forWritingTo: url)", "struct A: @unchecked Sendable {}",
    "nonisolated(unsafe) var a = 1", "fatalError()",
  ])
  func forcedStatementNeedsItsReason(body: String) {
    let path = "Sources/BrokerEngine/A.swift"
    #expect(swift(path, "\n" + body).count == 1)
    #expect(swift(path, "\n" + body + " // one").count == 1)
    #expect(swift(path, "\n" + body + " // the loop's thread alone touches it").isEmpty)
    #expect(swift(path, "\n// the loop's thread alone touches it\n" + body).isEmpty)
    #expect(swift(path, "// the loop's thread alone touches it\n\n" + body).count == 1)
    #expect(swift(path, body + " {\n// the loop's thread alone touches it\n}").isEmpty)
  }

  @Test(arguments: [
    "try await Task.sleep(for: .seconds(1))", "usleep(100)", "Thread.sleep(forTimeInterval: 1)", "sleep(1)",
  ])
  func sleepInATestIsFound(body: String) {
    #expect(swift("Tests/EventLoopTests/A.swift", body).count == 1)
  }

  @Test func fileLengthAtUnderAndOver() {
    let lines = { (count: Int) in String(repeating: "// x\n", count: count) }
    #expect(file("Sources/A/A.swift", lines(599)).isEmpty)
    #expect(file("Sources/A/A.swift", lines(600)).isEmpty)
    #expect(
      file("Sources/A/A.swift", lines(601)) == [
        "Sources/A/A.swift:601: error: a file of 601 lines is banned here, use several of at most 600, one subject each"
      ])
    for name in ["A.cpp", "A.c", "include/A.h"] {
      #expect(file("Sources/A/\(name)", lines(600)).isEmpty)
      #expect(file("Sources/A/\(name)", lines(601)).count == 1)
    }
  }

  @Test(arguments: [
    "Utils.swift", "StringUtils.swift", "TestHelpers.swift", "Common.swift", "KeyManager.swift", "Utils/A.swift",
  ])
  func namesThatSayNothingAreFound(name: String) {
    #expect(file("Sources/A/\(name)", "// x\n").count == 1)
  }

  @Test(arguments: ["KeyPool.swift", "CommonMark.swift", "Managers2.swift"])
  func otherNamesPass(name: String) {
    #expect(file("Sources/A/\(name)", "// x\n").isEmpty)
  }

  @Test func openingCommentIsRequired() {
    #expect(file("Sources/A/A.swift", "import B\n\nlet a = 1\n").count == 1)
    #expect(file("Tests/EndToEnd/test_a.py", "import b\n").count == 1)
    #expect(file("Tests/EndToEnd/test_a.py", "\"\"\"What.\"\"\"\n").isEmpty)
    #expect(file("scripts/a", "#!/usr/bin/env bash\nset -e\n").count == 1)
    #expect(file("scripts/a", "#!/usr/bin/env bash\n# What.\n").isEmpty)
  }

  @Test func marksOfUnfinishedWorkAreFound() {
    for mark in ["TO" + "DO", "FIX" + "ME", "X" + "XX"] {
      #expect(
        file("docs/a.md", "a\n\(mark): b\n").first?.hasPrefix("docs/a.md:2: error: \(mark) is banned here") == true)
    }
    #expect(file("docs/a.md", "method\nXXXL\n").isEmpty)
  }

  @Test func machinePathsAreFound() {
    #expect(file("docs/a.md", "see /ho" + "me/jo/x\n").count == 1)
    #expect(file("docs/a.md", "`/ro" + "ot/x`\n").count == 1)
    #expect(file("docs/a.md", "see docs/ho" + "me/x, ~/wo" + "rk/x and /usr/bin/python3\n").isEmpty)
  }

  @Test func dockerfileRunsScriptsOnly() {
    #expect(file("Dockerfile", "FROM a\nRUN scripts/setup --build\n").isEmpty)
    #expect(file("Dockerfile", "FROM a\nRUN --mount=type=cache,target=/x scripts/setup\n").isEmpty)
    #expect(file("Dockerfile", "FROM a\nRUN apt-get update\n").count == 1)
    #expect(file("Dockerfile", "FROM a\nRUN scripts/setup && rm -rf /x\n").count == 1)
  }

  @Test func pythonSleepIsFound() {
    #expect(file("Tests/EndToEnd/test_a.py", "\"\"\"A.\"\"\"\ntime.sleep(1)\n").count == 1)
    #expect(file("Tests/EndToEnd/waiting.py", "\"\"\"A.\"\"\"\ntime.sleep(1)\n").isEmpty)
  }

  @Test func aHopThatIsGoneIsFound() {
    let sources = [
      ProjectFile(
        path: "Sources/A/Door.swift", text: "final class Door {\n  private var lock = 1\n  func open() {}\n}\n"),
      ProjectFile(
        path: "Sources/A/DoorWays.swift",
        text: "extension Door {\n  // func shut() {}\n  init?(_ key: Int) {}\n}\n"),
    ]
    func findings(_ row: String) -> [String] {
      HopChecker(sources: sources).findings(in: ProjectFile(path: "docs/a.md", text: "text\n\n" + row + "\n"))
        .map(\.description)
    }
    #expect(findings("| 1 | `Door.open`, then `Door.lock` | `Door.init` |").isEmpty)
    #expect(findings("| 1 | `Door.shut` |") == ["docs/a.md:3: error: Door has no shut in Sources"])
    #expect(findings("| 1 | `Gate.open` |") == ["docs/a.md:3: error: there is no type Gate in Sources"])
    #expect(findings("| `open`, `file.swift`, `Door` and `a.b.c` name no hop |").isEmpty)
    #expect(findings("`Door.shut` outside of a table").isEmpty)
  }

  @Test func deadLinkIsFound() {
    let paths: Set<String> = ["docs", "docs/a.md", "README.md"]
    let check = { (text: String) in
      LinkChecker(file: ProjectFile(path: "docs/a.md", text: text), paths: paths).findings().map(\.description)
    }
    #expect(check("[a](a.md#x) [b](../README.md) [c](https://example.org/x) [d](#here)").isEmpty)
    #expect(check("x\n[a](b.md)") == ["docs/a.md:2: error: the link to b.md leads nowhere"])
    #expect(check("```\n[a](b.md)\n```").isEmpty)
  }
}
