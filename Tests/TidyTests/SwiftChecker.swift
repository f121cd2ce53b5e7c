// Applies the Swift rules to one file. Promises: every broken rule is reported, with its line; the same file, the same findings.

struct SwiftChecker {
  let file: ProjectFile
  private let text: SwiftText
  private let imported: [(name: String, line: Int)]

  init(_ file: ProjectFile) {
    self.file = file
    text = file.swift
    imported = text.lines.enumerated().compactMap { index, line in
      SwiftChecker.importedModule(line.code).map { ($0, index + 1) }
    }
  }

  func findings() -> [Finding] {
    var findings: [Finding] = []
    if let target = file.target {
      findings += checkImports(of: target)
      findings += check(bans(for: target))
      findings += check(SwiftRules.unlessReasoned, liftedByReason: true)
      findings += checkThatPointersAreNeeded()
    } else if file.testTarget != nil {
      findings += check(SwiftRules.tests + SwiftRules.locks)
    }
    return findings.sorted { $0.line < $1.line }
  }

  private func bans(for target: String) -> [Ban] {
    var bans: [Ban] = []
    if SwiftRules.pureTargets.contains(target) { bans += SwiftRules.pure } else { bans += SwiftRules.singleThread }
    if !SwiftRules.pureTargets.contains(target), target != "SharedState" { bans += SwiftRules.locks }
    if SwiftRules.pointerFiles[file.path] == nil { bans += SwiftRules.pointers }
    if target != "ProcessOutput" { bans += SwiftRules.standardStreams }
    return bans
  }

  /// A file that may hold pointers calls the libraries that its row names, and holds some.
  private func checkThatPointersAreNeeded() -> [Finding] {
    guard let libraries = SwiftRules.pointerFiles[file.path] else { return [] }
    let missing = libraries.filter { library in !imported.contains { $0.name == library } }.sorted()
    var findings = missing.map {
      Finding(
        path: file.path, line: 1,
        message: "may hold pointers for \($0), which it does not import: mend its row in SwiftRules")
    }
    if check(SwiftRules.pointers).isEmpty {
      findings.append(
        Finding(path: file.path, line: 1, message: "may hold pointers and has none: take its row out of SwiftRules"))
    }
    return findings
  }

  private func checkImports(of target: String) -> [Finding] {
    guard let allowed = SwiftRules.imports[target] else {
      let message = "target \(target) has no row in SwiftRules.imports: say there what it may import"
      return [Finding(path: file.path, line: 1, message: message)]
    }
    let use = allowed.isEmpty ? "the standard library alone" : "one of: " + allowed.sorted().joined(separator: ", ")
    let also = SwiftRules.importsOfFiles[file.path] ?? []
    return imported.filter { !allowed.contains($0.name) && !also.contains($0.name) }.map {
      .banned("import \($0.name)", use: use, path: file.path, line: $0.line)
    }
  }

  private func check(_ bans: [Ban], liftedByReason: Bool = false) -> [Finding] {
    // Most words are nowhere in the file, and one search tells so.
    let bans = bans.filter { file.text.contains($0.token) }
    guard !bans.isEmpty else { return [] }
    var findings: [Finding] = []
    for (index, line) in text.lines.enumerated() where !line.isBlank {
      let bytes = Array(line.code.utf8)
      for ban in bans where ban.occurs(in: bytes) {
        if liftedByReason && text.hasReason(at: index) { continue }
        findings.append(.banned(ban.token, use: ban.use, path: file.path, line: index + 1))
      }
    }
    return findings
  }

  static func importedModule(_ code: String) -> String? {
    let words = code.split(whereSeparator: \.isWhitespace)
    guard let keyword = words.firstIndex(of: "import"), keyword + 1 < words.count,
      words[..<keyword].allSatisfy({ $0.hasPrefix("@") || ["public", "internal", "package", "private"].contains($0) })
    else { return nil }
    let kinds: Set<Substring> = ["struct", "class", "enum", "protocol", "func", "var", "let", "typealias"]
    let name = kinds.contains(words[keyword + 1]) && keyword + 2 < words.count ? words[keyword + 2] : words[keyword + 1]
    return name.split(separator: ".").first.map(String.init)
  }
}
