// The rules that hold for every text file of the project, whatever its language: names, length, an opening comment, no marks of
// unfinished work, no path of somebody's machine; and the rules of the few files that have their own.

struct FileChecker {
  let file: ProjectFile
  static let maximumLines = 600

  func findings() -> [Finding] {
    checkName() + checkLength() + checkOpening() + checkLines() + checkDockerfile() + checkPythonWaits()
  }

  private func checkName() -> [Finding] {
    let banned = ["Util", "Utils", "Helper", "Helpers", "Common", "Manager", "Misc"]
    let stem = file.name.split(separator: ".").first ?? ""
    // The last word of a CamelCase or snake_case name, and each folder's name.
    let folders = file.path.split(separator: "/").dropLast()
    for word in banned {
      let isLastWord =
        stem.hasSuffix(word) || stem.lowercased() == word.lowercased()
        || stem.lowercased().hasSuffix("_" + word.lowercased())
      if isLastWord || folders.contains(where: { $0.lowercased() == word.lowercased() }) {
        return [.banned("the name \(word)", use: "a name that says what is in it", path: file.path, line: 1)]
      }
    }
    return []
  }

  private func checkLength() -> [Finding] {
    let isSource = [".swift", ".py", ".c", ".cpp", ".h"].contains { file.path.hasSuffix($0) }
    guard isSource, file.lines.count > FileChecker.maximumLines else { return [] }
    let what = "a file of \(file.lines.count) lines"
    let use = "several of at most \(FileChecker.maximumLines), one subject each"
    return [.banned(what, use: use, path: file.path, line: FileChecker.maximumLines + 1)]
  }

  private func checkOpening() -> [Finding] {
    let first = file.lines.first.map(String.init) ?? ""
    if file.isSwift {
      // A placeholder of a line or two has nothing to promise yet.
      if file.lines.count < 3 { return [] }
      // The manifest's first line belongs to the tools version; it is a comment too.
      if first.hasPrefix("//") { return [] }
      return [
        Finding(path: file.path, line: 1, message: "open the file with a comment that says what it is and promises")
      ]
    }
    if file.path.hasSuffix(".py") {
      if first.hasPrefix("\"\"\"") { return [] }
      return [Finding(path: file.path, line: 1, message: "open the file with a docstring that says what it is")]
    }
    if first.hasPrefix("#!") {
      if file.lines.count > 1, file.lines[1].hasPrefix("#") || file.lines[1].hasPrefix("\"\"\"") { return [] }
      return [Finding(path: file.path, line: 2, message: "say in a comment below the first line what the script does")]
    }
    return []
  }

  private func checkLines() -> [Finding] {
    // Written in pieces so that this file passes its own check.
    let marks: [String] = ["TO" + "DO", "FIX" + "ME", "X" + "XX"]
    let roots: [String] = ["/ho" + "me/", "/Us" + "ers/", "/ro" + "ot/", "/wo" + "rk/", "/op" + "t/", "/tm" + "p/wt"]
    let unfinished = marks.filter { file.text.contains($0) }.map { Ban($0, use: "an issue, or finished work") }
    let machine = roots.filter { file.text.contains($0) }
    if unfinished.isEmpty && machine.isEmpty { return [] }
    var findings: [Finding] = []
    for (index, line) in file.lines.enumerated() {
      let bytes = Array(line.utf8)
      for ban in unfinished where ban.occurs(in: bytes) {
        findings.append(.banned(ban.token, use: ban.use, path: file.path, line: index + 1))
      }
      for path in machine where FileChecker.startsPath(path, in: bytes) {
        let what = "the machine's path \(path)"
        findings.append(.banned(what, use: "a path from the project's folder", path: file.path, line: index + 1))
      }
    }
    return findings
  }

  /// True where `path` stands at the start of an absolute path: `/x/` is not in `a/x/` nor in `~/x/`.
  private static func startsPath(_ path: String, in line: [UInt8]) -> Bool {
    let wanted = Array(path.utf8)
    guard line.count >= wanted.count else { return false }
    for start in 0...(line.count - wanted.count) where line[start..<(start + wanted.count)].elementsEqual(wanted) {
      guard start > 0 else { return true }
      let before = Character(UnicodeScalar(line[start - 1]))
      if !(before.isLetter || before.isNumber || "._-~}*\\".contains(before)) { return true }
    }
    return false
  }

  /// A RUN step that is not one of the scripts would be tested by nothing but a release.
  private func checkDockerfile() -> [Finding] {
    guard file.name == "Dockerfile" else { return [] }
    return file.lines.enumerated().compactMap { index, line in
      let words = line.split(separator: " ")
      guard words.first == "RUN" else { return nil }
      let command = words.dropFirst().drop { $0.hasPrefix("--") }
      let isScript = command.first?.hasPrefix("scripts/") == true || command.first?.hasPrefix("./scripts/") == true
      if isScript && !["&&", "||", ";", "|", "\\"].contains(where: { line.contains($0) }) { return nil }
      return .banned("a RUN step of its own", use: "one call of a script in scripts/", path: file.path, line: index + 1)
    }
  }

  private func checkPythonWaits() -> [Finding] {
    guard file.path.hasPrefix("Tests/"), file.path.hasSuffix(".py"), file.name != "waiting.py" else { return [] }
    let bans = ["time.sleep(", "asyncio.sleep("].map { Ban($0, use: "wait_until of waiting.py") }
    return file.lines.enumerated().flatMap { index, line in
      bans.filter { $0.occurs(in: Array(line.utf8)) && !line.contains("# Reason:") }
        .map { .banned($0.token, use: $0.use, path: file.path, line: index + 1) }
    }
  }
}
