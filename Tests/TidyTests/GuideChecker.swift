// Holds a guide for those who change the project to what is there: the paths, types, tests and commands that it names.
//
// In backquotes: what has a slash is a path, `test_...` a test in Python, what begins with a capital a type or its member; other words are not
// looked at. Indented lines are commands: what they run is there, and a script knows the switches that it is given.

struct GuideChecker {
  let paths: Set<String>
  /// By path, for the switches.
  let texts: [String: String]
  let declared: HopChecker
  let pythonTests: Set<String>
  /// The words after `tollgate`.
  let commands: Set<String>

  init(_ tree: [ProjectFile], paths: Set<String>) {
    self.paths = paths
    let isScript = { (file: ProjectFile) in file.lines.first?.hasPrefix("#!") == true }
    texts = Dictionary(uniqueKeysWithValues: tree.filter(isScript).map { ($0.path, $0.text) })
    declared = HopChecker(sources: tree.filter { $0.isSwift && ($0.target != nil || $0.testTarget != nil) })
    let python = tree.filter { $0.path.hasPrefix("Tests/EndToEnd/") && $0.path.hasSuffix(".py") }
    pythonTests = Set(python.flatMap { PythonText($0.text).statements.flatMap(\.all) }.compactMap(\.name))
    commands = GuideChecker.commands(in: tree)
  }

  /// The names of commands, from their declarations: of `XCommand` without a name of its own, `x`.
  static func commands(in tree: [ProjectFile]) -> Set<String> {
    var names: Set<String> = []
    for file in tree where file.path.hasPrefix("Sources/tollgate") {
      for line in file.lines {
        if let name = line.firstRange(of: "commandName: \"") {
          names.insert(String(line[name.upperBound...].prefix { $0 != "\"" }))
        }
      }
    }
    return names
  }

  func findings(in page: ProjectFile) -> [Finding] {
    page.lines.enumerated().flatMap { index, line -> [Finding] in
      let messages = line.hasPrefix("    ") ? missing(inCommand: line) : missing(inText: line)
      return messages.map { Finding(path: page.path, line: index + 1, message: $0) }
    }
  }

  private func missing(inText line: Substring) -> [String] {
    line.split(separator: "`", omittingEmptySubsequences: false).enumerated().filter { $0.offset % 2 == 1 }.flatMap {
      _, name -> [String] in
      let words = name.split(separator: " ")
      guard let first = words.first, !first.contains("{"), !first.contains("/api/") else { return [] }
      if words.count > 1 {
        return first.contains("/") || first == "tollgate" || first == "swift" ? missing(inCommand: name) : []
      }
      if first.contains("/") { return paths.contains(String(first)) ? [] : ["there is no \(first)"] }
      if first.hasPrefix("test_") { return pythonTests.contains(String(first)) ? [] : ["there is no test \(first)"] }
      let isType = first.first?.isUppercase == true && first.contains(where: \.isLowercase) && !first.contains("-")
      let isFile = paths.contains(String(first))
      return isType && !isFile && !declared.declares(first) ? ["there is no \(first) in Sources or Tests"] : []
    }
  }

  private func missing(inCommand line: Substring) -> [String] {
    var words = line.split(separator: " ")[...]
    guard let first = words.popFirst() else { return [] }
    switch first {
    case "swift":
      guard let filter = words.firstIndex(of: "--filter"), filter + 1 < words.endIndex else { return [] }
      let suite = words[filter + 1]
      return declared.declares(suite) || paths.contains("Tests/\(suite)") ? [] : ["there is no suite \(suite)"]
    case "tollgate", ".build/debug/tollgate":
      guard let command = words.first else { return [] }
      let files = words.filter { $0.contains("/") && !paths.contains(String($0)) }
      return (commands.contains(String(command)) ? [] : ["tollgate has no command \(command)"])
        + files.map { "there is no \($0)" }
    default:
      guard let text = texts[String(first)] else { return ["there is no script \(first)"] }
      return words.filter { $0.hasPrefix("--") && $0.count > 2 && !text.contains($0) }.map { "\(first) knows no \($0)" }
    }
  }
}

/// Holds pages of reference to the sources: each metric, outcome and command has its place there, and nothing else has.
struct ReferenceChecker {
  let sources: [ProjectFile]
  let pages: [ProjectFile]

  private func page(_ name: String) -> ProjectFile? { pages.first { $0.path == "docs/reference/" + name } }
  private func source(_ path: String) -> ProjectFile? { sources.first { $0.path == path } }

  func findings() -> [Finding] { metrics() + outcomes() + commands() }

  private func metrics() -> [Finding] {
    guard let page = page("metrics.md"), let source = source("Sources/AdminConsole/MetricFamilies.swift") else {
      return [
        Finding(path: "docs/reference/metrics.md", line: 1, message: "this page or MetricFamilies.swift was not found")
      ]
    }
    let made = ReferenceChecker.names(in: source, after: "\"tollgate_")
    let told = ReferenceChecker.names(in: page, after: "`tollgate_")
    return made.filter { told[$0.key] == nil }.map {
      Finding(path: source.path, line: $0.value, message: "\($0.key) has no row in docs/reference/metrics.md")
    }
      + told.filter { made[$0.key] == nil }.map {
        Finding(path: page.path, line: $0.value, message: "there is no \($0.key)")
      }
  }

  private func outcomes() -> [Finding] {
    guard let page = page("errors.md"), let source = source("Sources/AdmissionCore/Vocabulary/Names.swift") else {
      return [Finding(path: "docs/reference/errors.md", line: 1, message: "this page or Names.swift was not found")]
    }
    let cases = source.lines.drop { !$0.contains("enum Outcome") }.prefix { $0 != "}" }.filter { $0.contains("case ") }
    return cases.compactMap { line in
      let quoted = line.split(separator: "\"")
      let name = quoted.count > 1 ? quoted[1] : line.split(separator: " ").last ?? ""
      if page.text.contains("`\(name)`") { return nil }
      return Finding(path: page.path, line: 1, message: "the outcome \(name) is not told of")
    }
  }

  private func commands() -> [Finding] {
    guard let page = page("cli.md") else {
      return [Finding(path: "docs/reference/cli.md", line: 1, message: "not found")]
    }
    return GuideChecker.commands(in: sources.filter { $0.path.hasPrefix("Sources/tollgate/") }).sorted()
      .filter { !page.text.contains($0) }
      .map { Finding(path: page.path, line: 1, message: "the command \($0) is not told of") }
  }

  /// Names that begin so, without the mark before them, and the line of each first one.
  private static func names(in file: ProjectFile, after start: String) -> [String: Int] {
    var names: [String: Int] = [:]
    for (index, line) in file.lines.enumerated() {
      var rest = line
      while let found = rest.firstRange(of: start) {
        let name = rest[found.lowerBound...].dropFirst().prefix { $0.isLetter || $0.isNumber || $0 == "_" }
        if names[String(name)] == nil { names[String(name)] = index + 1 }
        rest = rest[found.upperBound...]
      }
    }
    return names
  }
}
